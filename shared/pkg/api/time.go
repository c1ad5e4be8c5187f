package api

import (
	"encoding/json"
	"fmt"
	"time"
)

// TimeLayout is how times are written on the wire: RFC 3339, UTC, milliseconds.
const TimeLayout = "2006-01-02T15:04:05.000Z07:00"

// Time is an instant on the wire. The zero Time is written as null.
type Time struct{ time.Time }

// At makes a wire time of t, in UTC and cut to milliseconds.
func At(t time.Time) Time { return Time{t.UTC().Truncate(time.Millisecond)} }

// MarshalJSON writes TimeLayout, or null for the zero time.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return []byte(`"` + t.UTC().Format(TimeLayout) + `"`), nil
}

// UnmarshalJSON reads any RFC 3339 time; null and "" leave the zero time.
func (t *Time) UnmarshalJSON(b []byte) error {
	var s *string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("time: must be an RFC 3339 string: %w", err)
	}
	if s == nil || *s == "" {
		*t = Time{}
		return nil
	}
	parsed, err := time.Parse(time.RFC3339Nano, *s)
	if err != nil {
		return fmt.Errorf("time %q: must be RFC 3339, for example 2026-01-02T15:04:05.000Z", clip(*s))
	}
	*t = Time{parsed}
	return nil
}
