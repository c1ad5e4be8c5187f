package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/lockfile"
)

// baseTree is what stands in a base directory (R120). All of it is private to the
// agent's user: it holds the key, the configuration and what plugins keep.
var baseTree = []string{
	"config", "config/plugins",
	"certificates",
	"data", "data/plugins", "data/cache", "data/state",
	"logs", "logs/plugins", "logs/audit",
	"tmp",
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

// writeState puts a small fact where operators and scripts find it, for example
// the port that was really bound.
func writeState(base, name, value string) error {
	return atomicfile.Write(filepath.Join(base, stateDir, name), []byte(value+"\n"), 0o600)
}
