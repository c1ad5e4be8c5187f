package depot

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stavily/agents/internal/limits"
)

func open(t *testing.T, dir string) *Depot {
	t.Helper()
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func receive(t *testing.T, d *Depot, content string) *Incoming {
	t.Helper()
	in, err := d.Receive(strings.NewReader(content), 1000)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func digestOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func TestContentIsKeptUnderItsDigest(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pack*ages[")
	d := open(t, dir)
	for range 2 { // the same content again is the same file
		in := receive(t, d, "content")
		if in.Digest != digestOf("content") || in.Size != 7 {
			t.Errorf("received %s of %d bytes", in.Digest, in.Size)
		}
		head := make([]byte, 4)
		if _, err := in.ReadAt(head, 3); err != nil || string(head) != "tent" {
			t.Errorf("ReadAt = %q, %v", head, err)
		}
		if err := in.Keep(); err != nil {
			t.Fatal(err)
		}
		in.Discard()
	}
	if names := files(t, dir); len(names) != 1 {
		t.Errorf("files %q, want one", names)
	}
	f, err := open(t, dir).File(digestOf("content"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := io.ReadAll(f); err != nil || string(b) != "content" {
		t.Errorf("content %q, %v", b, err)
	}
}

// TestNothingIsLeft of what was too large, broke off, was discarded or whose process died.
func TestNothingIsLeft(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "packages")
	d := open(t, dir)
	if _, err := d.Receive(bytes.NewReader(make([]byte, 1001)), 1000); !errors.Is(err, limits.ErrTooLarge) {
		t.Errorf("1001 of 1000 bytes: %v", err)
	}
	broken := errors.New("broke off")
	if _, err := d.Receive(io.MultiReader(strings.NewReader("x"), failing{broken}), 1000); !errors.Is(err, broken) {
		t.Errorf("an upload that broke off: %v", err)
	}
	receive(t, d, "discarded").Discard()
	if names := files(t, dir); len(names) != 0 {
		t.Errorf("left: %q", names)
	}
	receive(t, d, "its process dies").file.Close()
	open(t, dir)
	if names := files(t, dir); len(names) != 0 {
		t.Errorf("left after a start: %q", names)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestADamagedFileIsReplaced: neither content that lost its end nor what a bad disk made of
// it is taken for the package.
func TestADamagedFileIsReplaced(t *testing.T) {
	for _, damaged := range []string{"cont", "cOntent"} {
		replaced(t, damaged)
	}
}

func replaced(t *testing.T, damaged string) {
	t.Helper()
	dir := t.TempDir()
	d := open(t, dir)
	if err := os.WriteFile(filepath.Join(dir, strings.TrimPrefix(digestOf("content"), "sha256:")+suffix), []byte(damaged), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, d, "content").Keep(); err != nil {
		t.Fatal(err)
	}
	f, err := d.File(digestOf("content"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, _ := io.ReadAll(f); string(b) != "content" {
		t.Errorf("content %q", b)
	}
}

func TestSweepAndRemove(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	for _, content := range []string{"a", "b", "c"} {
		if err := receive(t, d, content).Keep(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "README"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Sweep(func(digest string) (bool, error) { return digest == digestOf("a"), nil }); err != nil {
		t.Fatal(err)
	}
	if names := files(t, dir); len(names) != 2 {
		t.Errorf("after the sweep: %q, want one package and what is not the depot's", names)
	}
	for range 2 {
		if err := d.Remove(digestOf("a")); err != nil {
			t.Error(err)
		}
	}
	if _, err := d.File(digestOf("a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a removed package: %v", err)
	}
}

func TestOnlyDigestsNameFiles(t *testing.T) {
	d := open(t, t.TempDir())
	for _, digest := range []string{"", "sha256:", "sha256:../../etc/passwd", "sha256:" + strings.Repeat("A", 64)} {
		if _, err := d.File(digest); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("File(%q): %v, want a refusal", digest, err)
		}
		if err := d.Remove(digest); err == nil {
			t.Errorf("Remove(%q) is not refused", digest)
		}
	}
}
