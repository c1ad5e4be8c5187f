package agent

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

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
	python, err := interpreter()
	if err != nil {
		t.Skip(err)
	}
	ask := func(uid uint32) string {
		t.Helper()
		cmd := exec.Command(python.Path, "-I", "-c", `
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
try:
    s.sendall(b"GET /plugins HTTP/1.0\r\n\r\n")
    print(s.recv(100))
except OSError as e:
    print(e)
`, path)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
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
