//go:build unix

package pki_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func TestKeyIsMadePrivate(t *testing.T) {
	f := tempFiles(t)
	enrol(t, f, pkitest.New(t, "CA"), pkitest.Agent(agentURI))
	if got := mode(t, f.Key); got != 0o600 {
		t.Errorf("a saved key has mode %04o, want 0600", got)
	}
	if w := load(t, f).Warnings(); len(w) != 0 {
		t.Errorf("warnings %q, want none", w)
	}
	for _, open := range []os.FileMode{0o644, 0o640, 0o666} {
		if err := os.Chmod(f.Key, open); err != nil {
			t.Fatal(err)
		}
		if w := load(t, f).Warnings(); len(w) != 1 || !strings.Contains(w[0], f.Key) {
			t.Errorf("mode %04o: warnings %q, want one that names the key", open, w)
		}
		if got := mode(t, f.Key); got != 0o600 {
			t.Errorf("mode %04o of a key of ours became %04o, want 0600", open, got)
		}
	}
}

// TestForeignKeyIsLeftAlone needs root, to give the file to somebody else.
func TestForeignKeyIsLeftAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	f := tempFiles(t)
	enrol(t, f, pkitest.New(t, "CA"), pkitest.Agent(agentURI))
	for perm, warned := range map[os.FileMode]bool{0o644: true, 0o440: false} {
		if err := os.Chown(f.Key, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(f.Key, perm); err != nil {
			t.Fatal(err)
		}
		if w := load(t, f).Warnings(); (len(w) == 1) != warned {
			t.Errorf("mode %04o: warnings %q, want one: %v", perm, w, warned)
		}
		if got := mode(t, f.Key); got != perm {
			t.Errorf("mode of somebody else's key changed from %04o to %04o", perm, got)
		}
	}
}
