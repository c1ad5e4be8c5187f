//go:build unix

package agent

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// ailing fails while a file says so, and tells once that it has looked.
const ailing = `
def look(n):
    if there("ill"):
        raise SystemExit("too ill to look")
    if not there("seen"):
        mark("seen", n)
        return event("seen")
    return None
serve(look)
`

// silences are the agent's own events of a monitor, in order.
func (o *orchestrator) silences(monitor string) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []string
	for _, e := range o.taken {
		if e.Monitor == monitor && strings.HasPrefix(e.Type, ownEvents) {
			out = append(out, e.Type)
		}
	}
	return out
}

// complaint is the condition of a silent monitor in the last heartbeat. It needs mu.
func (o *orchestrator) complaint(monitor string) string {
	for _, c := range o.lastBeat().Health.Conditions {
		if c.Name == staleCondition(monitor) {
			return c.Message
		}
	}
	return ""
}

// A monitor that falls silent is told once, over a restart too, and so is that it is back.
func TestAMonitorThatFallsSilentIsTold(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"ailing": ailing, "well": "def look(n):\n    return None\nserve(look)\n"}, "")
	r.env = []string{testPatience + "=3s"}
	r.start()
	o.await("seen")
	r.open("ill")
	stale := o.await(staleEvent)
	same(t, "who is silent", []string{"ailing", "ailing", "high"}, []string{stale.Source, stale.Monitor, string(stale.Severity)})
	if reason := string(stale.Data["reason"]); !strings.Contains(reason, "too ill to look") {
		t.Errorf("the reason is %s", reason)
	}
	o.until("the condition", func() bool { return strings.Contains(o.complaint("ailing"), "too ill to look") })
	same(t, "exit code", 0, r.stop())
	o.change(func() { o.beats = nil })
	r.start()
	o.until("the condition of the next life", func() bool { // which is when it would be told again
		return strings.Contains(o.complaint("ailing"), "monitor ailing has seen nothing since")
	})
	same(t, "while it is silent", []string{staleEvent}, o.silences("ailing"))
	if err := os.Remove(filepath.Join(r.work, "ill")); err != nil {
		t.Fatal(err)
	}
	back := o.await(freshEvent)
	var seconds float64
	if err := json.Unmarshal(back.Data["silent_seconds"], &seconds); err != nil || seconds < 3 {
		t.Errorf("it was silent for %s s", back.Data["silent_seconds"])
	}
	o.until("the end of the condition", func() bool { return o.complaint("ailing") == "" })
	same(t, "both", []string{staleEvent, freshEvent}, o.silences("ailing"))
	same(t, "the other", []string(nil), o.silences("well"))
}

// A plugin cannot speak for the agent.
func TestAPluginCannotTellTheAgentsOwnEvents(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	install(t, o, map[string]string{"posing": "def look(n):\n    return [event(\"stavily.monitor.stale\"), event(\"honest\")]\nserve(look)\n"}, "").start()
	o.await("honest")
	m := o.monitor("posing", func(m api.MonitorInfo) bool { return m.Message != "" })
	if !strings.Contains(m.Message, "the agent's own: choose another") {
		t.Errorf("the sentence is %q", m.Message)
	}
	same(t, "forged", []string(nil), o.silences("posing"))
}

func TestJitterSpreadsWithinItsPart(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 1000 {
		d := jitter(time.Minute, 0.1)
		if d < 54*time.Second || d > 66*time.Second {
			t.Fatalf("%v is not a minute give or take a tenth", d)
		}
		seen[d.Round(time.Second)] = true
	}
	if len(seen) < 10 {
		t.Errorf("only %d different seconds in a thousand", len(seen))
	}
}

// Where the file does not say how often a sensor looks, the sensor does.
func TestTheIntervalThatAPluginWishes(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"often": `
import stavily
@stavily.sensor(interval=0.1)
def often(emit):
    mark("looked", 1)
    if len(open(os.path.join(work, "looked")).readlines()) == 10:
        emit("often.enough")
if __name__ == "__main__":
    stavily.run()
`}, "")
	write(t, filepath.Join(r.base, "config", "plugins", "often.yaml"), "{plugin: often}")
	r.start()
	o.await("often.enough") // at an interval of 30 s after five minutes
}
