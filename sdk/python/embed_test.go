package python

import (
	"io/fs"
	"os"
	"testing"
)

func TestSourceIsWhole(t *testing.T) {
	onDisk, err := os.ReadDir("src/stavily")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range onDisk {
		if entry.IsDir() {
			continue // __pycache__
		}
		name := "src/stavily/" + entry.Name()
		if _, err := fs.Stat(Source, name); err != nil {
			t.Errorf("%s is not embedded: %v", name, err)
		}
	}
	for _, name := range []string{"src/stavily/__init__.py", "src/stavily/py.typed"} {
		if _, err := fs.Stat(Source, name); err != nil {
			t.Error(err)
		}
	}
}
