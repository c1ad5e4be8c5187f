//go:build unix

package agent

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/internal/lockfile"
)

// R120 and R123: the tree, all of it private.
func TestBaseDirectory(t *testing.T) {
	base := filepath.Join(t.TempDir(), "not", "there")
	release, err := openBase(base)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = filepath.WalkDir(base, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if info, err := d.Info(); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v, want mode 0700", path, info.Mode(), err)
		}
		name, err := filepath.Rel(base, path)
		got = append(got, name)
		return err
	})
	want := []string{
		".", "certificates", "config", "config/plugins", "data", "data/cache", "data/plugins", "data/state",
		"logs", "logs/audit", "logs/plugins", "tmp",
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("the tree: %v\n%s", err, diff)
	}

	if _, err := openBase(base); !errors.Is(err, lockfile.ErrHeld) {
		t.Errorf("a second process got %v, want that the lock is held", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(base, 0o755); err != nil {
		t.Fatal(err)
	}
	release, err = openBase(base)
	if err != nil {
		t.Fatalf("after the first ended: %v", err)
	}
	defer release()
	if info, err := os.Stat(base); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("a base directory that others could read has %v, %v, want 0700", info.Mode(), err)
	}
}

func TestBaseDirectoryThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	if _, err := openBase(filepath.Join(file, "base")); err == nil {
		t.Error("a base directory below a file was made")
	}
	base := t.TempDir()
	write(t, filepath.Join(base, "data"), "in the way")
	if _, err := openBase(base); err == nil {
		t.Error("a file in the place of data was taken for a directory")
	}
}

// What a killed agent left in tmp goes at the next start, and nothing else does.
func TestTempIsSwept(t *testing.T) {
	base, outside := t.TempDir(), t.TempDir()
	if err := makeBase(base); err != nil {
		t.Fatal(err)
	}
	tmp := filepath.Join(base, "tmp")
	write(t, filepath.Join(outside, "run-theirs-1", "precious"), "x")
	write(t, filepath.Join(tmp, "run-disk-12", "input.json"), "{}")
	write(t, filepath.Join(tmp, "run-a.b-c_d-7", "deep", "locked", "file"), "x")
	write(t, filepath.Join(tmp, "probe-99", "agent", "secret"), "x")
	for _, keep := range []string{"notes-1", "run-", "run-disk-x1", "run-Disk-1"} {
		write(t, filepath.Join(tmp, keep, "file"), "x")
	}
	write(t, filepath.Join(tmp, "run-file-1"), "no directory")
	for link, to := range map[string]string{
		"run-link-1":          filepath.Join(outside, "run-theirs-1"),
		"run-disk-12/dir":     outside,
		"run-disk-12/precise": filepath.Join(outside, "run-theirs-1", "precious"),
	} {
		if err := os.Symlink(to, filepath.Join(tmp, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(tmp, "run-a.b-c_d-7", "deep", "locked"), 0o500); err != nil {
		t.Fatal(err)
	}

	log := &lines{}
	tidy(base, slog.New(slog.NewTextHandler(log, nil)))
	if log.count("had left in tmp", "directories=3", "error=<nil>") != 1 {
		t.Errorf("the log does not tell of 3 directories: %s", log)
	}
	want := []string{"notes-1", "run-", "run-Disk-1", "run-disk-x1", "run-file-1", "run-link-1"}
	if got := names(t, tmp); !slices.Equal(got, want) {
		t.Errorf("left in tmp: %q, want %q", got, want)
	}
	read(t, filepath.Join(outside, "run-theirs-1", "precious"))
	if n, err := sweepTemp(base); n != 0 || err != nil {
		t.Errorf("once more: %d, %v, want nothing to do", n, err)
	}
}

func TestTempThatIsALinkIsNotSwept(t *testing.T) {
	base, outside := t.TempDir(), t.TempDir()
	write(t, filepath.Join(outside, "run-disk-1", "file"), "x")
	if err := os.Symlink(outside, filepath.Join(base, "tmp")); err != nil {
		t.Fatal(err)
	}
	if n, err := sweepTemp(base); n != 0 || err != nil {
		t.Errorf("sweepTemp = %d, %v, want 0 and no error", n, err)
	}
	read(t, filepath.Join(outside, "run-disk-1", "file"))
}
