package removal

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// openMode is what lets the owner of a directory remove what is in it.
const openMode = 0o700

// Below removes what has this name below root, with all that is in it. What is not there
// is no error.
func Below(root *os.Root, name string) error {
	err := root.RemoveAll(name)
	if err == nil {
		return nil
	}
	unlocked := fs.WalkDir(root.FS(), filepath.ToSlash(name), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return root.Chmod(path, openMode)
	})
	if unlocked != nil {
		return errors.Join(err, unlocked)
	}
	return root.RemoveAll(name)
}

// Of is Below for a path, whose parent directory is trusted.
func Of(path string) error {
	root, err := os.OpenRoot(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	return Below(root, filepath.Base(path))
}
