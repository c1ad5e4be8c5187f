package agent

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/internal/sandbox"
)

// What memory and cpu-load tell is the host's: the kernel says the same to both.
func TestMemoryAndLoadSeeTheHost(t *testing.T) {
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
func TestProcessSeesTheHost(t *testing.T) {
	child := exec.CommandContext(t.Context(), "/bin/sleep", "300")
	child.Args[0] = "stavily-test-process"
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	ended := func() { child.Process.Kill(); child.Wait() }
	t.Cleanup(ended)
	atBothLevels(t, "sensors/process", "config: {cmdline: ^stavily-test-process, max_rss_bytes: 1000}\n", func(t *testing.T, o *official) {
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
		o := newOfficial(t, sandbox.Full, "sensors/process", fmt.Sprintf("config: {cmdline: %q, max_count: 1000}\n", os.Args[0]))
		o.expect(t, o.watch(t), "process.count.low")
	})
	t.Run("not granted", func(t *testing.T) {
		o := newOfficial(t, sandbox.Full, "sensors/process", "read: [/usr]\nconfig: {name: .}\n")
		o.expect(t, o.watch(t), "error: must allow /proc")
	})
}

// The state of a unit comes over the bus whose socket is granted, and no other.
func TestServiceAsksTheBus(t *testing.T) {
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
