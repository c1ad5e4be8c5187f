//go:build unix

package limits

import (
	"path/filepath"
	"syscall"
	"testing"
)

// A plugin can leave a FIFO where a file is expected; a plain open would wait
// for a writer for ever.
func TestReadFileDoesNotWaitForAFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path, 10); err == nil {
		t.Error("a FIFO was read")
	}
}
