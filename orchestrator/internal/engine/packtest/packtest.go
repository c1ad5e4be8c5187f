// Package packtest makes packages of small plugins, in the way that authors do, for the
// tests of the orchestrator.
//
// It is imported by tests only. Each plugin is a real one that a real agent could run: an
// action without parameters, whose code has its version in it, so that no two versions
// have the same bytes.
//
//	Pack(t, "cleaner", "1.0.0", nil)                                       unsigned
//	Pack(t, "cleaner", "1.1.0", key, "permissions: {network: ['a:443']}")  signed, asking for more
//
// Whatever it makes lies in directories of the test.
package packtest

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/bundle"
)

// Key signs packages.
type Key = bundle.Signer

// NewKey makes a key.
func NewKey(t testing.TB) *Key {
	t.Helper()
	key, err := bundle.NewKey("release")
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Pack makes the package of a plugin; more are lines of its manifest, one of which may
// be its type instead of action.
func Pack(t testing.TB, id, version string, key *Key, more ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	lines := append([]string{"id: " + id, "version: " + version, "runtime: {entry_point: main.py}"}, more...)
	manifest := strings.Join(lines, "\n") + "\n"
	if !strings.Contains(manifest, "\ntype:") {
		manifest += "type: action\n"
	}
	for name, text := range map[string]string{"plugin.yaml": manifest, "main.py": "print('" + version + "')\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if _, err := bundle.Pack(&b, dir, key); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
