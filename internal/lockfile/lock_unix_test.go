//go:build unix

package lockfile

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A child that a killed process was just starting has its lock for a moment more: the next one
// waits for that, and is not told of a process that is gone.
func TestWhatAKilledProcessWasStartingIsWaitedFor(t *testing.T) {
	dead := exec.Command(os.Args[0], "-test.run=^$")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "lock")
	child, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := child.WriteString(strconv.Itoa(dead.Process.Pid)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(child.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(5*look, func() { child.Close() })
	mustLock(t, path)()
}
