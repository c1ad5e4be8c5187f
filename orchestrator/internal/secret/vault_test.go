package secret_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/secret"
)

var place = secret.Place{Org: "default", Name: "token", Version: 1}

const value = "canary-77c1f0a2"

func open(t *testing.T, path string) *secret.Vault {
	t.Helper()
	v, err := secret.Open(secret.Options{File: path})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func seal(t *testing.T, v *secret.Vault) secret.Sealed {
	t.Helper()
	s, err := v.Seal(place, value)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWhatIsSealedOpensOnlyInItsPlace(t *testing.T) {
	v := open(t, filepath.Join(t.TempDir(), "secrets.key"))
	s := seal(t, v)
	if got, err := v.Open(place, s); err != nil || got != value {
		t.Fatalf("opened %q, %v", got, err)
	}
	if bytes.Contains(s.Text, []byte("canary")) || bytes.Equal(s.Text, seal(t, v).Text) {
		t.Error("the value stands in it, or equal values give equal bytes")
	}
	for _, p := range []secret.Place{{"other", "token", 1}, {"default", "toke", 1}, {"default", "token", 2}} {
		if _, err := v.Open(p, s); !errors.Is(err, secret.ErrDamaged) {
			t.Errorf("it opens as %+v: %v", p, err)
		}
	}
	for i := range s.Text {
		changed := secret.Sealed{Key: s.Key, Text: bytes.Clone(s.Text)}
		changed.Text[i] ^= 1
		if _, err := v.Open(place, changed); !errors.Is(err, secret.ErrDamaged) {
			t.Fatalf("byte %d changed and it opens: %v", i, err)
		}
	}
}

func TestAnotherKeyDoesNotOpenIt(t *testing.T) {
	s := seal(t, open(t, filepath.Join(t.TempDir(), "a")))
	_, err := open(t, filepath.Join(t.TempDir(), "b")).Open(place, s)
	if !errors.Is(err, secret.ErrNoKey) || strings.Contains(err.Error(), value) {
		t.Errorf("opened with another key: %v", err)
	}
}

func TestRotationLosesNothingWhereverItStops(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.key")
	v := open(t, path)
	old := seal(t, v)
	if err := v.Renew(); err != nil {
		t.Fatal(err)
	}
	fresh := seal(t, v)
	if fresh.Key == old.Key {
		t.Fatal("a renewed key is the same")
	}
	again := open(t, path) // the process ended here
	for _, s := range []secret.Sealed{old, fresh} {
		if got, err := again.Open(place, s); err != nil || got != value {
			t.Errorf("after Renew: %q, %v", got, err)
		}
	}
	if err := again.Retire(map[string]bool{old.Key: true}); err != nil {
		t.Fatal(err)
	}
	if got, err := open(t, path).Open(place, old); err != nil || got != value {
		t.Errorf("Retire took a key that is used: %q, %v", got, err)
	}
	if err := again.Retire(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, path).Open(place, old); !errors.Is(err, secret.ErrNoKey) {
		t.Errorf("Retire left a key that nothing names: %v", err)
	}
	if got, err := open(t, path).Open(place, fresh); err != nil || got != value {
		t.Errorf("Retire took the current key: %q, %v", got, err)
	}
}

func TestAnotherServersRotationIsSeen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.key")
	one, two := open(t, path), open(t, path)
	time.Sleep(10 * time.Millisecond) // more than the file system's clock counts in
	if err := one.Renew(); err != nil {
		t.Fatal(err)
	}
	if got, err := two.Open(place, seal(t, one)); err != nil || got != value {
		t.Errorf("the other server: %q, %v", got, err)
	}
	if a, b := seal(t, one), seal(t, two); a.Key != b.Key {
		t.Error("the other server still seals with the old key")
	}
}

func TestTheKeyFileIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.key")
	open(t, path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := secret.Open(secret.Options{File: path}); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file that everybody can read: %v", err)
	}
}

func TestADamagedKeyFileStaysAsItIs(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "comment": "# nothing\n", "short": "AAAA\n", "no base64": "!!\n",
		"too many": strings.Repeat(base64.StdEncoding.EncodeToString(make([]byte, 32))+"\n", 65),
	} {
		path := filepath.Join(t.TempDir(), "secrets.key")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := secret.Open(secret.Options{File: path})
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if now, err := os.ReadFile(path); err != nil || string(now) != text {
			t.Errorf("%s: the file was written: %q, %v", name, now, err)
		}
	}
}

func TestKeysOfACommand(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	write := func(keys ...byte) {
		t.Helper()
		var text strings.Builder
		for _, k := range keys {
			text.WriteString(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{k}, 32)) + "\n")
		}
		if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(1)
	v, err := secret.Open(secret.Options{Command: []string{"cat", file}})
	if err != nil {
		t.Skipf("there is no cat: %v", err)
	}
	old := seal(t, v)
	write(2)
	if err := v.Renew(); err != nil {
		t.Fatal(err)
	}
	if got, err := v.Open(place, old); err != nil || got != value {
		t.Errorf("a key that the command prints no more is gone before all is sealed again: %q, %v", got, err)
	}
	if seal(t, v).Key == old.Key {
		t.Error("the command's new key is not used")
	}
	for _, c := range [][]string{{"false"}, {"echo", "nonsense"}, {filepath.Join(t.TempDir(), "none")}} {
		if _, err := secret.Open(secret.Options{Command: c}); err == nil {
			t.Errorf("%v gives keys", c)
		}
	}
}

func TestValues(t *testing.T) {
	for _, v := range []string{"", "12345", strings.Repeat("x", secret.MaxBytes+1), "abcdef\xff"} {
		if err := secret.CheckValue(v); err == nil || v != "" && strings.Contains(err.Error(), v) {
			t.Errorf("a value of %d bytes: %v", len(v), err)
		}
	}
	if err := secret.CheckValue("123456"); err != nil {
		t.Error(err)
	}
}
