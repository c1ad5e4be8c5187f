package sandbox

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/shared/internal/cgroup"
)

// atEachLevel runs a script at every level that this host gives. The script finds its
// directories in TEMP and HOME.
func atEachLevel(t *testing.T, source string, change func(*Spec), check func(t *testing.T, s *Spec, level Level, e Exit)) {
	host := probed(t)
	for _, level := range Levels {
		t.Run(string(level), func(t *testing.T) {
			s := script(t, source)
			confine(t, &s, host, level)
			s.Home = t.TempDir()
			s.Env = append(s.Env, "TEMP="+s.Temp, "HOME="+s.Home)
			s.Limits = Limits{Time: 20 * time.Second, TempSize: 16 << 20, TempFiles: 500}
			change(&s)
			e := start(t, s).wait()
			check(t, &s, level, e)
			noneLeft(t)
		})
	}
}

// Filling the disk, in every way that a plugin may try first, has a name and an end
// near the limit.
func TestTempLimit(t *testing.T) {
	for name, c := range map[string]struct {
		source string
		files  bool // many, instead of large ones
	}{
		"one file":      {"f = open(os.environ['TEMP'] + '/a', 'wb', 0)\nfor _ in range(64): f.write(b'x' * (1 << 20))", false},
		"many files":    {"for i in range(64): open(os.environ['TEMP'] + '/' + str(i), 'wb').write(b'x' * (1 << 20))", false},
		"removed files": {"import tempfile; held = []\nfor _ in range(64):\n    held.append(tempfile.TemporaryFile(dir=os.environ['TEMP']))\n    held[-1].write(b'x' * (1 << 20))", false},
		"inodes":        {"for i in range(100000): open(os.environ['TEMP'] + '/' + str(i), 'wb')", true},
		"home":          {"for i in range(64): open(os.environ['HOME'] + '/' + str(i), 'wb').write(b'x' * (1 << 20))", false},
	} {
		t.Run(name, func(t *testing.T) {
			// What a plugin stores is still there at its end: it would clean up else.
			source := "import os, time\ntry:\n    exec('''" + c.source + "''')\nexcept OSError as e:\n    print(e, flush=True)\n    os._exit(1)\ntime.sleep(60)"
			atEachLevel(t, source, func(*Spec) {}, func(t *testing.T, s *Spec, level Level, e Exit) {
				if name == "removed files" && level == Full && e.Code == 1 {
					return // its file system is empty when it has ended; the plugin says why
				}
				if e.Reason != TempLimit {
					t.Errorf("the plugin %s (code %d)", e, e.Code)
				}
				t.Logf("stored %d MiB", e.Stored>>20)
				if !c.files && (e.Stored < 12<<20 || e.Stored > 80<<20) {
					t.Errorf("stored %d bytes; want about 16 MiB", e.Stored)
				}
			})
		})
	}
}

func TestStored(t *testing.T) {
	atEachLevel(t, "import os; open(os.environ['TEMP'] + '/a', 'wb').write(b'x' * (2 << 20))", func(*Spec) {}, func(t *testing.T, s *Spec, level Level, e Exit) {
		if !e.Success() || e.Stored < 2<<20 || e.Stored > 3<<20 {
			t.Errorf("the plugin %s and stored %d bytes; want 2 MiB", e, e.Stored)
		}
	})
}

// Python ignores the signal; programs that do not know of it are ended by it.
func TestFileSizeSignal(t *testing.T) {
	source := "import os, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_DFL)\nopen(os.environ['TEMP'] + '/a', 'wb').write(b'x' * (2 << 20))"
	atEachLevel(t, source, func(s *Spec) { s.Limits.FileSize = 1 << 20 }, func(t *testing.T, s *Spec, level Level, e Exit) {
		// The first process of a namespace does not hear signals that it does not handle.
		if e.Reason != FileSizeLimit && level != Full || e.Success() {
			t.Errorf("the plugin %s", e)
		}
	})
}

// group makes a control group, where this test may.
func group(t *testing.T, l cgroup.Limits) *cgroup.Group {
	t.Helper()
	p, err := cgroup.Open("stavily-test-sandbox-" + strconv.Itoa(os.Getpid()))
	if err != nil {
		t.Skip(err)
	}
	g, err := p.New(strings.ReplaceAll(filepath.Base(t.Name()), " ", "-"), l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// Six processes, each well below the limit, are above it together.
const memoryBomb = `
import os, time
for _ in range(6):
    if os.fork() == 0:
        held = []
        while True: held.append(b'x' * (1 << 20))
time.sleep(60)`

func TestMemoryBomb(t *testing.T) {
	for _, kernel := range []bool{true, false} {
		name := map[bool]string{true: "kernel", false: "watchdog"}[kernel]
		t.Run(name, func(t *testing.T) {
			const limit = 128 << 20
			atEachLevel(t, memoryBomb, func(s *Spec) {
				s.Limits.Memory = limit
				if kernel {
					s.Group = group(t, cgroup.Limits{Memory: limit, Processes: 64})
				}
			}, func(t *testing.T, s *Spec, level Level, e Exit) {
				t.Logf("peak %d MiB after %v", e.MaxRSS>>20, e.Duration)
				if e.Reason != MemoryLimit {
					t.Errorf("the plugin %s", e)
				}
				if e.MaxRSS > 3*limit {
					t.Errorf("took %d bytes, limit %d", e.MaxRSS, limit)
				}
			})
		})
	}
}

func TestGroupLimits(t *testing.T) {
	// A fork that is refused is an error that the plugin does not catch.
	atEachLevel(t, "import os, time\nfor _ in range(40):\n    if os.fork() == 0: time.sleep(60)\ntime.sleep(60)",
		func(s *Spec) { s.Group = group(t, cgroup.Limits{Processes: 20}) },
		func(t *testing.T, s *Spec, level Level, e Exit) {
			if e.Reason != ProcessLimit {
				t.Errorf("the plugin %s (code %d)", e, e.Code)
			}
		})
}

// CPU time of children that nobody waited for counts.
func TestGroupCountsCPU(t *testing.T) {
	atEachLevel(t, `
import os, time
r, w = os.pipe()
if os.fork() == 0:
    while time.process_time() < 0.2: pass
    os.write(w, b"x")
    time.sleep(60)
os.read(r, 1)`,
		func(s *Spec) { s.Group = group(t, cgroup.Limits{CPU: 1}) },
		func(t *testing.T, s *Spec, level Level, e Exit) {
			if !e.Success() || e.CPU < 200*time.Millisecond {
				t.Errorf("the plugin %s and took %v of CPU time; want 0.2 s", e, e.CPU)
			}
		})
}
