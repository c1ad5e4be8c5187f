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
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// marked lists the living processes that carry this test's mark.
func marked(t *testing.T) []int {
	t.Helper()
	want := []byte("STAVILY_TEST_MARK=" + mark(t) + "\x00")
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, dir := range dirs {
		env, err := os.ReadFile(dir + "/environ")
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if err == nil && bytes.Contains(env, want) { // a zombie has no environment any more
			out = append(out, pid)
		}
	}
	return out
}

// noneLeft fails unless all processes of the test are gone, zombies too.
func noneLeft(t *testing.T) {
	t.Helper()
	if left := marked(t); len(left) > 0 {
		t.Errorf("%d processes are left: %v", len(left), left)
	}
	if left := childrenOf(os.Getpid()); len(left) > 0 {
		t.Errorf("children of this process are left, perhaps as zombies: %v", left)
	}
}

// A process that does not die in time is buried when it does.
func TestWhoDiesLateIsBuried(t *testing.T) {
	hangs := exec.Command("sleep", "1000")
	if err := hangs.Start(); err != nil {
		t.Fatal(err)
	}
	late := &tree{pid: hangs.Process.Pid}
	ended := make(chan struct{})
	if end := late.reap(ended); end.err != nil || end.exit.Code != -1 {
		t.Errorf("of a process that hangs: %+v", end)
	}
	if err := hangs.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	late.await()
	if s, ok := statOf(late.pid); !ok || s.state != 'Z' {
		t.Fatalf("it is in state %q before anybody knows of its end", s.state)
	}
	close(ended)
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		if _, ok := statOf(late.pid); !ok {
			return
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatal("nobody buries it")
		}
	}
}

const lingering = `
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
def linger():
    time.sleep(1000)
def daemon():  # the two forks of daemon(7), in a session of its own
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0: linger()
        os._exit(0)
def child():
    if os.fork() == 0: linger()
def group():
    if os.fork() == 0:
        os.setpgid(0, 0)
        child()
        linger()
`

func TestNothingOutlivesItsPlugin(t *testing.T) {
	for name, c := range map[string]struct {
		source string
		lives  int // processes while it runs
		ends   bool
	}{
		"child":             {"child()", 2, false},
		"daemons":           {"daemon(); daemon(); daemon()", 4, false},
		"groups":            {"group(); group()", 5, false},
		"daemons, exit":     {"daemon(); daemon()", 3, true},
		"everything, exit":  {"child(); daemon(); group()", 5, true},
		"many":              {"[daemon() for _ in range(60)]", 61, false},
		"daemon of a group": {"group()\nif os.fork() == 0:\n    daemon(); os._exit(0)", 4, false},
	} {
		t.Run(name, func(t *testing.T) {
			wait := "linger()"
			if c.ends {
				wait = "sys.stdin.readline()"
			}
			s := script(t, lingering+c.source+"\nprint('up', flush=True)\n"+wait)
			in, feed, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			defer feed.Close()
			s.Stdin = in
			r := start(t, s)
			r.says("up")
			await(t, "the processes to start", func() bool { return len(marked(t)) == c.lives })
			began := time.Now()
			if c.ends {
				feed.WriteString("end\n")
			} else {
				r.Kill(50 * time.Millisecond)
			}
			r.wait()
			if d := time.Since(began); d > 1050*time.Millisecond {
				t.Errorf("took %v to end; want at most grace + 1 s", d)
			}
			noneLeft(t)
		})
	}
}

// A daemon of one plugin must not be taken for what another left behind.
func TestPluginsDoNotEndEachOther(t *testing.T) {
	long := start(t, script(t, lingering+"daemon()\nprint('up', flush=True)\nlinger()"))
	long.says("up")
	await(t, "the daemon", func() bool { return len(marked(t)) == 2 })
	for range 3 {
		short := script(t, lingering+"daemon()\nprint('up', flush=True)")
		short.Env = nil
		start(t, short).wait()
	}
	if got := len(marked(t)); got != 2 {
		t.Errorf("%d processes of the running plugin are left, want 2", got)
	}
	long.Kill(0)
	noneLeft(t)
}

// A hostile plugin can stop adopting its orphans. They fall to the agent, which
// ends them while the plugin still runs.
func TestOrphansOfAHostilePluginAreFound(t *testing.T) {
	r := start(t, script(t, lingering+"import ctypes\nctypes.CDLL(None).prctl(36, 0)\ndaemon()\nprint('up', flush=True)\nlinger()"))
	r.says("up")
	await(t, "the orphan to be ended", func() bool { return len(marked(t)) == 1 })
	r.Kill(0)
	noneLeft(t)
}

func TestMemoryLimitOfATree(t *testing.T) {
	const limit = 96 << 20
	for name, source := range map[string]string{
		"one":  "x = bytearray(300 << 20)\nlinger()",
		"many": "for _ in range(6):\n    if os.fork() == 0:\n        x = bytearray(40 << 20); linger()\nlinger()",
	} {
		t.Run(name, func(t *testing.T) {
			s := script(t, lingering+source)
			s.Limits.Memory = limit
			began := time.Now()
			e := start(t, s).wait()
			if e.Reason != MemoryLimit || e.MaxRSS <= limit {
				t.Errorf("the plugin %s with a peak of %d MiB; want memory_limit", e, e.MaxRSS>>20)
			}
			if d := time.Since(began); d > 3*time.Second {
				t.Errorf("took %v", d)
			}
			noneLeft(t)
		})
	}
}

func TestProcessLimit(t *testing.T) {
	s := script(t, lingering+"for _ in range(200): daemon()\nlinger()")
	s.Limits.Processes = 50
	if e := start(t, s).wait(); e.Reason != ProcessLimit {
		t.Errorf("the plugin %s; want process_limit", e)
	}
	noneLeft(t)
}

func TestPeakOfAShortRun(t *testing.T) {
	e := start(t, script(t, "import time; x = bytearray(100 << 20); time.sleep(0.3)")).wait()
	if e.MaxRSS < 100<<20 || e.MaxRSS > 200<<20 {
		t.Errorf("peak %d MiB; want a little over 100", e.MaxRSS>>20)
	}
	e = start(t, script(t, "import time; time.sleep(0.1)")).wait()
	if e.MaxRSS < 1<<20 || e.MaxRSS > 40<<20 {
		t.Errorf("peak %d MiB of a plugin that does nothing; want Python's own", e.MaxRSS>>20)
	}
}

// PDEATHSIG fires when the forking thread ends; ours never does.
func TestPluginsOutliveTheThreadThatAskedForThem(t *testing.T) {
	var r run
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		r = start(t, script(t, "import time\nprint('up', flush=True)\ntime.sleep(1000)"))
	}()
	<-done
	r.says("up")
	if len(marked(t)) != 1 {
		t.Error("the plugin died with a thread")
	}
}

// doomedAgent is the agent of the next tests.
func doomedAgent() {
	text := os.Getenv("STAVILY_TEST_DOOMED")
	if text == "" {
		return
	}
	var s Spec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		panic(err)
	}
	if base := os.Getenv("STAVILY_TEST_BASE"); base != "" {
		if _, err := Keep(base); err != nil {
			panic(err)
		}
	}
	s.Stdout = os.Stdout
	p, err := Start(context.Background(), s)
	fmt.Println(err)
	p.Wait()
}

// killAgent runs a plugin under an agent and kills that as soon as it is up.
func killAgent(t *testing.T, s Spec, base string) {
	t.Helper()
	spec, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{"STAVILY_TEST_BASE=" + base, "STAVILY_TEST_DOOMED=" + string(spec)}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []byte
	for b := make([]byte, 1); !bytes.Contains(said, []byte("up\n")); said = append(said, b...) {
		if _, err := out.Read(b); err != nil {
			t.Fatalf("%v after %q", err, said)
		}
	}
	cmd.Process.Signal(syscall.SIGKILL)
	cmd.Wait()
}

// Whatever a plugin had started dies with its agent, at every level, within a second.
func TestPluginsDieWithTheAgent(t *testing.T) {
	host := probed(t)
	for _, level := range Levels {
		t.Run(string(level), func(t *testing.T) {
			s := script(t, lingering+"child(); daemon()\nprint('up', flush=True)\nlinger()")
			confine(t, &s, host, level)
			killAgent(t, s, t.TempDir())
			began := time.Now()
			await(t, "the plugin to die with its agent", func() bool { return len(marked(t)) == 0 })
			if took := time.Since(began); took > time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// What was left behind all the same, because the keeper was killed too, is ended by the
// next agent of the same base directory.
func TestKeepEndsWhatAnEarlierAgentLeft(t *testing.T) {
	base := t.TempDir()
	mark := markOf(base)
	s := script(t, lingering+"child(); daemon()\nprint('up', flush=True)\nlinger()")
	r := start(t, s)
	await(t, "the plugin and what it starts", func() bool { return len(marked(t)) == 3 })
	limit := unix.Rlimit{Cur: mark, Max: mark}
	for _, pid := range marked(t) {
		if err := unix.Prlimit(pid, unix.RLIMIT_LOCKS, &limit, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, other := range []uint64{mark + 1, markOf(base + "x"), markOf(t.TempDir())} {
		if n, err := endMarked(other, time.Now().Add(time.Second)); n != 0 || err != nil {
			t.Errorf("another mark ended %d, %v", n, err)
		}
	}
	if markOf(base) != markOf(base+"/") {
		t.Error("one directory has two marks")
	}
	// With its first process the plugin's owner ends the others, and may be quicker.
	if n, err := endMarked(mark, time.Now().Add(time.Minute)); n == 0 || n > 3 || err != nil {
		t.Errorf("ended %d, %v; want up to 3", n, err)
	}
	r.wait()
	noneLeft(t)
}

// probed is the result of this host's self-test.
func probed(t *testing.T) *Host {
	t.Helper()
	h, err := Probe(t.Context(), ProbeOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// confine holds a script to a level, with the places that it needs.
func confine(t *testing.T, s *Spec, h *Host, level Level) {
	t.Helper()
	if !h.Level.AtLeast(level) {
		t.Skipf("this host gives level %s: %v", h.Level, h.Missing)
	}
	s.Host, s.Level, s.Code, s.Temp = h, level, []string{s.Dir}, t.TempDir()
}

// Nothing is left open by starts, successful or not.
func TestStartsLeaveNoDescriptors(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	s := script(t, "pass")
	start(t, s).wait()
	before := count()
	for range 10 {
		start(t, s).wait()
		bad := s
		bad.Path = "/no/such/program"
		if _, err := Start(t.Context(), bad); err == nil {
			t.Fatal("a missing program started")
		}
	}
	if after := count(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	noneLeft(t)
}

// A thread takes a place among the processes, as it does in the kernel.
func TestThreadsCount(t *testing.T) {
	s := script(t, "import threading, time\nfor _ in range(40): threading.Thread(target=time.sleep, args=(30,), daemon=True).start()\ntime.sleep(30)")
	s.Limits.Processes = 20
	if e := start(t, s).wait(); e.Reason != ProcessLimit {
		t.Errorf("the plugin %s", e)
	}
	noneLeft(t)
}
