package terminal

import (
	"strconv"
	"strings"
	"unicode"
)

// Cell makes s fit into one cell: printable, on one line, and never empty, so that
// columns can be cut by scripts.
func Cell(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(Printable(s), "\n", `\n`), "\t", `\t`)
	if s == "" {
		return "-"
	}
	return s
}

// Printable escapes what could drive a terminal or reorder a line: every character
// that is not printable but newline and tab.
func Printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) || r == '\n' || r == '\t' {
			b.WriteRune(r)
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
	}
	return b.String()
}
