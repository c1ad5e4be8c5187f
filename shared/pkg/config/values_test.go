package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stavily/agents/shared/pkg/api"
)

func TestParseSize(t *testing.T) {
	for in, want := range map[string]Size{
		"0": 0, "7": 7, "7B": 7, "256MB": 256e6, "256 MB": 256e6, "256mb": 256e6, "1KB": 1000, "1KiB": 1024, "1MiB": 1 << 20, "2GB": 2e9, "1gib": 1 << 30,
		"9223372036854775807": math.MaxInt64,
	} {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "B", "MB", " MB", "-1MB", "+1MB", "1.5GB", "1M", "1Mi", "1 0MB", "1MBMB", "0x10", "1_000", "9223372036854775808", "9007199254740992KiB"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", in, got)
		}
	}
}

func TestSizeIsWrittenExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Size(rapid.Int64Range(0, math.MaxInt64).Draw(t, "size"))
		got, err := ParseSize(want.String())
		if err != nil || got != want {
			t.Fatalf("ParseSize(%q) = %d, %v, want %d", want, got, err, want)
		}
	})
	for s, want := range map[Size]string{0: "0B", 256 * Megabyte: "256MB", 256 * Mebibyte: "256MiB", 1000: "1KB", 1025: "1025B"} {
		if got := s.String(); got != want {
			t.Errorf("%d.String() = %q, want %q", int64(s), got, want)
		}
	}
}

func TestDurationIsWrittenShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 500 * time.Millisecond: "500ms", 30 * time.Second: "30s", 5 * time.Minute: "5m", 2 * time.Hour: "2h",
		time.Hour + 30*time.Minute: "1h30m", time.Hour + time.Second: "1h0m1s", 20 * time.Minute: "20m", 10 * time.Hour: "10h",
	} {
		if got := Duration(d).String(); got != want {
			t.Errorf("String of %v = %q, want %q", d, got, want)
		}
		var back Duration
		if err := back.UnmarshalText([]byte(want)); err != nil || back.Duration() != d {
			t.Errorf("%q read back = %v, %v, want %v", want, back, err, d)
		}
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	const text = "geheim"
	secret := NewSecret(text)
	inside := struct {
		S Secret
		M map[string]Secret
	}{secret, map[string]Secret{"k": secret}}
	var b bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&b, verb+verb+verb, secret, &secret, inside)
	}
	if err := json.NewEncoder(&b).Encode(inside); err != nil {
		t.Fatal(err)
	}
	for _, h := range []slog.Handler{slog.NewJSONHandler(&b, nil), slog.NewTextHandler(&b, nil)} {
		slog.New(h).Info("m", "secret", secret, "inside", inside)
	}
	b.Write(display(reflect.ValueOf(secret)))
	if strings.Contains(b.String(), text) || strings.Contains(strings.ToLower(b.String()), fmt.Sprintf("%x", text)) {
		t.Errorf("the secret is in:\n%s", &b)
	}
	if strings.Count(b.String(), Redacted) < 10 {
		t.Errorf("nothing stands for the secret in:\n%s", &b)
	}
	if secret.Reveal() != text || NewSecret("").String() != "" {
		t.Error("Reveal does not give the text, or an empty secret looks like one")
	}
}

func TestAllows(t *testing.T) {
	for _, c := range []struct {
		allowed, blocked []api.PluginID
		want             bool
	}{
		{nil, nil, true},
		{[]api.PluginID{"p"}, nil, true},
		{[]api.PluginID{"q"}, nil, false},
		{nil, []api.PluginID{"p"}, false},
		{[]api.PluginID{"p"}, []api.PluginID{"p"}, false},
	} {
		if got := (Plugins{Allowed: c.allowed, Blocked: c.blocked}).Allows("p"); got != c.want {
			t.Errorf("allowed %v, blocked %v: %v, want %v", c.allowed, c.blocked, got, c.want)
		}
	}
}

// A map of texts in a variable is key=value, with commas between.
func TestMapFromText(t *testing.T) {
	got := map[string]string{"old": "x"}
	l := leaf{[]any{"m"}, reflect.ValueOf(&got).Elem()}
	if err := l.set(" a = 1, b=x=y ,,"); err != nil || len(got) != 2 || got["a"] != "1" || got["b"] != "x=y" {
		t.Errorf("set = %v, %v", got, err)
	}
	for _, text := range []string{"a", "=1", "a=1,b"} {
		if err := l.set(text); err == nil || len(got) != 2 {
			t.Errorf("%q is taken: %v", text, got)
		}
	}
}

// An agent that has to be answered to be ready does not wait longer for that.
func TestPollsAreShorterThanReadyContact(t *testing.T) {
	c := Default(api.Action)
	for ready, want := range map[time.Duration]time.Duration{0: defaultPollWait, 2 * time.Minute: time.Minute, time.Hour: defaultPollWait} {
		c.Health.ReadyContact = Duration(ready)
		if got := c.PollWait(); got != want {
			t.Errorf("with ready_contact %s a poll waits %s, want %s", ready, got, want)
		}
	}
}
