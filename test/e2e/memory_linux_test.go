package e2e

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

// mostMemory is what an agent may take by itself, in MB (R125, R192). `make bench`
// measures how much less it is.
const mostMemory = 50

var peak = regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB$`)

// Agents that have started, connected and worked never took more than was promised.
func TestMemoryOfAnAgent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.agent("lean-s", api.Sensor, nil, map[string]string{"beat": "plugin: heartbeat\ninterval: 1s\n"})
	w.agent("lean-a", api.Action, nil, nil)
	w.start("lean-s", "lean-a")
	w.await("an event", func() error {
		if len(w.events()) == 0 {
			return fmt.Errorf("none yet")
		}
		return nil
	})
	for _, id := range []string{"lean-s", "lean-a"} {
		if mb := w.peakMemory(id); mb > mostMemory {
			t.Errorf("%s took %d MB, want at most %d", id, mb, mostMemory)
		}
	}
}

// peakMemory is the most that a process had in memory since it began, in MB.
func (w *world) peakMemory(name string) int {
	w.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.Process(name).Pid()))
	w.must(err)
	found := peak.FindSubmatch(status)
	if found == nil {
		w.t.Fatalf("no VmHWM in\n%s", status)
	}
	kib, err := strconv.Atoi(string(found[1]))
	w.must(err)
	return kib * 1024 / 1e6
}
