package expr

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/stavily/agents/internal/limits"
)

// Decode turns one JSON document into what expressions compute with: nil, bool,
// int64, float64, string, []any and map[string]any. A number is an int64 when it
// is written as a whole number that fits, else a float64; one that no float64
// holds is an error. The caller has bounded the document's size and depth.
func Decode(raw json.RawMessage) (any, error) {
	if scalar(raw) { // as most are: a decoder's buffer costs more than they
		return decodeScalar(raw)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("invalid JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("invalid JSON: data after the document")
	}
	return numbers(v)
}

// scalar reports whether a document is a text or a number, if it is one at all.
func scalar(raw json.RawMessage) bool {
	return len(raw) > 0 && (raw[0] == '"' || raw[0] == '-' || '0' <= raw[0] && raw[0] <= '9')
}

func decodeScalar(raw json.RawMessage) (any, error) {
	var text string
	var digits json.Number
	into := any(&text)
	if raw[0] != '"' {
		into = &digits
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return nil, fmt.Errorf("invalid JSON: %w", err)
	}
	if raw[0] == '"' {
		return text, nil
	}
	return number(digits)
}

// numbers replaces every json.Number within v.
func numbers(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case json.Number:
		return number(v)
	case []any:
		for i := range v {
			if v[i], err = numbers(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for k := range v {
			if v[k], err = numbers(v[k]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

func number(n json.Number) (any, error) {
	if i, err := n.Int64(); err == nil {
		return i, nil
	}
	f, err := n.Float64()
	if err != nil {
		return nil, fmt.Errorf("number %s is out of range", clip(n.String()))
	}
	return f, nil
}

// Value is the result of an expression.
type Value struct{ val ref.Val }

// AppendJSON appends the value as JSON. A double keeps a point (93.0), a timestamp
// is RFC 3339 text, a duration is text such as "90s", bytes are base 64; keys are
// sorted, so equal values give equal bytes. When b would grow beyond max bytes the
// error wraps limits.ErrTooLarge.
func (v Value) AppendJSON(b []byte, max int) ([]byte, error) {
	b, err := appendJSON(b, v.val, max)
	if err == nil && len(b) > max {
		err = tooLarge(max)
	}
	return b, err
}

// AppendText appends a text as it is and anything else as JSON, with the same bound.
func (v Value) AppendText(b []byte, max int) ([]byte, error) {
	var s string
	switch val := v.val.(type) {
	case types.String:
		s = string(val)
	case types.Timestamp:
		s = timestampText(val)
	case types.Duration:
		s = durationText(val)
	default:
		return v.AppendJSON(b, max)
	}
	if len(b)+len(s) > max {
		return b, tooLarge(max)
	}
	return append(b, s...), nil
}

func tooLarge(max int) error {
	return fmt.Errorf("the value is %w: more than %d bytes", limits.ErrTooLarge, max)
}

func appendJSON(b []byte, val ref.Val, max int) ([]byte, error) {
	if len(b) > max {
		return b, tooLarge(max)
	}
	switch val := val.(type) {
	case types.Null:
		return append(b, "null"...), nil
	case types.Bool:
		return strconv.AppendBool(b, bool(val)), nil
	case types.Int:
		return strconv.AppendInt(b, int64(val), 10), nil
	case types.Uint:
		return strconv.AppendUint(b, uint64(val), 10), nil
	case types.Double:
		return appendDouble(b, float64(val))
	case types.String:
		return appendString(b, string(val))
	case types.Bytes:
		return appendString(b, base64.StdEncoding.EncodeToString(val))
	case types.Timestamp:
		return appendString(b, timestampText(val))
	case types.Duration:
		return appendString(b, durationText(val))
	case traits.Mapper:
		return appendMap(b, val, max)
	case traits.Lister:
		return appendList(b, val, max)
	}
	return b, fmt.Errorf("%s has no form in JSON", plainType(val.Type().TypeName()))
}

func timestampText(t types.Timestamp) string { return t.UTC().Format(time.RFC3339Nano) }

func durationText(d types.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s"
}

func appendDouble(b []byte, f float64) ([]byte, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return b, fmt.Errorf("%v has no form in JSON", f)
	}
	start := len(b)
	b = strconv.AppendFloat(b, f, 'g', -1, 64)
	if !bytes.ContainsAny(b[start:], ".e") {
		b = append(b, ".0"...)
	}
	return b, nil
}

func appendString(b []byte, s string) ([]byte, error) {
	quoted, err := json.Marshal(s)
	return append(b, quoted...), err
}

func appendList(b []byte, list traits.Lister, max int) ([]byte, error) {
	b = append(b, '[')
	var err error
	for i, it := 0, list.Iterator(); it.HasNext() == types.True; i++ {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = appendJSON(b, it.Next(), max); err != nil {
			return b, err
		}
	}
	return append(b, ']'), nil
}

func appendMap(b []byte, m traits.Mapper, max int) ([]byte, error) {
	var keys []string
	for it := m.Iterator(); it.HasNext() == types.True; {
		key, ok := it.Next().(types.String)
		if !ok {
			return b, errors.New("a map with keys that are not text has no form in JSON")
		}
		keys = append(keys, string(key))
	}
	slices.Sort(keys)
	b = append(b, '{')
	var err error
	for i, key := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = appendString(b, key); err != nil {
			return b, err
		}
		if b, err = appendJSON(append(b, ':'), m.Get(types.String(key)), max); err != nil {
			return b, err
		}
	}
	return append(b, '}'), nil
}
