package warm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stavily/agents/shared/internal/sandbox"
)

// victimDir makes this binary an agent that is to be killed, with its files there.
const victimDir = "STAVILY_TEST_VICTIM"

// When the agent is killed, so is everything that came from its zygotes.
func TestNothingOutlivesTheAgent(t *testing.T) {
	found, err := host()
	if err != nil {
		t.Fatal(err)
	}
	for _, level := range sandbox.Levels {
		if !found.Level.AtLeast(level) {
			continue
		}
		t.Run(string(level), func(t *testing.T) {
			dir := t.TempDir()
			agent := exec.Command("/proc/self/exe")
			agent.Env = append(os.Environ(), victimDir+"="+dir, "STAVILY_TEST_LEVEL="+string(level))
			agent.Stdout, agent.Stderr = os.Stderr, os.Stderr
			if err := agent.Start(); err != nil {
				t.Fatal(err)
			}
			until(t, time.Minute, "its executions run", func() bool {
				made, err := filepath.Glob(filepath.Join(dir, "*", "home", "runs-*"))
				return err == nil && len(made) == 3
			})
			agent.Process.Kill()
			agent.Wait()
			until(t, time.Second, "nothing is left", func() bool { return len(mentioning(t, dir)) == 0 })
		})
	}
}

func until(t *testing.T, limit time.Duration, what string, true func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !true(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// mentioning lists living processes whose command line names a path, but this one.
func mentioning(t *testing.T, path string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline")) // empty for a zombie
		if err == nil && bytes.Contains(line, []byte(path)) {
			out = append(out, pid)
		}
	}
	return out
}

// victim stands in for the test's T in a process that runs no test.
type victim struct {
	testing.TB
	dir string
}

func (v *victim) Helper()        {}
func (v *victim) Cleanup(func()) {}
func (v *victim) TempDir() string {
	dir, err := os.MkdirTemp(v.dir, "v")
	if err != nil {
		v.Fatal(err)
	}
	return dir
}
func (v *victim) Context() context.Context { return context.Background() }

func (v *victim) Fatal(args ...any) {
	fmt.Fprintln(os.Stderr, args...)
	os.Exit(1)
}
func (v *victim) Fatalf(format string, args ...any) { v.Fatal(fmt.Sprintf(format, args...)) }
func (v *victim) Skip(args ...any)                  { v.Fatal(args...) }

// beVictim runs a zygote with three executions: one waits, one ignores all it may, one
// has started others in other sessions.
func beVictim(dir string) {
	if _, err := sandbox.Keep(dir); err != nil {
		panic(err)
	}
	v := &victim{dir: dir}
	scratch = v.TempDir()
	l := newLab(v, handler)
	l.warmUp()
	for i, do := range []string{
		"",
		"import signal; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 3, 13, 15)]",
		"for _ in range(2):\n if os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0: time.sleep(600)\n  time.sleep(600)",
	} {
		go l.warm(v.Context(), script(do+fmt.Sprintf("\nopen(os.environ['HOME'] + '/runs-%d', 'w')\ntime.sleep(600)", i), "1"))
	}
	time.Sleep(time.Minute)
	syscall.Exit(1)
}
