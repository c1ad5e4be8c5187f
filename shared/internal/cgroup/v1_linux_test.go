package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// openReal gives a parent on this machine's version 1 hierarchies, which take root.
func openReal(t testing.TB) *Parent {
	t.Helper()
	name := "stavily-test-" + strconv.Itoa(os.Getpid())
	h := thisHost()
	v, err := h.read()
	if err != nil {
		t.Fatal(err)
	}
	p, err := h.openV1(v, name)
	if err != nil {
		t.Skip("no writable control groups of version 1 here: ", err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func newGroup(t testing.TB, p *Parent, l Limits) *Group {
	t.Helper()
	g, err := p.New("g", l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// enter makes a command that runs the shell script within the group. The shell is
// single-threaded, as a child between fork and execve is.
func enter(g *Group, script string) *exec.Cmd {
	var in strings.Builder
	for i := range g.Procs() {
		fmt.Fprintf(&in, "echo 0 >&%d || exit 99; exec %d>&-; ", 3+i, 3+i)
	}
	cmd := exec.Command("/bin/sh", "-c", in.String()+script)
	cmd.ExtraFiles = g.Procs()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// eatMemory holds as many MiB as it can get.
const eatMemory = "head -c 300000000 /dev/zero | tail | wc -c"

func TestV1HoldsMemory(t *testing.T) {
	p := openReal(t)
	g := newGroup(t, p, Limits{Memory: 32 << 20, Processes: 64})
	cmd := enter(g, eatMemory)
	out, err := cmd.Output()
	if err != nil && cmd.ProcessState.ExitCode() == 99 {
		t.Fatal("the shell could not enter the group")
	}
	if strings.TrimSpace(string(out)) == "300000000" {
		t.Error("the memory was given")
	}
	u := g.Usage()
	if u.OOMKills == 0 {
		t.Errorf("%+v: want OOMKills", u)
	}
	if u.MemoryPeak < 16<<20 || u.MemoryPeak > 32<<20 {
		t.Errorf("MemoryPeak %d, want just below 32 MiB", u.MemoryPeak)
	}
}

func TestV1HoldsProcesses(t *testing.T) {
	p := openReal(t)
	if !p.Has(PIDs) {
		t.Skip("no pids controller: ", p.Describe())
	}
	g := newGroup(t, p, Limits{Processes: 8})
	cmd := enter(g, "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 60 & done; sleep 60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	within(t, "forks are refused", func() bool { return g.Usage().ForksRefused > 0 })
	if n := g.Usage().Processes; n > 8 {
		t.Errorf("%d processes, limit 8", n)
	}
	kill(t, g)
	_ = cmd.Wait()
}

func TestV1HoldsCPU(t *testing.T) {
	p := openReal(t)
	if !p.Has(CPU) {
		t.Skip("no cpu controller: ", p.Describe())
	}
	g := newGroup(t, p, Limits{CPU: 0.2})
	cmd := enter(g, "while :; do :; done")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	const span = time.Second
	time.Sleep(span) // time is what is measured
	used := g.Usage().CPU
	kill(t, g)
	_ = cmd.Wait()
	if used == 0 || used > span/2 {
		t.Errorf("used %v of CPU in %v with a limit of 0.2 processors", used, span)
	}
}

// Everything dies, also what left its session and forks as fast as it can.
func TestV1KillsAll(t *testing.T) {
	p := openReal(t)
	g := newGroup(t, p, Limits{Processes: 200})
	cmd := enter(g, `bomb() { while :; do setsid sleep 60 & done; }; bomb & setsid sh -c 'trap "" TERM; while :; do sleep 1; done' & sleep 60`)
	cmd.Stderr = nil
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	within(t, "it forks", func() bool { return g.Usage().Processes > 50 })
	kill(t, g)
	_ = cmd.Wait()
	for _, tr := range g.trees {
		if left, err := members(tr.dir); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v, %v", tr.dir, left, err)
		}
	}
}

func kill(t *testing.T, g *Group) {
	t.Helper()
	began := time.Now()
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	t.Logf("killed after %v", time.Since(began))
}

func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// Closing a group, making one of its name and sweeping end what runs there.
func TestV1NothingIsLeft(t *testing.T) {
	p := openReal(t)
	start := func(name string) (*Group, *exec.Cmd) {
		g, err := p.New(name, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		cmd := enter(g, "exec sleep 60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		within(t, "it is in the group", func() bool {
			pids, err := members(g.trees[len(g.trees)-1].dir)
			return err == nil && len(pids) == 1
		})
		return g, cmd
	}
	killed := func(what string, cmd *exec.Cmd) {
		t.Helper()
		_ = cmd.Wait()
		if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
			t.Errorf("%s: %v, want killed", what, cmd.ProcessState)
		}
	}
	g, first := start("a")
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	killed("Close", first)

	_, second := start("a")
	g, third := start("a")
	killed("New", second)

	_, fourth := start("b")
	if n, err := p.Sweep(); n != 2 || err != nil {
		t.Errorf("Sweep() = %d, %v; want 2", n, err)
	}
	killed("Sweep", third)
	killed("Sweep", fourth)
	if err := g.Close(); err != nil {
		t.Error("closing a group that is gone: ", err)
	}
}

func leaked() (int, error) {
	entries, err := os.ReadDir("/proc/self/fd")
	return len(entries), err
}

func TestV1Leaks(t *testing.T) {
	p := openReal(t)
	before, err := leaked()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		g, err := p.New("launch-"+strconv.Itoa(i), Limits{Memory: 64 << 20, CPU: 1, Processes: 32})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, tr := range p.trees {
		if names, err := subgroups(tr.dir); err != nil || len(names) > 0 {
			t.Errorf("%s: groups left: %v, %v", tr.dir, names, err)
		}
	}
	if after, err := leaked(); err != nil || after > before {
		t.Errorf("%d descriptors before, %d after, %v", before, after, err)
	}
}

func BenchmarkGroup(b *testing.B) {
	p := openReal(b)
	for b.Loop() {
		g, err := p.New("bench", Limits{Memory: 64 << 20, CPU: 1, Processes: 32})
		if err != nil {
			b.Fatal(err)
		}
		if err := g.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// The difference is what entering costs.
func BenchmarkEnter(b *testing.B) {
	p := openReal(b)
	run := func(b *testing.B, cmd *exec.Cmd) {
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("without", func(b *testing.B) {
		for b.Loop() {
			run(b, exec.Command("/bin/sh", "-c", "for i in 1 2 3 4; do echo 0 >/dev/null; done"))
		}
	})
	b.Run("with", func(b *testing.B) {
		g := newGroup(b, p, Limits{})
		for b.Loop() {
			run(b, enter(g, ":"))
		}
	})
}
