package workflow

import (
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// place is where in the file the character offset of a scalar's value stands: line
// and column, from 1. It follows the value through the source, over what YAML takes
// away (quotes, escapes, indentation, folded line ends); where it loses the thread
// it is the scalar's beginning.
func place(src string, n *yaml.Node, offset int) (line, column int) {
	s := scanner{rest: src, line: 1, column: 1}
	for s.line < n.Line || s.line == n.Line && s.column < n.Column {
		if !s.next() {
			return n.Line, n.Column
		}
	}
	s.open(n.Style)
	for i, r := range []rune(n.Value) {
		if !s.find(r) {
			return n.Line, n.Column
		}
		if i == offset {
			return s.line, s.column
		}
		s.consume()
	}
	return s.line, s.column
}

// scanner walks over the characters of a source.
type scanner struct {
	rest         string
	line, column int
	escapes      bool // in a double-quoted scalar
}

// here is the next character and its length in bytes, or 0, 0 at the end.
func (s *scanner) here() (rune, int) {
	if s.rest == "" {
		return 0, 0
	}
	return utf8.DecodeRuneInString(s.rest)
}

func (s *scanner) next() bool {
	c, size := s.here()
	if c == '\n' {
		s.line, s.column = s.line+1, 1
	} else {
		s.column++
	}
	s.rest = s.rest[size:]
	return size > 0
}

// open goes over what stands before the first character of a value.
func (s *scanner) open(style yaml.Style) {
	switch {
	case style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		for line := s.line; s.line == line && s.next(); {
		}
	case style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		s.escapes = style&yaml.DoubleQuotedStyle != 0
		s.next()
	}
}

// find goes on to the next place that can stand for r.
func (s *scanner) find(r rune) bool {
	for s.rest != "" {
		c, _ := s.here()
		if c == r || c == '\n' && r == ' ' || s.escaped() {
			return true
		}
		s.next()
	}
	return false
}

// escaped reports whether an escape sequence that stands for a character is next.
func (s *scanner) escaped() bool {
	return s.escapes && len(s.rest) > 1 && s.rest[0] == '\\' && s.rest[1] != '\r' && s.rest[1] != '\n'
}

// consume goes over the character or escape sequence that find stopped at.
func (s *scanner) consume() {
	length := 1
	if s.escaped() {
		length = 2
		switch s.rest[1] {
		case 'x':
			length = 4
		case 'u':
			length = 6
		case 'U':
			length = 10
		}
	}
	for range length {
		s.next()
	}
}
