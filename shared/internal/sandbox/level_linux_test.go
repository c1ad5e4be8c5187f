package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// confinedLevels are those with a boundary around files.
var confinedLevels = []Level{Full, Confined}

// touching is a program that tries places of the host and prints what came of it.
const touching = `
import errno, json, os, sys
def tried(f):
    try:
        f()
        return "ok"
    except OSError as e:
        return errno.errorcode[e.errno]
def read(path): return lambda: open(path).read() if not os.path.isdir(path) else os.listdir(path)
def write(path): return lambda: open(path, "w").write("x")
places = json.loads(sys.argv[1])
print(json.dumps({name: [tried(read(path)), tried(write(path + ("/new" if os.path.isdir(path) else "")))] for name, path in places.items()}))
`

// touch runs touching at a level with grants, and gives what it said for each place:
// whether it could read and write it.
func touch(t *testing.T, level Level, places map[string]string, grant func(*Spec)) map[string][]string {
	t.Helper()
	s := script(t, touching)
	text, err := json.Marshal(places)
	if err != nil {
		t.Fatal(err)
	}
	s.Args = append(s.Args, string(text))
	confine(t, &s, probed(t), level)
	s.Home = t.TempDir()
	grant(&s)
	r := start(t, s)
	if e := r.wait(); !e.Success() {
		t.Fatalf("the plugin %s: %s", e, r.output())
	}
	var got map[string][]string
	if err := json.Unmarshal([]byte(r.output()), &got); err != nil {
		t.Fatalf("%v: %s", err, r.output())
	}
	return got
}

// outsideTmp is a directory that a plugin of level full cannot make for itself.
func outsideTmp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "stavily-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// place makes a file with its directories.
func place(t *testing.T, path string) string {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAPluginReachesWhatItIsGranted(t *testing.T) {
	for _, level := range confinedLevels {
		t.Run(string(level), func(t *testing.T) {
			dir := outsideTmp(t)
			places := map[string]string{
				"nothing": place(t, dir+"/nothing/f"),
				"read":    filepath.Dir(place(t, dir+"/read/f")),
				"write":   filepath.Dir(place(t, dir+"/write/f")),
				"one":     place(t, dir+"/ones/one"),
				"other":   place(t, dir+"/ones/other"),
				"system":  "/usr/lib",
				"shadow":  "/etc/shadow",
			}
			got := touch(t, level, places, func(s *Spec) {
				s.Read, s.Write = []string{places["read"], places["one"]}, []string{places["write"]}
				places["temp"], places["home"] = s.Temp, s.Home
			})
			for name, want := range map[string][2]bool{
				"nothing": {false, false}, "read": {true, false}, "write": {true, true}, "one": {true, false}, "other": {false, false},
				"system": {true, false}, "shadow": {false, false},
			} {
				if can := [2]bool{got[name][0] == "ok", got[name][1] == "ok"}; can != want {
					t.Errorf("%s: read %s, write %s; want %v", name, got[name][0], got[name][1], want)
				}
			}
			if _, err := os.Stat(dir + "/write/new"); err != nil {
				t.Errorf("what the plugin wrote is not there: %v", err)
			}
		})
	}
}

// What is granted above a protected place does not show it, and what the plugin is
// given inside of it is there all the same.
// No process can be signalled that is not the plugin's, at any level that has a filter.
func TestForeignProcessesAreNotSignalled(t *testing.T) {
	for _, level := range []Level{Full, Confined, Limited} {
		t.Run(string(level), func(t *testing.T) {
			victim := exec.Command("sleep", "60")
			if err := victim.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				victim.Process.Kill()
				victim.Wait()
			}()
			s := script(t, fmt.Sprintf("import os, signal\ntry:\n    os.kill(%d, signal.SIGKILL)\n    print('killed')\nexcept OSError as e:\n    print('refused')", victim.Process.Pid))
			confine(t, &s, probed(t), level)
			r := start(t, s)
			r.wait()
			r.says("refused")
			if err := victim.Process.Signal(syscall.Signal(0)); err != nil {
				t.Errorf("the process of somebody else: %v", err)
			}
		})
	}
}

func TestMasks(t *testing.T) {
	dir := t.TempDir()
	places := map[string]string{
		"beside": place(t, dir+"/beside"), "secret": place(t, dir+"/agent/key"), "file": place(t, dir+"/key"),
		"inside": filepath.Dir(place(t, dir+"/agent/plugin/f")),
	}
	got := touch(t, Full, places, func(s *Spec) {
		s.Read, s.Masks = []string{dir, places["inside"]}, []string{dir + "/agent", places["file"]}
	})
	want := map[string][]string{"beside": {"ok", "EROFS"}, "secret": {"ENOENT", "EROFS"}, "file": {"EACCES", "EACCES"}, "inside": {"ok", "EROFS"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what the plugin could do (-want +got):\n%s", diff)
	}
}

// What is to be hidden may go while the plugin is started: that is no reason not to start it, nor
// to show what is still there.
func TestMasksOverWhatGoes(t *testing.T) {
	h := probed(t)
	dir := outsideTmp(t)
	for round := range 20 {
		s := script(t, fmt.Sprintf("import os; print([name for _, _, names in os.walk(%q) for name in names])", dir))
		confine(t, &s, h, Full)
		s.Read = []string{dir}
		for i := range 100 {
			s.Masks = append(s.Masks, filepath.Dir(place(t, filepath.Join(dir, strconv.Itoa(i), "secret"))))
		}
		var removing sync.WaitGroup
		removing.Go(func() {
			time.Sleep(time.Duration(round) * 300 * time.Microsecond)
			for _, path := range s.Masks {
				if err := os.RemoveAll(path); err != nil {
					t.Error(err)
				}
			}
		})
		r := start(t, s)
		r.wait()
		removing.Wait()
		r.says("[]\n")
	}
}

// A place that became a link after it was checked leads nowhere.
func TestALinkIsNotFollowed(t *testing.T) {
	for _, level := range confinedLevels {
		t.Run(string(level), func(t *testing.T) {
			dir := outsideTmp(t)
			secret := place(t, dir+"/secret/f")
			if err := os.Symlink(dir+"/secret", dir+"/granted"); err != nil {
				t.Fatal(err)
			}
			got := touch(t, level, map[string]string{"by link": dir + "/granted/f", "itself": secret}, func(s *Spec) {
				s.Read, s.Write = []string{dir + "/granted"}, []string{dir + "/granted"}
			})
			for name, could := range got {
				if could[0] == "ok" || could[1] == "ok" {
					t.Errorf("%s: read %s, write %s", name, could[0], could[1])
				}
			}
		})
	}
}

// The host's own names of things do not get in.
func TestNamespaces(t *testing.T) {
	const source = `
import json, os
names = sorted(p for p in os.listdir("/proc") if p.isdigit())
links = {n: os.readlink("/proc/self/ns/" + n) for n in ("mnt", "pid", "net", "ipc", "uts")}
print(json.dumps({"pids": names, "pid": os.getpid(), "ns": links}))`
	s := script(t, source)
	confine(t, &s, probed(t), Full)
	r := start(t, s)
	if e := r.wait(); !e.Success() {
		t.Fatalf("the plugin %s: %s", e, r.output())
	}
	var got struct {
		Pids []string
		Pid  int
		NS   map[string]string
	}
	if err := json.Unmarshal([]byte(r.output()), &got); err != nil {
		t.Fatal(err)
	}
	if got.Pid != 1 || len(got.Pids) != 1 {
		t.Errorf("it is process %d and sees %v", got.Pid, got.Pids)
	}
	for name, theirs := range got.NS {
		ours, err := os.Readlink("/proc/self/ns/" + name)
		if err != nil || ours == theirs {
			t.Errorf("namespace %s is ours: %s, %v", name, ours, err)
		}
	}
}

// Whatever a plugin does to stay, it is gone a second after its limit.
func TestNothingStays(t *testing.T) {
	const stubborn = `
import os, signal, time
for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(s, signal.SIG_IGN)
fifo = os.path.join(os.environ["D"], "fifo")
os.mkfifo(fifo)
for way in ("child", "daemon", "waiting"):
    if os.fork() == 0:
        if way == "daemon":
            os.setsid()
            if os.fork(): os._exit(0)
            os.setsid()
        if way == "waiting": os.open(fifo, os.O_RDONLY)
        while True: time.sleep(1)
print("up", flush=True)
os.open(fifo, os.O_RDONLY)`
	host := probed(t)
	for _, level := range Levels {
		t.Run(string(level), func(t *testing.T) {
			s := script(t, stubborn)
			confine(t, &s, host, level)
			s.Env = append(s.Env, "D="+s.Temp)
			s.Limits.Time, s.Grace = 700*time.Millisecond, 100*time.Millisecond
			r := start(t, s)
			r.says("up")
			if e := r.wait(); e.Reason != TimeLimit || e.Duration > s.Limits.Time+s.Grace+time.Second {
				t.Errorf("it %s after %v", e, e.Duration)
			}
			noneLeft(t)
		})
	}
}

// launches is how many TestLaunchesLeaveNothing makes at each level; COUNT=10000 asks
// for all of them.
func launches(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("COUNT"))
	if err != nil {
		return 100
	}
	return n
}

// However often plugins are started, nothing gathers.
func TestLaunchesLeaveNothing(t *testing.T) {
	host := probed(t)
	for _, level := range Levels {
		t.Run(string(level), func(t *testing.T) {
			s := Spec{Path: "/bin/true", Args: []string{"true"}, Dir: "/"}
			confine(t, &s, host, level)
			s.Code = nil
			one := func() {
				p, err := Start(t.Context(), s)
				if err != nil {
					t.Fatal(err)
				}
				if e, err := p.Wait(); err != nil || !e.Success() {
					t.Fatalf("it %s: %v", e, err)
				}
			}
			one() // what is made once is there
			before := holdings(t, s.Temp)
			for range launches(t) {
				one()
			}
			for what := range before {
				await(t, fmt.Sprintf("no more %s than before %d launches, %d", what, launches(t), before[what]), func() bool {
					return holdings(t, s.Temp)[what] <= before[what] // of the last one, something may still be ending
				})
			}
		})
	}
}

// holdings is what a process could gather.
func holdings(t *testing.T, dir string) map[string]int {
	t.Helper()
	count := func(path string) int {
		entries, err := os.ReadDir(path)
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	lines := func(path string) int {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(text), "\n")
	}
	children.Lock()
	defer children.Unlock()
	return map[string]int{
		"descriptors": count("/proc/self/fd"), "goroutines": runtime.NumGoroutine(), "mounts": lines("/proc/self/mountinfo"),
		"children": len(children.ours), "processes": len(childrenOf(os.Getpid())), "files": count(dir),
	}
}

// The first process of a namespace that does not handle TERM is not left waiting for it.
func TestTermEndsWhoDoesNotHandleIt(t *testing.T) {
	s := script(t, "import time\nprint('up', flush=True)\ntime.sleep(60)")
	confine(t, &s, probed(t), Full)
	r := start(t, s)
	r.says("up")
	began := time.Now()
	r.Kill(20 * time.Second)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if e := r.wait(); e.Reason != Stopped {
		t.Errorf("it %s", e)
	}
}

// A launch that the kernel refuses says which step it was and starts nothing.
func TestARefusedStepIsNamed(t *testing.T) {
	s := script(t, "pass")
	confine(t, &s, probed(t), Full)
	s.Mounts = []Mount{{Source: "/usr", Target: "/usr/lib/no/such/place"}}
	_, err := Start(t.Context(), s)
	if err == nil || !strings.Contains(err.Error(), "/usr/lib/no/such/place") || !errors.Is(err, syscall.ENOENT) {
		t.Errorf("Start: %v", err)
	}
	noneLeft(t)
}

func ExampleExit() {
	fmt.Println(Exit{Code: -1, Signal: syscall.SIGKILL, Reason: MemoryLimit})
	// Output: was ended: it took more memory than its limit
}

// What is granted may go away between the decision and the launch.
func TestAVanishedGrant(t *testing.T) {
	for _, level := range confinedLevels {
		t.Run(string(level), func(t *testing.T) {
			dir := outsideTmp(t)
			got := touch(t, level, map[string]string{"there": place(t, dir+"/there/f")}, func(s *Spec) {
				s.Read, s.Write = []string{dir + "/there", dir + "/gone"}, []string{dir + "/gone-too"}
			})
			if got["there"][0] != "ok" {
				t.Errorf("what is there cannot be read: %v", got)
			}
		})
	}
}
