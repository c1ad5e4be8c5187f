package python

import (
	"io/fs"
	"path/filepath"
	"testing"
)

func TestSourceIsWhole(t *testing.T) {
	for _, pattern := range []string{"src/stavily/*.py", "src/stavily/*/*.py"} {
		onDisk, err := filepath.Glob(pattern)
		if err != nil || len(onDisk) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, file := range onDisk {
			if _, err := fs.Stat(Source, filepath.ToSlash(file)); err != nil {
				t.Errorf("%s is not embedded: %v", file, err)
			}
		}
	}
	for _, name := range []string{"src/stavily/__init__.py", "src/stavily/py.typed"} {
		if _, err := fs.Stat(Source, name); err != nil {
			t.Error(err)
		}
	}
}
