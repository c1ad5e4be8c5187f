//go:build unix

package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// The test binary is its own launcher, and the agent that is killed.
func TestMain(m *testing.M) {
	Main()
	doomedAgent()
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/stavily/agents/shared/internal/sandbox.forkLoop"))
}

func python(t *testing.T) string {
	t.Helper()
	for _, path := range []string{"/usr/bin/python3", "/usr/local/bin/python3", "/opt/homebrew/bin/python3"} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Skip("no Python here")
	return ""
}

// run is a plugin under test: Python source, started with its output in a file.
type run struct {
	*Process
	t   *testing.T
	dir string
}

// script gives the Spec of a Python program.
func script(t *testing.T, source string) Spec {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "main.py")
	if err := os.WriteFile(path, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	return Spec{
		Path: python(t), Args: []string{"python3", "-S", "-E", path}, Dir: dir,
		Env: []string{"STAVILY_TEST_MARK=" + mark(t)},
	}
}

// mark names the processes of one test of this run: children inherit it.
func mark(t *testing.T) string {
	return fmt.Sprintf("mark-%d-%s", os.Getpid(), strings.ReplaceAll(t.Name(), "/", "-"))
}

func start(t *testing.T, s Spec) run {
	t.Helper()
	out, err := os.Create(filepath.Join(s.Dir, "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	s.Stdout, s.Stderr = out, out
	p, err := Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Kill(0) })
	return run{p, t, s.Dir}
}

func (r run) output() string {
	b, err := os.ReadFile(filepath.Join(r.dir, "output"))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

// says waits until the plugin printed text.
func (r run) says(text string) {
	r.t.Helper()
	await(r.t, "the plugin to print "+text, func() bool { return strings.Contains(r.output(), text) })
}

func (r run) wait() Exit {
	r.t.Helper()
	e, err := r.Wait()
	if err != nil {
		r.t.Fatalf("Wait: %v", err)
	}
	return e
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

func TestExit(t *testing.T) {
	for _, c := range []struct {
		source string
		want   Exit
	}{
		{"pass", Exit{}},
		{"raise SystemExit(7)", Exit{Code: 7}},
		{"import os; os.kill(os.getpid(), 11)", Exit{Code: -1, Signal: syscall.SIGSEGV}},
	} {
		got := start(t, script(t, c.source)).wait()
		if got.CPU <= 0 || got.Duration <= 0 {
			t.Errorf("%s: CPU %v, duration %v: want both above zero", c.source, got.CPU, got.Duration)
		}
		got.CPU, got.Duration, got.MaxRSS = 0, 0, 0 // a matter of the machine
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.source, diff)
		}
	}
}

func TestStartRefuses(t *testing.T) {
	good := script(t, "pass")
	plain := filepath.Join(good.Dir, "plain")
	lost := filepath.Join(good.Dir, "lost")
	for path, text := range map[string]string{plain: "#!/bin/sh\n", lost: "#!/no/such/interpreter\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(lost, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		change func(*Spec)
		want   string
	}{
		{func(s *Spec) { s.Path = "python3" }, "must be an absolute path"},
		{func(s *Spec) { s.Args = nil }, "argv must begin"},
		{func(s *Spec) { s.Dir = "." }, "must be an absolute path"},
		{func(s *Spec) { s.Path = "/no/such/program" }, "start /no/such/program: stat /no/such/program: no such file"},
		{func(s *Spec) { s.Dir = "/no/such/dir" }, "/no/such/dir: no such file"},
		{func(s *Spec) { s.Path = plain }, "chmod +x"},
		{func(s *Spec) { s.Path = "/usr" }, "not an executable file"},
		{func(s *Spec) { s.Path = lost }, "the interpreter that its first line names is missing"},
		{func(s *Spec) { s.Args = []string{"x", strings.Repeat("x", 3<<20)} }, "pass less"},
		{func(s *Spec) { s.Args = []string{"x", strings.Repeat("x", 5<<20)} }, "too l"},
	} {
		s := good
		c.change(&s)
		p, err := Start(t.Context(), s)
		if err == nil {
			p.Kill(0)
			t.Errorf("Start(%s, %.20s, %s): want an error with %q", s.Path, s.Args, s.Dir, c.want)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("Start: %.200v; want %q", err, c.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, good); err == nil {
		t.Error("Start with an ended context started")
	}
}

func TestStandardFiles(t *testing.T) {
	s := script(t, "import sys; print(sys.stdin.read(), end='', flush=True); sys.stderr.write('to the log')")
	in, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	s.Stdin = in
	r := start(t, s)
	feed.WriteString("through a pipe, ")
	feed.Close()
	if e := r.wait(); !e.Success() {
		t.Errorf("the plugin %s", e)
	}
	if got := r.output(); got != "through a pipe, to the log" {
		t.Errorf("output = %q", got)
	}
	s.Stdin = nil
	r = start(t, s)
	r.wait()
	if got := r.output(); got != "to the log" {
		t.Errorf("with the null device as input: output = %q", got)
	}
}

const askItself = `
import json, os, resource
out = {
  "env": sorted(k for k in os.environ if k != "LC_CTYPE"),
  "cwd": os.getcwd(),
  "session": os.getsid(0) == os.getpid() == os.getpgid(0),
  "core": resource.getrlimit(resource.RLIMIT_CORE),
  "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
  "fsize": resource.getrlimit(resource.RLIMIT_FSIZE)[0],
  "cpu": resource.getrlimit(resource.RLIMIT_CPU),
}
if os.path.isdir("/proc/self/fd"):
  out["fds"] = sorted(os.listdir("/proc/self/fd"))[:-1]  # the last is listdir's own
  for line in open("/proc/self/status"):
    if line.startswith("NoNewPrivs"): out["nnp"] = line.split()[1]
  out["as"] = resource.getrlimit(resource.RLIMIT_AS)[0]
  out["oom"] = open("/proc/self/oom_score_adj").read().strip()
print(json.dumps(out))
`

func TestConfinement(t *testing.T) {
	// A descriptor that nobody marked close-on-exec, as a service manager leaves
	// them, and a secret in the agent's environment.
	leak, err := syscall.Open(os.DevNull, syscall.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(leak)
	t.Setenv("AGENT_SECRET", "must not be seen")
	s := script(t, askItself)
	s.Env = []string{"ONLY=this"}
	s.Limits = Limits{Memory: 64 << 20, FileSize: 1 << 20, OpenFiles: 64, CPU: 1500 * time.Millisecond}
	r := start(t, s)
	if e := r.wait(); !e.Success() {
		t.Fatalf("the plugin %s: %s", e, r.output())
	}
	want := map[string]any{
		"env": []any{"ONLY"}, "cwd": s.Dir, "session": true,
		"core": []any{0.0, 0.0}, "files": 64.0, "fsize": float64(1 << 20), "cpu": []any{2.0, 3.0},
	}
	if runtime.GOOS == "linux" {
		want["fds"], want["nnp"], want["oom"] = []any{"0", "1", "2"}, "1", "500"
		want["as"] = float64(4*(64<<20) + 1<<30)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(r.output()), &got); err != nil {
		t.Fatalf("%v: %s", err, r.output())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what the plugin sees (-want +got):\n%s", diff)
	}
}

func TestTimeLimit(t *testing.T) {
	s := script(t, "import signal, time\nsignal.signal(15, lambda *a: None)\nprint('up', flush=True)\nwhile True: time.sleep(1)")
	s.Limits.Time, s.Grace = 300*time.Millisecond, 100*time.Millisecond
	e := start(t, s).wait()
	if e.Reason != TimeLimit || e.Signal != syscall.SIGKILL {
		t.Errorf("the plugin %s, signal %v; want time_limit by SIGKILL", e, e.Signal)
	}
	if e.Duration < 400*time.Millisecond || e.Duration > 1400*time.Millisecond {
		t.Errorf("took %v; want limit + grace to limit + grace + 1 s", e.Duration)
	}
}

func TestGraceLetsAPluginEndInOrder(t *testing.T) {
	r := start(t, script(t, "import signal, sys, time\nsignal.signal(15, lambda *a: sys.exit(3))\nprint('up', flush=True)\nwhile True: time.sleep(1)"))
	r.says("up")
	r.Kill(10 * time.Second)
	if e := r.wait(); e.Reason != Stopped || e.Code != 3 {
		t.Errorf("the plugin %s, code %d; want stopped with its own code 3", e, e.Code)
	}
}

func TestAnImpatientKillShortensTheGrace(t *testing.T) {
	r := start(t, script(t, "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('up', flush=True)\nwhile True: time.sleep(1)"))
	r.says("up")
	patient := make(chan struct{})
	go func() { defer close(patient); r.Kill(time.Hour) }()
	began := time.Now()
	r.Kill(0)
	<-patient
	if d := time.Since(began); d > time.Second {
		t.Errorf("took %v", d)
	}
}

func TestTheContextEndsTheProcess(t *testing.T) {
	s := script(t, "import time\ntime.sleep(100)")
	s.Grace = time.Second
	ctx, cancel := context.WithCancel(t.Context())
	p, err := Start(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if e, err := p.Wait(); err != nil || e.Reason != Stopped {
		t.Errorf("Wait = %v, %v; want stopped", e, err)
	}
	p.Kill(0) // after the end it does nothing
}

// Four megabytes of output to a file whose limit is one: a limit that the kernel
// holds, of a plugin that does not know.
func TestFileSizeLimit(t *testing.T) {
	s := script(t, "f = open('big', 'wb', 0)\nfor _ in range(4): f.write(b'x' * (1 << 20))")
	s.Limits.FileSize = 1 << 20
	r := start(t, s)
	if e := r.wait(); e.Success() {
		t.Error("the plugin wrote more than its limit")
	}
	if info, err := os.Stat(filepath.Join(s.Dir, "big")); err != nil || info.Size() > 1<<20 {
		t.Errorf("wrote %v, %v", info.Size(), err)
	}
}

func TestCPULimit(t *testing.T) {
	s := script(t, "while True: pass")
	s.Limits.CPU = time.Second
	if e := start(t, s).wait(); e.Reason != CPULimit {
		t.Errorf("the plugin %s; want cpu_limit", e)
	}
}

// What the agent itself runs is in its session and none of our business.
func TestOwnHelpersAreLeftAlone(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		start(t, script(t, "pass")).wait()
	}
	if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("a helper of the agent was ended: %v", err)
	}
	cmd.Process.Kill()
	cmd.Wait()
}
