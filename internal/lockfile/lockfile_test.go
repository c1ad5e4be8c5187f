package lockfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const lockPath = "STAVILY_TEST_LOCK"

// TestMain turns the test binary into the process that holds the lock.
func TestMain(m *testing.M) {
	if path := os.Getenv(lockPath); path != "" {
		if _, err := Lock(path); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("locked")
		io.Copy(io.Discard, os.Stdin) // until it is killed
	}
	os.Exit(m.Run())
}

func mustLock(t *testing.T, path string) func() error {
	t.Helper()
	release, err := Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	return release
}

func refused(t *testing.T, path string, pid int) {
	t.Helper()
	_, err := Lock(path)
	if !errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), fmt.Sprintf("process %d:", pid)) {
		t.Errorf("Lock = %v, want ErrHeld that names process %d", err, pid)
	}
}

func TestSecondHolderIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	release := mustLock(t, path)
	refused(t, path, os.Getpid())
	if err := release(); err != nil {
		t.Fatal(err)
	}
	mustLock(t, path)()
}

// A holder that is killed leaves nothing behind that would keep the next one out.
func TestLockEndsWithItsProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), lockPath+"="+path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Fatalf("child: %q, %v", line, err)
	}
	refused(t, path, cmd.Process.Pid)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	defer mustLock(t, path)()
	refused(t, path, os.Getpid())
}

func TestHolderThatHasNotSignedYet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	defer mustLock(t, path)()
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(path); !errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("Lock = %v, want ErrHeld by another process", err)
	}
}

func TestMissingDirectory(t *testing.T) {
	if _, err := Lock(filepath.Join(t.TempDir(), "no", "lock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Lock = %v, want ErrNotExist", err)
	}
}
