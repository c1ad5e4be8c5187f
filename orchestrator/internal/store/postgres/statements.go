package postgres

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/stavily/agents/orchestrator/internal/store/sqlstore"
)

// statements are those of sqlstore in this dialect.
var statements = func() []string {
	var out []string
	for _, text := range sqlstore.Texts() {
		out = append(out, sqlstore.ForPostgres(text))
	}
	return out
}()

// name is what a statement is prepared as.
func name(st sqlstore.Statement) string { return fmt.Sprintf("stavily_%d", st) }

var (
	poolSize = regexp.MustCompile(`\bpool_max_conns=`)
	saysTLS  = regexp.MustCompile(`\bsslmode=`)
)

// escape begins what stands for a byte that PostgreSQL does not take in text.
const escape = '\x01'

// quote writes text so that PostgreSQL takes it, which knows neither the byte 0 nor what is
// no UTF-8: keys are made of what events say, and of paths that anybody asks for. Two texts
// that differ are written differently.
func quote(text string) string {
	if strings.IndexByte(text, 0) < 0 && strings.IndexByte(text, escape) < 0 && utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		if r == 0 || r == escape || r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, "%c%02x", escape, text[i])
		} else {
			b.WriteString(text[i : i+n])
		}
		i += n
	}
	return b.String()
}

var escaped = regexp.MustCompile(`\x01[0-9a-f]{2}`)

// unquote undoes quote.
func unquote(text string) string {
	if strings.IndexByte(text, escape) < 0 {
		return text
	}
	return escaped.ReplaceAllStringFunc(text, func(e string) string {
		var c byte
		if _, err := fmt.Sscanf(e[1:], "%02x", &c); err != nil {
			return e
		}
		return string([]byte{c})
	})
}

// quoted are the arguments of a statement.
func quoted(args []any) []any {
	for n, arg := range args {
		if v := reflect.ValueOf(arg); v.Kind() == reflect.String {
			args[n] = quote(v.String())
		}
	}
	return args
}

// unquoting reads the columns of a row.
func unquoting(scan sqlstore.Scanner) sqlstore.Scanner {
	return func(columns ...any) error {
		if err := scan(columns...); err != nil {
			return err
		}
		for _, column := range columns {
			if v := reflect.ValueOf(column).Elem(); v.Kind() == reflect.String {
				v.SetString(unquote(v.String()))
			}
		}
		return nil
	}
}
