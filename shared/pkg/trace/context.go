package trace

import (
	"encoding/hex"
	"math/rand/v2"
)

// Context is a W3C trace context: which trace, which span of it, and whether the trace is
// recorded. The zero Context is none.
type Context struct {
	trace    [16]byte
	span     [8]byte
	recorded bool
}

// headerLength is that of version 00: 00-<32>-<16>-<2>.
const headerLength = 55

// Parse reads a traceparent. What is no valid one gives the zero Context, as the
// specification says: the trace begins anew.
func Parse(traceparent string) Context {
	var c Context
	var version, flags [1]byte
	s := traceparent
	if len(s) < headerLength || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return Context{}
	}
	for _, part := range []struct {
		to   []byte
		text string
	}{{version[:], s[:2]}, {c.trace[:], s[3:35]}, {c.span[:], s[36:52]}, {flags[:], s[53:55]}} {
		if !lower(part.text) {
			return Context{}
		}
		if _, err := hex.Decode(part.to, []byte(part.text)); err != nil {
			return Context{}
		}
	}
	// A later version may append fields; this one has none.
	longer := len(s) > headerLength
	if version[0] == 0xff || version[0] == 0 && longer || longer && s[headerLength] != '-' {
		return Context{}
	}
	c.recorded = flags[0]&1 == 1
	if !c.Valid() {
		return Context{}
	}
	return c
}

func lower(hexadecimal string) bool {
	for _, r := range hexadecimal {
		if r >= 'A' && r <= 'F' {
			return false
		}
	}
	return true
}

// Valid reports whether c names a span.
func (c Context) Valid() bool { return c.trace != [16]byte{} && c.span != [8]byte{} }

// String is the traceparent, and empty for none.
func (c Context) String() string {
	if !c.Valid() {
		return ""
	}
	b := make([]byte, 0, headerLength)
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, c.trace[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, c.span[:])
	if c.recorded {
		return string(append(b, "-01"...))
	}
	return string(append(b, "-00"...))
}

// fill makes an id. Ids have to be unlikely to meet, not hard to guess.
func fill(b []byte) {
	for all := byte(0); all == 0; {
		for i := range b {
			b[i] = byte(rand.Uint32())
			all |= b[i]
		}
	}
}
