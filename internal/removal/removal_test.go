//go:build unix

package removal

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWhatResistsIsRemovedAndWhatALinkLeadsToStays(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Log("root is stopped by no permission: the links are tested")
	}
	dir := t.TempDir()
	keep := filepath.Join(dir, "keep")
	for _, sub := range []string{"keep", "tree/locked/inner"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"keep/file", "tree/locked/inner/file"} {
		if err := os.WriteFile(filepath.Join(dir, file), nil, 0o400); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(keep, filepath.Join(dir, "tree", "locked", "link")); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"tree/locked/inner", "tree/locked"} {
		if err := os.Chmod(filepath.Join(dir, sub), 0o100); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(keep, 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(keep, 0o700) }) // so that the test's directory can go
	if err := Of(filepath.Join(dir, "tree")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "tree")); !os.IsNotExist(err) {
		t.Errorf("the tree is left: %v", err)
	}
	info, err := os.Stat(keep)
	if err != nil || info.Mode().Perm() != 0o500 {
		t.Errorf("what the link leads to was changed: %v, %v", info, err)
	}
	if _, err := os.Stat(filepath.Join(keep, "file")); err != nil {
		t.Error(err)
	}
	for _, path := range []string{filepath.Join(dir, "none"), filepath.Join(dir, "none", "below")} {
		if err := Of(path); err != nil {
			t.Errorf("%s is not there: %v", path, err)
		}
	}
}
