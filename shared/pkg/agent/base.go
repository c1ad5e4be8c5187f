package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/lockfile"
	"github.com/stavily/agents/internal/removal"
)

// baseTree is what stands in a base directory (R120). All of it is private to the
// agent's user: it holds the key, the configuration and what plugins keep. What the
// agent only reads may be missing where it cannot be made, because it is mounted
// read-only or the base directory is somebody else's (F34).
var baseTree = []struct {
	path   string
	needed bool
}{
	{"config", false}, {"config/plugins", false},
	{"certificates", false},
	{"data", true}, {"data/plugins", true}, {"data/cache", true}, {"data/state", true},
	{"logs", true}, {"logs/plugins", true}, {"logs/audit", true},
}

// isInBase reports whether a path below the base directory is of a directory that makeBase makes.
func isInBase(below string) bool {
	for _, sub := range baseTree {
		if below == filepath.FromSlash(sub.path) {
			return true
		}
	}
	return below == "."
}

// stateDir is where the agent keeps what it must remember, below the base directory.
var stateDir = filepath.Join("data", "state")

// lockName is the file in it that keeps a second process out; it stays when the first ends.
const lockName = "lock"

// dirMode is the mode of the base directory and everything that the agent makes
// in it (R123).
const dirMode = 0o700

// makeBase makes the base directory and what is missing in it. Directories below
// that are there already (a read-only mount of a Kubernetes Secret, say) are left
// as they are.
func makeBase(dir string) error {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return fmt.Errorf("make the base directory: %w; choose another with --base-dir", err)
	}
	if err := tighten(dir); err != nil {
		return err
	}
	for _, sub := range baseTree {
		err := os.Mkdir(filepath.Join(dir, sub.path), dirMode)
		if err != nil && !errors.Is(err, fs.ErrExist) && (sub.needed || !notOurs(err)) {
			return fmt.Errorf("make %s in the base directory: %w", sub.path, err)
		}
	}
	return makeTemp(dir)
}

// notOurs reports whether err says that a place is there and may not be written by us.
// A directory that is missing on a read-only mount counts: nobody but its owner can
// make it.
func notOurs(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrNotExist)
}

// makeTemp makes the directory of [tempOf]: where the base directory cannot be
// written, below data, which always can (F34).
func makeTemp(dir string) error {
	err := os.Mkdir(filepath.Join(dir, tempDir), dirMode)
	if err != nil && notOurs(err) {
		err = os.Mkdir(filepath.Join(dir, "data", tempDir), dirMode)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make %s in the base directory: %w", tempDir, err)
	}
	return nil
}

// tempOf is the directory for what a process keeps no longer than it runs.
func tempOf(base string) string {
	own := filepath.Join(base, tempDir)
	if _, err := os.Lstat(own); errors.Is(err, fs.ErrNotExist) {
		return filepath.Join(base, "data", tempDir)
	}
	return own
}

// tighten takes the permissions of group and others off a base directory that we
// own; one that belongs to somebody else is theirs to set.
func tighten(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("look at the base directory: %w", err)
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	if err := os.Chmod(dir, dirMode); err != nil && !notOurs(err) {
		return fmt.Errorf("make the base directory private: %w", err)
	}
	return nil
}

// openBase makes the tree and takes the lock that keeps a second process out of
// it. release gives the lock back.
func openBase(dir string) (release func() error, err error) {
	if err := makeBase(dir); err != nil {
		return nil, err
	}
	return lockfile.Lock(filepath.Join(dir, stateDir, lockName))
}

// The private directories of plugin processes stand in tmp, under names that nothing
// else has: run-<plugin>-<number>. A self-test of the sandbox has probe-<number>.
const (
	tempDir    = "tmp"
	tempPrefix = "run-"
)

var tempName = regexp.MustCompile(`^(` + tempPrefix + `[a-z0-9._-]+|probe)-[0-9]+$`)

// sweepTemp removes the private directories that a former process had no time to
// remove, and reports how many there were. Call it with the lock of base, when nothing
// of that process runs any more. What is not of our making stays, also when it hides
// behind one of our names as a link, and so does everything in a tmp that is a link.
func sweepTemp(base string) (int, error) {
	path := tempOf(base)
	if info, err := os.Lstat(path); err != nil || !info.IsDir() {
		return 0, err
	}
	tmp, err := os.OpenRoot(path)
	if err != nil {
		return 0, fmt.Errorf("sweep %s: %w", path, err)
	}
	defer tmp.Close()
	entries, err := fs.ReadDir(tmp.FS(), ".")
	if err != nil {
		return 0, fmt.Errorf("sweep %s: %w", path, err)
	}
	swept := 0
	var failed []error
	for _, e := range entries {
		if !e.IsDir() || !tempName.MatchString(e.Name()) {
			continue
		}
		if err := removal.Below(tmp, e.Name()); err != nil {
			failed = append(failed, fmt.Errorf("sweep %s: %w", path, err))
			continue
		}
		swept++
	}
	return swept, errors.Join(failed...)
}

// writeState puts a small fact where operators and scripts find it, for example
// the port that was really bound.
func writeState(base, name, value string) error {
	return atomicfile.Write(filepath.Join(base, stateDir, name), []byte(value+"\n"), 0o600)
}

// removeState takes back what writeState put, when it does not hold any more.
func removeState(base, name string) error {
	err := os.Remove(filepath.Join(base, stateDir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
