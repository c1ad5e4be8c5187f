package strictyaml

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Error is one mistake and where it stands. Line and Column count from 1; both
// are 0 where the whole file is meant.
type Error struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

// Errors are all the mistakes of one file, one a line, in the file's order.
type Errors []*Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Sort puts the errors in the file's order and drops repeats of the same message
// at the same place.
func (e Errors) Sort() Errors {
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Message, b.Message))
	})
	return slices.CompactFunc(e, func(a, b *Error) bool { return *a == *b })
}

// Err returns e, sorted, as an error, or nil when there is none.
func (e Errors) Err() error {
	if len(e) == 0 {
		return nil
	}
	return e.Sort()
}

// fromLibrary turns what the YAML library reports into our errors.
func fromLibrary(file string, err error) Errors {
	var several *yaml.LoadErrors
	var one *yaml.LoadError
	switch {
	case errors.As(err, &several):
		out := make(Errors, len(several.Errors))
		for i, e := range several.Errors {
			out[i] = translate(file, e)
		}
		return out
	case errors.As(err, &one):
		return Errors{translate(file, one)}
	}
	return Errors{{File: file, Message: err.Error()}}
}

func translate(file string, e *yaml.LoadError) *Error {
	msg := strings.TrimPrefix(e.Message, "yaml: ")
	if strings.Contains(msg, "found multiple") {
		msg = "holds more than one document: keep one a file and remove the '---' between them"
	}
	if e.ContextMsg != "" {
		msg = fmt.Sprintf("%s (%s that begins at line %d)", msg, e.ContextMsg, e.ContextMark.Line)
	}
	return &Error{File: file, Line: e.Mark.Line, Column: e.Mark.Column, Message: plainTypes(msg)}
}

var construct = regexp.MustCompile("^cannot construct !!(\\w+)(?: `(.*)`)? into (.+)$")

// plainTypes says "must be a whole number, not "x"" for the library's
// "cannot construct !!str `x` into int".
func plainTypes(msg string) string {
	m := construct.FindStringSubmatch(msg)
	if m == nil {
		return msg
	}
	got := map[string]string{"map": "a mapping", "seq": "a list", "null": "nothing"}[m[1]]
	if got == "" {
		got = fmt.Sprintf("%q", m[2])
	}
	want := describeType(m[3])
	if want == "" {
		return "must not be " + got
	}
	return fmt.Sprintf("must be %s, not %s", want, got)
}

// describeType says what a Go type takes, or "" where its name does not tell: a
// named type may be a struct or a kind of text.
func describeType(goType string) string {
	switch t := strings.TrimLeft(goType, "*"); {
	case strings.HasPrefix(t, "[]"):
		return "a list"
	case strings.HasPrefix(t, "map["):
		return "a mapping"
	case strings.HasPrefix(t, "int"), strings.HasPrefix(t, "uint"):
		return "a whole number"
	case strings.HasPrefix(t, "float"):
		return "a number"
	case t == "bool":
		return "true or false"
	case t == "string", strings.HasSuffix(t, "(TextUnmarshaler)"):
		return "text"
	case strings.HasPrefix(t, "struct"):
		return "a mapping"
	}
	return ""
}
