package agent

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/pkg/api"
)

// What memory and cpu-load tell is the host's: the kernel says the same to both.
func TestOfficialMemoryAndLoadSeeTheHost(t *testing.T) {
	t.Parallel()
	var total int64
	if _, err := fmt.Sscanf(read(t, "/proc/meminfo"), "MemTotal: %d kB", &total); err != nil {
		t.Fatal(err)
	}
	atBothLevels(t, "sensors/memory", "config: {threshold: 0}\n", func(t *testing.T, o *official) {
		got := o.watch(t, func() {})
		o.expect(t, got, "memory.high", "")
		if want := fmt.Sprint(total * 1024); got[0].value(t, "total_bytes") != want {
			t.Errorf("memory has %s bytes, and %s are told", want, got[0].value(t, "total_bytes"))
		}
	})
	processors := strings.Count("\n"+read(t, "/proc/stat"), "\ncpu") - 1
	atBothLevels(t, "sensors/cpu-load", "config: {threshold: 100, load_threshold: 0, checks: 1}\n", func(t *testing.T, o *official) {
		got := o.watch(t)[0]
		if got.value(t, "processors") != fmt.Sprint(processors) || got.events[0].Type != "cpu.load.high" {
			t.Errorf("%d processors: %+v", processors, got.events[0])
		}
	})
}

// Processes of the host are seen at level full, and never the agent's own; at confined the
// plugin says what it takes.
func TestOfficialProcessSeesTheHost(t *testing.T) {
	child := exec.CommandContext(t.Context(), "/bin/sleep", "300")
	child.Args[0] = fmt.Sprintf("stavily-test-process-%d", os.Getpid())
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	ended := func() { child.Process.Kill(); child.Wait() }
	t.Cleanup(ended)
	atBothLevels(t, "sensors/process", fmt.Sprintf("config: {cmdline: \"^%s \", max_rss_bytes: 1000}\n", child.Args[0]), func(t *testing.T, o *official) {
		if o.posture.Level != sandbox.Full {
			o.expect(t, o.watch(t), "error: that takes sandbox level full")
			return
		}
		got := o.watch(t, ended, func() {})
		o.expect(t, got, "process.rss.high", "process.count.low process.rss.ok", "")
		if pid := got[0].value(t, "pids"); pid != fmt.Sprintf("[%d]", child.Process.Pid) {
			t.Errorf("process %d runs, and %s are told", child.Process.Pid, pid)
		}
	})
	t.Run("the agent", func(t *testing.T) {
		o := newOfficial(t, sandbox.Full, "sensors/process", fmt.Sprintf("config: {cmdline: %q, max_count: 1000}\n", "^"+regexp.QuoteMeta(os.Args[0])))
		o.expect(t, o.watch(t), "process.count.low")
	})
	t.Run("not granted", func(t *testing.T) {
		o := newOfficial(t, sandbox.Full, "sensors/process", "read: [/usr]\nconfig: {name: .}\n")
		o.expect(t, o.watch(t), "error: must allow /proc")
	})
}

// The state of a unit comes over the bus whose socket is granted, and no other.
func TestOfficialServiceAsksTheBus(t *testing.T) {
	t.Parallel()
	const up, down = `{"a.service": {"active": "active", "sub": "running"}}`, `{"a.service": {"active": "failed", "sub": "failed", "result": "signal"}}`
	atBothLevels(t, "sensors/service", "config: {units: [a.service], bus: DIR/bus}\n", func(t *testing.T, o *official) {
		fakeSystemd(t, o.dir, up)
		becomes := func(units string) func() {
			return func() { write(t, filepath.Join(o.dir, "units.json"), units) }
		}
		got := o.watch(t, becomes(down), becomes(up))
		o.expect(t, got, "", "service.down", "service.up")
		if result := got[1].value(t, "result"); result != "signal" {
			t.Errorf("result %q", result)
		}
	})
	atBothLevels(t, "sensors/service", "read: [/usr]\nconfig: {units: [a.service], bus: DIR/bus}\n", func(t *testing.T, o *official) {
		fakeSystemd(t, o.dir, up)
		o.expect(t, o.watch(t), "error: allow it under `read`")
	})
}

// The same with systemd itself, of which restart-service restarts what service sees, from
// within the sandbox.
func TestOfficialWithSystemdItself(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	standIn(t, "engine.py", dir)
	bus := filepath.Join(dir, "run", "dbus", "system_bus_socket")
	for _, level := range []sandbox.Level{sandbox.Full, sandbox.Confined} {
		t.Run(string(level), func(t *testing.T) {
			units := fmt.Sprintf("config: {units: [a.service, broken.service], bus: %q}\n", bus)
			change := newOfficial(t, level, "actions/restart-service", units)
			watch := newOfficial(t, level, "sensors/service", units)
			does := func(operation string, status api.InstructionStatus, unit, says string) func() {
				return func() {
					r := change.run(t, fmt.Sprintf(`{"unit": %q, "operation": %q, "settle_seconds": 0.2}`, unit, operation))
					change.ended(r, status, says)
				}
			}
			got := watch.watch(t,
				does("stop", api.Completed, "a.service", ""),
				does("restart", api.Completed, "a.service", ""),
				does("start", api.Failed, "broken.service", "broken.service is failed (failed) after start"))
			watch.expect(t, got, "service.down", "service.down", "service.up", "")
		})
	}
}

// Lines are found over a rotation, and over a restart of the sensor.
func TestOfficialLogPatternFollows(t *testing.T) {
	t.Parallel()
	settings := "config: {directory: DIR, file: app.log, pattern: error}\n"
	atBothLevels(t, "sensors/log-pattern", settings, func(t *testing.T, o *official) {
		log := filepath.Join(o.dir, "app.log")
		appendTo(t, log, "error 0\n")
		got := o.watch(t, func() {
			appendTo(t, log, "error 1\n")
			if err := os.Rename(log, log+".1"); err != nil {
				t.Fatal(err)
			}
			appendTo(t, log, "fine\nerror 2\n")
		}, func() {})
		o.expect(t, got, "", "log.match", "")
		if lines := got[1].value(t, "lines"); lines != `["error 1", "error 2"]` && lines != `["error 1","error 2"]` {
			t.Errorf("lines %s", lines)
		}
		appendTo(t, log, "error 3\n")
		again := o.watch(t)
		o.expect(t, again, "log.match")
		if count := again[0].value(t, "count"); count != "1" {
			t.Errorf("%s lines after the restart", count)
		}
	})
}

// What happens to a file is told without being asked: at full by the kernel, at confined
// because the sensor looks.
func TestOfficialFileWatchTells(t *testing.T) {
	t.Parallel()
	settings := "config: {directories: [DIR], settle_seconds: 0.1, poll_seconds: 0.2}\n"
	atBothLevels(t, "sensors/file-watch", settings, func(t *testing.T, o *official) {
		o.sense(t, func(_ *Session, got *events) error {
			for i := 0; len(got.types()) == 0; i++ { // it does not say when it has begun to wait
				appendTo(t, filepath.Join(o.dir, fmt.Sprint("new", i)), "x")
				select {
				case <-got.came:
				case <-time.After(500 * time.Millisecond):
				case <-t.Context().Done():
					return t.Context().Err()
				}
			}
			return nil
		})
		looks := strings.Contains(o.pluginLog(), "the kernel does not tell of changes here")
		if looks != (o.posture.Level == sandbox.Confined) {
			t.Errorf("at %s:\n%s", o.posture.Level, o.pluginLog())
		}
	})
}

func TestOfficialDirectorySizeMeasures(t *testing.T) {
	t.Parallel()
	atBothLevels(t, "sensors/directory-size", "config: {path: DIR/watched, max_files: 1}\n", func(t *testing.T, o *official) {
		write(t, filepath.Join(o.dir, "watched", "a"), "12345")
		got := o.watch(t, func() { write(t, filepath.Join(o.dir, "watched", "below", "b"), "12345") })
		o.expect(t, got, "", "directory.size.high")
		if size := got[1].value(t, "bytes"); size != "10" {
			t.Errorf("%s bytes", size)
		}
	})
}

// A heartbeat's number goes on where it was before the sensor was started anew.
func TestOfficialHeartbeatCounts(t *testing.T) {
	t.Parallel()
	atBothLevels(t, "sensors/heartbeat", "config: {label: web}\n", func(t *testing.T, o *official) {
		o.expect(t, o.watch(t, func() {}), "heartbeat", "heartbeat")
		third := o.watch(t)[0]
		if third.value(t, "sequence") != "3" || third.value(t, "uptime_seconds") == "null" {
			t.Errorf("the third is %s", third.events[0].Data)
		}
	})
}

// A program sees what is granted beside it, and is told of when it does not work any more.
func TestOfficialCommandOutputLooks(t *testing.T) {
	t.Parallel()
	settings := "config: {command: [/bin/cat, DIR/shown], read: [DIR], value: '([0-9]+)', above: 5}\n"
	atBothLevels(t, "sensors/command-output", settings, func(t *testing.T, o *official) {
		shown := filepath.Join(o.dir, "shown")
		write(t, shown, "n = 3")
		got := o.watch(t, func() { write(t, shown, "n = 7") }, func() { os.Remove(shown) })
		o.expect(t, got, "", "command.value.high", "command.failed")
	})
	atBothLevels(t, "sensors/command-output", "config: {command: [/bin/cat, DIR/shown]}\n", func(t *testing.T, o *official) {
		write(t, filepath.Join(o.dir, "shown"), "n = 3")
		o.expect(t, o.watch(t), "command.failed")
	})
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}
