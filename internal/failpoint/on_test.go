//go:build failpoints

package failpoint

import (
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// directory is where this process's points are.
func directory(t *testing.T) string {
	t.Helper()
	t.Setenv("FAILPOINTS", t.TempDir())
	if dir() == "" {
		t.Skip("the directory was asked for before this test")
	}
	return dir()
}

func TestAnArmedPointActsOnce(t *testing.T) {
	d := directory(t)
	if err := File("file.before", "/some/where/state.json"); err != nil {
		t.Errorf("a point that is not armed: %v", err)
	}
	path := filepath.Join(d, "file.before:state.json")
	if _, err := os.Stat(path + ".seen"); err != nil {
		t.Errorf("it was passed: %v", err)
	}
	if err := os.WriteFile(path+".armed", []byte("error\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var failed atomic.Int32
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if File("file.before", "state.json") != nil {
				failed.Add(1)
			}
		})
	}
	all.Wait()
	if n := failed.Load(); n != 1 {
		t.Errorf("it failed %d times", n)
	}
	if _, err := os.Stat(path + ".hit"); err != nil {
		t.Errorf("no proof: %v", err)
	}
}
