// Package atomicfile replaces a file so that a reader, or a machine that lost
// power, finds either all of the old content or all of the new.
//
// The content is written to a temporary file in the same directory, flushed,
// renamed over the target, and the directory is flushed (rename(2), fsync(2)).
// Callers may write different paths at the same time; for one path the last
// rename wins.
package atomicfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/stavily/agents/internal/failpoint"
)

// Write replaces path by data with the permissions perm, regardless of the
// umask. On an error the old file is untouched.
func Write(path string, data []byte, perm os.FileMode) error {
	dir := filepath.Dir(path)
	if err := failpoint.File("file.before", path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := fill(tmp, data, perm); err != nil {
		os.Remove(tmp.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	err = failpoint.File("file.written", path)
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		os.Remove(tmp.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return errors.Join(failpoint.File("file.renamed", path), SyncDir(dir), failpoint.File("file.synced", path))
}

func fill(f *os.File, data []byte, perm os.FileMode) error {
	_, err := f.Write(data)
	if err == nil {
		err = f.Chmod(perm)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// Create makes a file whole, and only if it is not there; else the error is
// fs.ErrExist. Link(2) gives what is flushed its name.
func Create(path string, data []byte, perm os.FileMode) error {
	whole := path + ".new"
	if err := Write(whole, data, perm); err != nil {
		return err
	}
	if err := os.Link(whole, path); err != nil {
		return errors.Join(fmt.Errorf("create %s: %w", path, err), os.Remove(whole))
	}
	if err := os.Remove(whole); err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	return SyncDir(filepath.Dir(path))
}
