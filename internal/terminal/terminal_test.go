package terminal

import "testing"

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain ä": "plain ä", "\x1b[2J": `\x1b[2J`, "a\u202eb": `a\u202eb`, "\x00": `\x00`, "\u2028": `\u2028`, "a\nb": "a\nb", "\xff": "\ufffd",
	} {
		if got := Printable(in); got != want {
			t.Errorf("Printable(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestCell(t *testing.T) {
	for in, want := range map[string]string{"": "-", "a\nb\tc": `a\nb\tc`, "\x1b": `\x1b`} {
		if got := Cell(in); got != want {
			t.Errorf("Cell(%q) = %q, want %q", in, got, want)
		}
	}
}
