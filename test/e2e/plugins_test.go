package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

// Plugins written for the original agents, without our SDK, run unmodified: both
// contracts, both forms of manifest, logs on standard output, a connection a call.
func TestUnmodifiedPlugins(t *testing.T) {
	w := newWorld(t)
	w.apply(`name: old
triggers:
  - event: old.*
actions:
  - id: stdio
    plugin: old-stdio-action
    with: {type: "${{ event.type }}", data: "${{ event.data }}"}
  - id: script
    needs: [stdio]
    plugin: old-script-action
    with: {n: 21}
`)
	w.agent("old-a", api.Action, []string{"old-stdio-action", "old-script-action"}, nil)
	w.agent("old-s", api.Sensor, []string{"old-chatty-sensor", "old-socket-monitor"}, map[string]string{
		"chatty": "plugin: old-chatty-sensor\ninterval: 1s\n",
		"socket": "plugin: old-socket-monitor\nconfig: {cpu_trigger_percentage: 50, names: [a, b]}\n",
	})
	w.start("old-a", "old-s")

	results := map[string]run{}
	w.await("a completed run for each of the two events", func() error {
		for _, r := range w.runs() {
			if r.Status == "failed" {
				t.Fatalf("run %s failed: %+v", r.ID, w.show(r.ID))
			}
			if r.Status == "completed" {
				results[r.EventID] = w.show(r.ID)
			}
		}
		if len(results) != 2 {
			return fmt.Errorf("%d runs completed", len(results))
		}
		return nil
	})
	for _, e := range w.events() {
		r := results[string(e.ID)]
		if len(r.Steps) != 2 {
			t.Fatalf("run of %s has steps %+v", e.Type, r.Steps)
		}
		echo, doubled := compact(t, r.Steps[0].Result.Result), compact(t, r.Steps[1].Result.Result)
		if !strings.Contains(echo, e.Type) || !strings.Contains(doubled, `"doubled":42`) {
			t.Errorf("results of %s: %s and %s", e.Type, echo, doubled)
		}
		want := map[string]string{
			"old.chatty": `{"level":7.5}`, // the manifest's default reached initialize
			"old.socket": `{"agent":"old-s","arguments":["--cpu-trigger-percentage","50","--names","a","b"]}`,
		}[e.Type]
		if got, _ := json.Marshal(e.Data); string(got) != want {
			t.Errorf("data of %s = %s, want %s", e.Type, got, want)
		}
	}
}

// Rubbish, hanging, dying and flooding plugins harm neither the agent nor the
// other monitors, and the agent says what is wrong with them.
func TestBrokenPluginsAreContained(t *testing.T) {
	w := newWorld(t)
	a := w.agent("broken-s", api.Sensor, []string{"old-chatty-sensor"}, map[string]string{
		"good":   "plugin: old-chatty-sensor\ninterval: 1s\n",
		"absent": "plugin: no-such-plugin\ninterval: 1s\n",
	})
	for name, program := range map[string]string{
		"rubbish": "import sys\nfor line in sys.stdin:\n    print('no json here', flush=True)\n",
		"dies":    "raise SystemExit(3)\n",
		"hangs":   "import time\ntime.sleep(3600)\n",
		"floods":  "import sys\nwhile True: sys.stdout.write('x' * 65536)\n",
	} {
		dir := filepath.Join(a.Base, "data", "plugins", name)
		w.write(filepath.Join(dir, "plugin.yaml"), "id: "+name+"\nname: "+name+"\nversion: 1.0.0\ntype: trigger\nruntime: {type: python, entry_point: main.py}\n")
		w.write(filepath.Join(dir, "main.py"), program)
		w.must(a.Configure(name, "plugin: "+name+"\ninterval: 1s\ntimeout: 2s\n"))
	}
	w.start("broken-s")
	w.await("the good monitor's event and a reason for each broken one", func() error {
		if len(w.events()) != 1 {
			return fmt.Errorf("%d events", len(w.events()))
		}
		said := map[string]string{}
		for _, m := range cli[agentRecord](w, "agents", "show", "broken-s").Monitors {
			said[m.Name] = m.Message
		}
		for _, name := range []string{"rubbish", "dies", "hangs", "floods", "absent"} {
			if said[name] == "" {
				return fmt.Errorf("nothing is said about %s: %v", name, said)
			}
		}
		return nil
	})
}

type agentRecord struct {
	ID       api.AgentID       `json:"id"`
	Status   string            `json:"status"`
	Monitors []api.MonitorInfo `json:"monitors"`
	Sandbox  *api.Posture      `json:"sandbox"`
}
