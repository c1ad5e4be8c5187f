package agent

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// F34: in Kubernetes the base directory is root's, the configuration and the
// certificates are mounted read-only, and only data and logs are the agent's.
func TestBaseDirectoryOfMounts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become somebody else")
	}
	const nobody = 65534
	above := t.TempDir()
	if err := os.Chmod(filepath.Dir(above), 0o755); err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(above, "agent-x")
	for _, dir := range []string{"config", "certificates", "data", "logs"} {
		if err := os.MkdirAll(filepath.Join(base, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"data", "logs"} {
		if err := os.Chown(filepath.Join(base, dir), nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	open := func() error {
		release, err := openBase(base)
		if err != nil {
			return err
		}
		return release()
	}
	if err := as(t, nobody, open); err != nil {
		t.Fatal(err)
	}
	if got, want := tempOf(base), filepath.Join(base, "data", tempDir); got != want {
		t.Errorf("temporary files go to %s, want %s", got, want)
	}
	if info, err := os.Stat(tempOf(base)); err != nil || !info.IsDir() || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory for temporary files: %v, %v", info, err)
	}
	if _, err := os.Stat(filepath.Join(base, "config", "plugins")); err == nil {
		t.Error("a directory was made in the configuration, which this test takes for read-only")
	}

	// What has to be written must be writable.
	if err := os.Chown(filepath.Join(base, "logs"), 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(base, "logs", "audit")); err != nil {
		t.Fatal(err)
	}
	if err := as(t, nobody, open); err == nil {
		t.Error("an agent that cannot write its logs starts")
	}
}

// as runs f with the rights of another user to files.
func as(t *testing.T, uid int, f func() error) error {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and ends with it: the thread is that user's from here on
		if err := unix.Setfsuid(uid); err != nil {
			t.Error(err)
		}
		done <- f()
	}()
	return <-done
}
