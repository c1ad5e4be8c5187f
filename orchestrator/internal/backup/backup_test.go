package backup

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/stavily/agents/orchestrator/internal/ca"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/store/sqlite"
)

// made is a backup of a small server, as bytes.
func made(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	st, err := sqlite.Open(t.Context(), filepath.Join(dir, Database))
	if err != nil {
		t.Fatal(err)
	}
	err = st.Org("o").Update(t.Context(), func(tx store.Tx) error { return tx.AddAudit(store.Audit{Action: "x"}) })
	if _, failure := ca.Open(filepath.Join(dir, "ca"), ca.Options{}); err != nil || failure != nil {
		t.Fatal(err, failure)
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "packages"), 0o700), os.WriteFile(filepath.Join(dir, Keys), []byte("key"), 0o600)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "b")
	m, err := Write(t.Context(), Source{DataDir: dir}, file) // beside the open store
	if err != nil || m.Has(Keys) || !m.Has("ca/ca.key") {
		t.Fatalf("write: %+v, %v", m, err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.part")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	return b
}

func restore(t *testing.T, b []byte, finish func(string, Manifest) error) (dir string, err error) {
	t.Helper()
	at := t.TempDir()
	file, dir := filepath.Join(at, "b"), filepath.Join(at, "server")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Restore(t.Context(), file, dir, nil, finish)
	if left, _ := os.ReadDir(at); err != nil && len(left) != 1 {
		t.Errorf("left behind by a restore that failed: %v", left)
	}
	return dir, err
}

func fine(string, Manifest) error { return nil }

// What is damaged anywhere, or cut off, is refused whole.
func TestDamage(t *testing.T) {
	b := made(t)
	dir, err := restore(t, b, fine)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, Database)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the database: %v, %v", info, err)
	}
	if _, err := restore(t, b, func(string, Manifest) error { return errors.New("no") }); err == nil {
		t.Error("what finish refuses is restored")
	}
	const step = 97
	for n := 10; n < len(b); n += step { // behind the header of gzip, of which some bytes mean nothing
		b[n] ^= 0x10
		// A few bits of a compressed stream mean nothing.
		if is, err := restore(t, b, fine); err == nil && !same(t, dir, is) {
			t.Errorf("a changed byte %d of %d is restored", n, len(b))
		}
		b[n] ^= 0x10
	}
	for _, n := range []int{0, 1, len(b) / 2, len(b) - 1} {
		if _, err := restore(t, b[:n], fine); err == nil {
			t.Errorf("the first %d bytes of %d are restored", n, len(b))
		}
	}
}

// same reports whether two directories have the same files.
func same(t *testing.T, a, b string) bool {
	t.Helper()
	all := func(dir string) map[string]string {
		files := map[string]string{}
		err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(filepath.Join(dir, path))
			files[path] = string(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	return maps.Equal(all(a), all(b))
}
