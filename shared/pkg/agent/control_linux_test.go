package agent

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/shared/pkg/api"
)

// Whoever is let in by the modes of the files, as after somebody loosened them, is still
// asked for by the kernel's word.
func TestOnlyTheOwnerIsHeard(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to be somebody else")
	}
	h := newHost(t, api.Action, nil).owned()
	path := filepath.Join(h.base, controlName)
	for dir := h.base; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	ask := func(uid uintptr) string {
		t.Helper()
		answer := make(chan string)
		go func() {
			// The thread alone becomes somebody else. It is never unlocked, so it ends with this goroutine.
			runtime.LockOSThread()
			for _, call := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
				if _, _, errno := unix.RawSyscall(call, uid, uid, uid); errno != 0 {
					answer <- errno.Error()
					return
				}
			}
			answer <- exchange(path)
		}()
		return <-answer
	}
	if got := ask(0); !strings.Contains(got, "200 OK") {
		t.Errorf("the owner is told %s", got)
	}
	if got := ask(65534); strings.Contains(got, "HTTP") {
		t.Errorf("somebody else is told %s", got)
	}
	if h.log.count("somebody else called at the control socket", "uid=65534") != 1 {
		t.Errorf("the log does not tell of it:\n%s", h.log)
	}
}

// exchange is what a control socket answers to a look at the plugins, or the error.
func exchange(path string) string {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET /plugins HTTP/1.0\r\n\r\n")); err != nil {
		return err.Error()
	}
	b := make([]byte, 100)
	n, err := conn.Read(b)
	if err != nil {
		return err.Error()
	}
	return string(b[:n])
}
