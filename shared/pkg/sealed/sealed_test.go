package sealed_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/sealed"
)

var (
	binding  = sealed.Binding{Org: "default", Agent: "web-1", Instruction: "01I", Attempt: 1}
	contents = sealed.Contents{
		Fills: []sealed.Fill{{Path: []string{"token"}, Text: "Bearer canary-1234"}},
		Hide:  []string{"canary-1234"},
	}
)

func newKey(t *testing.T) *sealed.Key {
	t.Helper()
	k, err := sealed.OpenKey(filepath.Join(t.TempDir(), "secrets.key"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func seal(t *testing.T, k *sealed.Key) string {
	t.Helper()
	text, err := sealed.Seal(k.Public(), binding, contents)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func rawOf(t *testing.T, text string) []byte {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestOnlyItsOwnKeyAndBindingOpenIt(t *testing.T) {
	mine, other := newKey(t), newKey(t)
	text := seal(t, mine)
	got, err := mine.Open(binding, text)
	if err != nil || got.Fills[0].Text != contents.Fills[0].Text || got.Hide[0] != contents.Hide[0] {
		t.Fatalf("opened %+v, %v", got, err)
	}
	if _, err := other.Open(binding, text); !errors.Is(err, sealed.ErrOpen) {
		t.Errorf("another agent's key opens it: %v", err)
	}
	for name, change := range map[string]func(*sealed.Binding){
		"organisation": func(b *sealed.Binding) { b.Org = "other" },
		"agent":        func(b *sealed.Binding) { b.Agent = "web-2" },
		"instruction":  func(b *sealed.Binding) { b.Instruction = "01J" },
		"attempt":      func(b *sealed.Binding) { b.Attempt = 2 },
	} {
		b := binding
		change(&b)
		if _, err := mine.Open(b, text); !errors.Is(err, sealed.ErrOpen) {
			t.Errorf("it opens for another %s: %v", name, err)
		}
	}
}

func TestAChangedByteDoesNotOpen(t *testing.T) {
	k := newKey(t)
	text := seal(t, k)
	raw := rawOf(t, text)
	for i := range raw {
		changed := bytes.Clone(raw)
		changed[i] ^= 1
		if _, err := k.Open(binding, base64.StdEncoding.EncodeToString(changed)); !errors.Is(err, sealed.ErrOpen) {
			t.Fatalf("byte %d of %d changed and it opens: %v", i, len(text), err)
		}
	}
	for _, short := range []string{"", "*", text[:10], text[:44], text[:len(text)-4]} {
		if _, err := k.Open(binding, short); !errors.Is(err, sealed.ErrOpen) {
			t.Errorf("%d bytes of it open: %v", len(short), err)
		}
	}
}

func TestWhatIsSealedDoesNotShow(t *testing.T) {
	k := newKey(t)
	one, two := seal(t, k), seal(t, k)
	if bytes.Contains(rawOf(t, one), []byte("canary")) || one == two {
		t.Error("the value stands in it, or equal secrets give equal bytes")
	}
}

func TestAKeyIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.key")
	first, err := sealed.OpenKey(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := sealed.OpenKey(path)
	if err != nil || first.Public() != again.Public() {
		t.Fatalf("opened again it is another key: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(path, []byte("not a key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sealed.OpenKey(path); err == nil || !strings.Contains(err.Error(), "restore it") {
		t.Errorf("a damaged key file: %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "not a key\n" {
		t.Errorf("a damaged key file was written: %q, %v", text, err)
	}
}

func TestPublicKeysAreChecked(t *testing.T) {
	for _, text := range []string{"", "AAAA", "*", strings.Repeat("A", 45), base64.StdEncoding.EncodeToString(make([]byte, 31))} {
		if _, err := sealed.Seal(text, binding, contents); err == nil {
			t.Errorf("sealed to %q", text)
		}
	}
}

func TestTextsGoIntoTheirPlaces(t *testing.T) {
	input := map[string]json.RawMessage{
		"url":     json.RawMessage(`"[secret a]"`), // looks like a place and is none
		"headers": json.RawMessage(`{"big":12345678901234567890.0,"auth":["x","[secret a]"]}`),
	}
	c := sealed.Contents{Fills: []sealed.Fill{{Path: []string{"headers", "auth", "1"}, Text: `Bearer "q"`}}}
	out, err := c.Into(input)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(out["headers"]); got != `{"auth":["x","Bearer \"q\""],"big":12345678901234567890.0}` {
		t.Errorf("headers: %s", got)
	}
	if string(out["url"]) != `"[secret a]"` || !strings.Contains(string(input["headers"]), "[secret a]") {
		t.Errorf("more was changed than the place: %s; given: %s", out["url"], input["headers"])
	}
}

func TestAPlaceThatIsNotThereIsRefused(t *testing.T) {
	input := map[string]json.RawMessage{"a": json.RawMessage(`{"b":["x",1]}`)}
	for _, path := range [][]string{nil, {"z"}, {"a"}, {"a", "z"}, {"a", "b"}, {"a", "b", "2"}, {"a", "b", "-1"}, {"a", "b", "1"}, {"a", "b", "0", "c"}} {
		c := sealed.Contents{Fills: []sealed.Fill{{Path: path, Text: "canary-1234"}}}
		out, err := c.Into(input)
		if err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%v: %v, %v", path, out, err)
		}
	}
}
