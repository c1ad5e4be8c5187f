package expr

import (
	"errors"
	"strings"
	"unicode/utf8"
)

const (
	opening = "${{"
	closing = "}}"
)

// ErrUnclosed says that a text opens an expression and does not close it.
var ErrUnclosed = errors.New(`"${{" has no closing "}}"`)

// Part is a piece of a text with expressions in it.
type Part struct {
	Text       string // literal text, or the source of the expression
	Expression bool
	Offset     int // of Text, in characters from the beginning of the whole
}

// Split cuts a text into what stands outside and inside `${{ … }}`. Braces and
// quoted text within an expression do not end it, so `${{ "${{" }}` writes the
// opening itself. With ErrUnclosed the one part returned is where it was opened.
func Split(s string) ([]Part, error) {
	var parts []Part
	at := 0 // bytes of s that are done
	add := func(text string, expression bool) {
		if text != "" || expression {
			parts = append(parts, Part{text, expression, utf8.RuneCountInString(s[:at])})
		}
		at += len(text)
	}
	for {
		before, _, found := strings.Cut(s[at:], opening)
		add(before, false)
		if !found {
			return parts, nil
		}
		end := closingBrace(s[at+len(opening):])
		if end < 0 {
			return []Part{{opening, true, utf8.RuneCountInString(s[:at])}}, ErrUnclosed
		}
		at += len(opening)
		add(s[at:at+end], true)
		at += len(closing)
	}
}

// closingBrace is the index of the "}}" that ends an expression, or -1.
func closingBrace(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '"', '\'':
			if i = quoteEnd(s, i); i < 0 {
				return -1
			}
		case '{':
			depth++
		case '}':
			if depth == 0 && strings.HasPrefix(s[i:], closing) {
				return i
			}
			depth = max(depth-1, 0)
		}
	}
	return -1
}

// quoteEnd is the index of the quote that closes the one at i, or -1.
func quoteEnd(s string, i int) int {
	quote := s[i]
	for i++; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case quote:
			return i
		}
	}
	return -1
}
