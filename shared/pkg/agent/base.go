package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/lockfile"
	"github.com/stavily/agents/internal/removal"
)

// baseTree is what stands in a base directory (R120). All of it is private to the
// agent's user: it holds the key, the configuration and what plugins keep.
var baseTree = []string{
	"config", "config/plugins",
	"certificates",
	"data", "data/plugins", "data/cache", "data/state",
	"logs", "logs/plugins", "logs/audit",
	tempDir,
}

// stateDir is where the agent keeps what it must remember, below the base directory.
var stateDir = filepath.Join("data", "state")

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
		err := os.Mkdir(filepath.Join(dir, sub), dirMode)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make %s in the base directory: %w", sub, err)
		}
	}
	return nil
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
	if err := os.Chmod(dir, dirMode); err != nil && !errors.Is(err, fs.ErrPermission) {
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
	return lockfile.Lock(filepath.Join(dir, stateDir, "lock"))
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
	path := filepath.Join(base, tempDir)
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
