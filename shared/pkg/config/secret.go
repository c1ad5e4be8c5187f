package config

import (
	"fmt"
	"log/slog"
)

// Redacted stands wherever a secret would have been printed.
const Redacted = "[redacted]"

// Secret is a text that no formatting, encoding or logging prints. Only Reveal
// gives it away, so every place that handles the text itself can be found.
type Secret struct{ text string }

// NewSecret wraps text.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the text, for the one place that sends or compares it.
func (s Secret) Reveal() string { return s.text }

// Equal compares two, for who compares configurations without looking into them.
func (s Secret) Equal(o Secret) bool { return s == o }

// UnmarshalText takes the bytes as they are.
func (s *Secret) UnmarshalText(b []byte) error {
	s.text = string(b)
	return nil
}

// String is [Redacted], or empty when there is no secret: that one is missing is
// worth seeing.
func (s Secret) String() string {
	if s.text == "" {
		return ""
	}
	return Redacted
}

// Format prints String for every verb; %#v and %x too would otherwise reach the text.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// MarshalText writes String, for JSON, YAML and the like.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue logs String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
