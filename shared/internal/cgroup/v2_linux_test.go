package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// On machines where version 1 has the controllers that matter, one of the others
// shows how version 2 hands controllers down: the rules are the same for all.
var spare = []string{"hugetlb", "misc", "rdma", "cpuset", "io", "pids"}

// realV2 is a fresh group in this machine's version 2 hierarchy, with a controller
// that it offers.
func realV2(t *testing.T) (dir, controller string) {
	t.Helper()
	v, err := thisHost().read()
	if err != nil {
		t.Fatal(err)
	}
	m, err := v.find(2, "")
	if err != nil {
		t.Skip("no version 2 hierarchy: ", err)
	}
	if err := mayWrite(m.point); err != nil {
		t.Skip("the version 2 hierarchy takes root: ", err)
	}
	i := slices.IndexFunc(spare, func(c string) bool { return offers(m.point, c) })
	if i < 0 {
		t.Skip("no spare controller in the version 2 hierarchy")
	}
	controller = spare[i]
	if !slices.Contains(enabled(m.point), controller) {
		if err := write(m.point+"/cgroup.subtree_control", "+"+controller); err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() { _ = write(m.point+"/cgroup.subtree_control", "-"+controller) }) // fails while another test has it
	}
	dir = filepath.Join(m.point, "stavily-test-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := thisHost().destroy(2, dir, time.Now().Add(emptyLimit)); err != nil {
			t.Error(err)
		}
	})
	return dir, controller
}

// agentIn runs this test binary as an agent in the group: it opens its parent, says
// where it is then, and stays until its input ends.
func agentIn(t *testing.T, dir, controller string) (says string) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), agentVar+"="+controller)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(f.Fd())}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

const agentVar = "STAVILY_TEST_CGROUP_AGENT"

func TestMain(m *testing.M) {
	controller := os.Getenv(agentVar)
	if controller == "" {
		os.Exit(m.Run())
	}
	h := thisHost()
	h.wanted = []string{controller}
	p, err := h.open("a1")
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	v, err := h.read()
	fmt.Println(v.own[""], p.trees[0].dir, enabled(p.trees[0].dir), err)
}

func TestV2AgentMovesIntoALeaf(t *testing.T) {
	dir, controller := realV2(t)
	want := fmt.Sprintf("/%s/agent %s/a1 [%s] <nil>", filepath.Base(dir), dir, controller)
	if got := agentIn(t, dir, controller); got != want {
		t.Errorf("in an empty group: %s, want %s", got, want)
	}
	// The next one is started in the leaf, as by a supervisor that was moved too.
	if got := agentIn(t, dir+"/agent", controller); got != want {
		t.Errorf("in the leaf: %s, want %s", got, want)
	}
}

func TestV2SharedGroup(t *testing.T) {
	dir, controller := realV2(t)
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	other := exec.Command("sleep", "60")
	other.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(f.Fd())}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = other.Process.Kill()
		_ = other.Wait()
	}()
	want := fmt.Sprintf("also holds processes [%d]", other.Process.Pid)
	if got := agentIn(t, dir, controller); !strings.Contains(got, want) {
		t.Errorf("says %q, want %q", got, want)
	}
	in := func(dir string) bool {
		pids, err := members(dir)
		return err == nil && slices.Contains(pids, other.Process.Pid)
	}
	if !in(dir) {
		t.Error("a process that is not the agent's was moved")
	}

	if err := unix.Setxattr(dir, "user.delegate", []byte("1"), 0); err != nil {
		t.Skip("no marks on groups: ", err) // Linux < 5.7
	}
	if got := agentIn(t, dir, controller); !strings.HasPrefix(got, "/"+filepath.Base(dir)+"/agent ") {
		t.Errorf("in a group that is marked as delegated: %s", got)
	}
	if !in(dir + "/agent") {
		t.Error("the group's other process was not moved")
	}
}

// The kernel ends a group in one step, and counts the CPU time of its processes.
func TestV2EntersAndKills(t *testing.T) {
	dir, _ := realV2(t)
	p := &Parent{host: thisHost(), version: 2, trees: []tree{{dir: dir}}}
	for _, way := range []string{"kill file", "one by one"} {
		g, err := p.New("l1", Limits{})
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/bin/sh", "-c", `for i in 1 2 3 4; do setsid sh -c 'trap "" TERM; while :; do :; done' & done; sleep 60`)
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: g.FD()}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		within(t, "all run", func() bool {
			pids, err := members(g.trees[0].dir)
			return err == nil && len(pids) >= 6
		})
		within(t, "CPU time is counted", func() bool { return g.Usage().CPU > 0 })
		if way == "one by one" {
			g.version = 1
		}
		began := time.Now()
		if err := g.Kill(); err != nil {
			t.Errorf("%s: %v", way, err)
		}
		t.Logf("%s: killed after %v", way, time.Since(began))
		_ = cmd.Wait()
		if pids, err := members(g.trees[0].dir); err != nil || len(pids) > 0 {
			t.Errorf("%s: left %v, %v", way, pids, err)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestV2EntersByWriting(t *testing.T) {
	dir, _ := realV2(t)
	p := &Parent{host: thisHost(), version: 2, trees: []tree{{dir: dir}}}
	g := newGroup(t, p, Limits{})
	out, err := enter(g, "cat /proc/self/cgroup").Output()
	if want := "0::/" + filepath.Base(dir) + "/g\n"; err != nil || !strings.Contains(string(out), want) {
		t.Errorf("in %q, %v; want %q", out, err, want)
	}
}
