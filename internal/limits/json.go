package limits

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MaxDepth is how deep a JSON document may nest. encoding/json allows 10,000,
// which costs a reader of foreign bytes stack and time for nothing: no document
// of ours is deeper than about ten. It holds for a whole document with its envelope:
// what others say and we pass on, a plugin's results and events, may nest less
// (plugin.MaxDepth), and a reader of our own records of what came over the wire allows
// more ([UnmarshalNested]).
const MaxDepth = 64

// DecodeJSON reads exactly one JSON document of at most max bytes from r into v.
// Unknown fields are ignored; bytes after the document are an error.
func DecodeJSON(r io.Reader, max int64, v any) error {
	b, err := ReadAll(r, max)
	if err != nil {
		return err
	}
	return UnmarshalJSON(b, v)
}

// UnmarshalJSON decodes exactly one JSON document that nests at most MaxDepth
// deep. The caller has bounded its size. Errors say at which byte.
func UnmarshalJSON(b []byte, v any) error { return UnmarshalNested(b, v, MaxDepth) }

// UnmarshalNested is UnmarshalJSON for a document that nests at most depth deep.
func UnmarshalNested(b []byte, v any, depth int) error {
	if found, at := nesting(b, depth); found > depth {
		return fmt.Errorf("invalid JSON: %w: nested deeper than %d at byte %d", ErrTooLarge, depth, at)
	}
	if json.Unmarshal(b, v) == nil {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(b)) // which copies it, and says where it ends
	if err := dec.Decode(v); err != nil {
		return describe(err, len(b))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("invalid JSON: data after the document at byte %d", dec.InputOffset())
	}
	return nil
}

// Depth is how deep a JSON document nests; 0 is a plain value.
func Depth(b []byte) int {
	depth, _ := nesting(b, len(b))
	return depth
}

// nesting counts brackets outside strings until they nest deeper than most, and says
// where the deepest is; it is enough for a bound, the decoder finds whether they match.
func nesting(b []byte, most int) (deepest, at int) {
	depth, inString := 0, false
	for i := 0; i < len(b); i++ {
		c := b[i]
		if inString {
			switch c {
			case '\\':
				i++
			case '"':
				inString = false
			}
			continue
		}
		switch c {
		case '"':
			inString = true
		case '{', '[':
			if depth++; depth > deepest {
				deepest, at = depth, i
			}
			if depth > most {
				return deepest, at
			}
		case '}', ']':
			depth--
		}
	}
	return deepest, at
}

func describe(err error, size int) error {
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("invalid JSON at byte %d: %w", syntax.Offset, err)
	case errors.As(err, &typ):
		return fmt.Errorf("invalid JSON at byte %d: %s: want %s, got %s", typ.Offset, typ.Field, typ.Type, typ.Value)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("invalid JSON: ends after %d bytes, in the middle of a document", size)
	}
	return fmt.Errorf("invalid JSON: %w", err)
}
