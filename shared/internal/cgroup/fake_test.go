package cgroup

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fake is a tree of plain files in place of a version 2 hierarchy. It shows what is
// decided and what is written; that the kernel then does what it should, the tests
// on the real hierarchies show.
type fake struct {
	t    *testing.T
	host host
	root string
}

// newFake makes a hierarchy in which this process is in the group own, and groups
// that it makes have all controllers.
func newFake(t *testing.T, own string) *fake {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has control groups")
	}
	dir := t.TempDir()
	f := &fake{t: t, root: filepath.Join(dir, "tree")}
	proc := filepath.Join(dir, "proc")
	f.put(filepath.Join(proc, "cgroup"), "0::"+own+"\n")
	f.put(filepath.Join(proc, "mountinfo"), "41 31 0:38 / "+f.root+" rw - cgroup2 cgroup2 rw\n")
	f.host = host{
		proc:    proc,
		systemd: filepath.Join(dir, "systemd"),
		wanted:  wanted,
		mkdir: func(dir string) error {
			if err := os.Mkdir(dir, 0o755); err != nil {
				return err
			}
			f.group(strings.TrimPrefix(dir, f.root), "memory pids cpu", "memory pids cpu")
			return nil
		},
		rmdir: os.RemoveAll, // the files are the kernel's
	}
	return f
}

func (f *fake) put(path, text string) {
	f.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// group makes a group with the processes, offering and handing down controllers.
func (f *fake) group(path, offers, enabled string, pids ...int) {
	dir := filepath.Join(f.root, path)
	procs := ""
	for _, pid := range pids {
		procs += strconv.Itoa(pid) + "\n"
	}
	f.put(dir+"/cgroup.type", "domain\n")
	f.put(dir+"/cgroup.controllers", offers+"\n")
	f.put(dir+"/cgroup.subtree_control", enabled+"\n")
	f.put(dir+"/cgroup.procs", procs)
	for _, name := range []string{"memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cpu.max"} {
		f.put(dir+"/"+name, "")
	}
}

func (f *fake) read(path string) string {
	b, err := os.ReadFile(filepath.Join(f.root, path))
	if err != nil {
		f.t.Error(err)
	}
	return string(b)
}

const all = "memory pids cpu"

func TestV2LimitsAndUsage(t *testing.T) {
	f := newFake(t, "/unit/agent")
	f.group("/unit", all, all)
	f.group("/unit/agent", all, "", os.Getpid())
	p, err := f.host.open("a1")
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Describe(); got != "cgroup v2" {
		t.Errorf("Describe() = %q", got)
	}
	g, err := p.New("l1", Limits{Memory: 1 << 20, CPU: 0.25, Processes: 7})
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"memory.max": "1048576", "memory.swap.max": "0", "memory.oom.group": "1", "pids.max": "7", "cpu.max": "25000 100000",
	} {
		if got := f.read("/unit/a1/l1/" + file); got != want {
			t.Errorf("%s = %q, want %q", file, got, want)
		}
	}
	f.put(f.root+"/unit/a1/l1/memory.events", "low 0\nhigh 0\nmax 12\noom 2\noom_kill 3\noom_group_kill 1\n")
	f.put(f.root+"/unit/a1/l1/pids.events", "max 4\n")
	f.put(f.root+"/unit/a1/l1/pids.current", "5\n")
	f.put(f.root+"/unit/a1/l1/memory.peak", "9999\n")
	f.put(f.root+"/unit/a1/l1/cpu.stat", "usage_usec 2000\nuser_usec 1500\n")
	want := Usage{MemoryPeak: 9999, CPU: 2e6, OOMKills: 3, ForksRefused: 4, Processes: 5}
	if diff := cmp.Diff(want, g.Usage()); diff != "" {
		t.Error(diff)
	}
	if g.FD() < 0 || len(g.Procs()) != 1 {
		t.Errorf("FD() = %d, %d Procs; want both", g.FD(), len(g.Procs()))
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}

// Where groups are made, and what is said where they cannot be.
func TestV2Placement(t *testing.T) {
	me, other := os.Getpid(), 1
	for name, c := range map[string]struct {
		own   string
		build func(*fake)
		want  string // the agent's group, or a part of the error
	}{
		"systemd put the agent into a leaf": {"/unit/agent", func(f *fake) {
			f.group("/unit", all, all)
			f.group("/unit/agent", all, "", me)
		}, "/unit/a1"},
		"our group is empty and hands down already": {"/unit", func(f *fake) {
			f.group("/unit", all, all)
		}, "/unit/a1"},
		"no memory controller": {"/unit", func(f *fake) {
			f.group("/", "pids", "pids")
			f.group("/unit", "pids", "", me)
		}, "no memory: have it handed down (Delegate=yes"},
		"shared with others": {"/scope", func(f *fake) {
			f.group("/scope", all, "", me, other)
		}, "also holds processes [1]: start the agent in a group of its own"},
		"systemd's, not delegated": {"/unit", func(f *fake) {
			f.group("/unit", all, "", me)
			f.put(filepath.Join(f.host.systemd, "x"), "")
		}, "belongs to systemd: set Delegate=yes"},
		"not mounted": {"/unit", func(f *fake) {
			f.put(filepath.Join(f.host.proc, "mountinfo"), "")
		}, "is not mounted"},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(name, "systemd's") && !isRoot() {
				t.Skip("an ordinary user's group is checked by what is in it")
			}
			f := newFake(t, c.own)
			c.build(f)
			p, err := f.host.open("a1")
			switch {
			case err == nil && p.trees[0].dir != filepath.Join(f.root, c.want):
				t.Errorf("group at %s, want %s", p.trees[0].dir, c.want)
			case err != nil && (c.want[0] == '/' || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error %q, want %q", err, c.want)
			}
		})
	}
}

func TestNames(t *testing.T) {
	f := newFake(t, "/unit/agent")
	f.group("/unit", all, all)
	f.group("/unit/agent", all, "", os.Getpid())
	for _, name := range []string{"", "..", ".", "a/b", "agent", "a\nb"} {
		if _, err := f.host.open(name); err == nil {
			t.Errorf("Open(%q) made a group", name)
		}
	}
	p, err := f.host.open("a1")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "..", "../x", "a/b"} {
		if _, err := p.New(name, Limits{}); err == nil {
			t.Errorf("New(%q) made a group", name)
		}
	}
}

func TestSettings(t *testing.T) {
	for _, c := range []struct {
		version int
		limits  Limits
		want    []string
	}{
		{1, Limits{Memory: 100, CPU: 2, Processes: 3}, []string{"memory.limit_in_bytes=100", "memory.memsw.limit_in_bytes=100", "memory.swappiness=0", "pids.max=3", "cpu.cfs_period_us=100000", "cpu.cfs_quota_us=200000"}},
		{2, Limits{CPU: 0.001}, []string{"cpu.max=1000 100000"}},
		{2, Limits{}, nil},
	} {
		var got []string
		for _, s := range c.limits.settings(c.version, wanted) {
			got = append(got, s.file+"="+s.value)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("version %d, %+v: %s", c.version, c.limits, diff)
		}
	}
}
