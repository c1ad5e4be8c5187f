package strictyaml

import (
	"strings"
	"testing"
)

// Files of the largest size that are shaped to cost much: each must be answered
// within the suite's time, and the deep one refused by its depth.
func TestBombs(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"deep flow":   {strings.Repeat("[", 9000) + strings.Repeat("]", 9000), "nested deeper than"},
		"unclosed":    {strings.Repeat("[", MaxBytes), ""},
		"deep blocks": {strings.Repeat("- ", 9000) + "x", "nested deeper than"},
		"many keys":   {strings.Repeat("? ", MaxBytes/2), ""},
		"one line":    {"a: " + strings.Repeat("b", MaxBytes-3), ""},
		"unknown":     {strings.Repeat("k: 1\n", MaxBytes/5), ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load("f", []byte(c.in), new(sample))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("err = %.200v, want a refusal with %q", err, c.want)
			}
		})
	}
}
