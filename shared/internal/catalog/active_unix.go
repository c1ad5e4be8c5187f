//go:build unix

package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/failpoint"
)

// readActive reads the link of a plugin's directory; empty: there is none.
func readActive(dir string) (string, error) {
	name, err := os.Readlink(filepath.Join(dir, activeName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err == nil && !versionName.MatchString(name) {
		err = fmt.Errorf("it leads to %.80q", name)
	}
	return name, err
}

// writeActive lets the link lead to another version, by one rename.
func writeActive(dir, name string) error {
	aside := filepath.Join(dir, "."+activeName+".new")
	if err := os.Remove(aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(name, aside); err != nil {
		return err
	}
	err := failpoint.Hit("active.before")
	if err == nil {
		err = os.Rename(aside, filepath.Join(dir, activeName))
	}
	if err != nil {
		return errors.Join(err, os.Remove(aside))
	}
	return errors.Join(failpoint.Hit("active.renamed"), atomicfile.SyncDir(dir), failpoint.Hit("active.synced"))
}

func removeActive(dir string) error {
	err := os.RemoveAll(filepath.Join(dir, activeName))
	if err != nil {
		return err
	}
	return atomicfile.SyncDir(dir)
}
