package kit

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// program builds stavily, once for all tests of the binary.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stavily")
	cmd := exec.Command("go", "build", "-o", path, "../orchestrator/cmd/stavily")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	return path
}

// What `new` makes passes `test` at once: each kind of plugin, as root and as an ordinary
// user, and other users find nothing of it in the temporary directory afterwards.
func TestNewPluginsPassAtOnce(t *testing.T) {
	stavily := program(t)
	users := map[string][]string{"as whoever runs the tests": nil}
	if os.Geteuid() == 0 {
		if _, err := exec.LookPath("setpriv"); err != nil {
			t.Log("not tried as an ordinary user: needs setpriv (package util-linux)")
		} else {
			users["as an ordinary user"] = []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"}
		}
	}
	for name, prefix := range users {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each is two programs of its own, which mostly wait
			home := t.TempDir()
			for _, path := range []string{home, filepath.Dir(stavily)} {
				for dir := path; dir != filepath.Clean(os.TempDir()); dir = filepath.Dir(dir) {
					reachable(t, dir)
				}
			}
			for _, kind := range []string{"sensor", "action", "output"} {
				// One line, as people write it.
				line := "umask 022 && '" + stavily + "' plugin new x-" + kind + " --type " + kind + " && '" + stavily + "' plugin test x-" + kind + " --runs 30 -o json"
				args := append(append([]string{}, prefix...), "sh", "-c", line)
				cmd := exec.Command(args[0], args[1:]...)
				cmd.Dir = home
				cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home}
				if python := os.Getenv("PYTHON"); filepath.IsAbs(python) { // not a shim of another user
					cmd.Env[0] = "PATH=" + filepath.Dir(python) + ":/usr/bin:/bin"
				}
				var out, errs bytes.Buffer
				cmd.Stdout, cmd.Stderr = &out, &errs
				if err := cmd.Run(); err != nil {
					t.Fatalf("%s: %v\n%s\n%s", kind, err, out.Bytes(), errs.Bytes())
				}
				var card Card
				_, text, _ := strings.Cut(out.String(), "{")
				if err := json.Unmarshal([]byte("{"+text), &card); err != nil || !card.Passed || len(card.Checks) < 9 || card.count(Passed) < 9 {
					t.Errorf("%s: %v\n%s", kind, err, out.Bytes())
				}
			}
			left, err := filepath.Glob(filepath.Join(home, "stavily-*"))
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
}

// reachable lets every user into a directory.
func reachable(t *testing.T, dir string) {
	t.Helper()
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
}
