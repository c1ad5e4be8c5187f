package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/agent/agenttest"
	"github.com/stavily/agents/shared/pkg/api"
)

// What a sensor detects while the disk is full it tells once: it waits for room.
func TestWhatIsDetectedOnAFullDiskWaits(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"edge": `
def look(n):
    mark("looked", n)
    for gate in ("alarm", "later"):
        if there(gate) and not there(gate + "-told"):
            mark(gate + "-told", n)
            return event("edge." + gate)
serve(look)
`}, "")
	agenttest.SmallDisk(t, r.base)
	r.start()
	r.file("looked")
	ballast := filepath.Join(r.base, "ballast")
	agenttest.FillDisk(t, ballast)
	r.open("alarm")
	o.monitor("edge", func(m api.MonitorInfo) bool { return strings.Contains(m.Message, "kept for results") })
	if err := os.Truncate(ballast, 0); err != nil {
		t.Fatal(err)
	}
	r.open("later")
	o.await("edge.later")
	same(t, "events", []string{"edge.alarm", "edge.later"}, o.types())
}
