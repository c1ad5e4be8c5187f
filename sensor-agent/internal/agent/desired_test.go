//go:build unix

package agent

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

// configured tells what it is configured with, once.
const configured = `
config = {}
for line in sys.stdin:
    command = json.loads(line)
    data = {}
    if command["action"] == "initialize":
        config = command["config"]
    if command["action"] == "detect_triggers" and not there("told-%s" % config["name"]):
        mark("told-%s" % config["name"], 1)
        data = event("seen", **config)
    print(json.dumps({"action": command["action"], "success": True, "data": data}), flush=True)
`

// wants has the orchestrator want a set of monitors.
func (o *orchestrator) wants(version string, monitors ...api.DesiredMonitor) {
	o.change(func() { o.wanted = &api.Monitors{Version: version, Monitors: monitors} })
}

func wantedMonitor(name string, more string) api.DesiredMonitor {
	config := map[string]json.RawMessage{}
	if err := json.Unmarshal([]byte(`{"name": "`+name+`"`+more+`}`), &config); err != nil {
		panic(err)
	}
	return api.DesiredMonitor{Name: "w." + name, Plugin: "configured", Interval: 1, Config: config, Workflow: "w"}
}

// A sensor runs the monitors that workflows want beside its own, goes on with them while the
// orchestrator is away, and lets none of them go beyond what the host's owner says.
func TestMonitorsOfWorkflows(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"configured": configured}, "")
	manifest := filepath.Join(r.base, "data", "plugins", "configured", "plugin.yaml")
	text, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	write(t, manifest, strings.TrimSuffix(strings.TrimSpace(string(text)), "}")+
		", configuration: {name: {type: string, required: true}, level: {type: integer, default: 1}, key: {type: string, secret: true, default: none}}}")
	write(t, filepath.Join(r.base, "config", "plugins", "configured.yaml"), "{plugin: configured, interval: 100ms, config: {name: own, level: 2}}")
	old := wantedMonitor("old", "")
	old.Version = ">=99"
	o.wants("v1", wantedMonitor("first", `, "level": 3`), wantedMonitor("second", ""), old, wantedMonitor("leak", `, "key": "k"`), wantedMonitor("bad", `, "level": "x"`))
	r.start()
	levels := map[string]string{}
	o.until("events of three", func() bool {
		for _, e := range o.taken {
			if e.Type != "seen" { // of the agent's own
				continue
			}
			levels[e.Monitor] = string(e.Data["name"]) + string(e.Data["level"])
		}
		return len(levels) == 3
	})
	same(t, "configurations", map[string]string{"configured": `"own"2`, "w.first": `"first"3`, "w.second": `"second"2`}, levels)
	for name, why := range map[string]string{"w.old": "in a version of >=99", "w.leak": "which is secret", "w.bad": "level"} {
		if m := o.monitor(name, func(m api.MonitorInfo) bool { return m.State == "refused" }); !strings.Contains(m.Message, why) || m.Workflow != "w" {
			t.Errorf("%s: %+v", name, m)
		}
	}
	r.stop()

	o.change(func() { o.away = true })
	if err := os.Remove(filepath.Join(r.work, "told-first")); err != nil {
		t.Fatal(err)
	}
	r.start()
	o.until("an event of a monitor that is remembered", func() bool {
		n := 0
		for _, e := range o.taken {
			if e.Type == "seen" && e.Monitor == "w.first" {
				n++
			}
		}
		return n == 2
	})
	o.change(func() { o.away = false })
	o.wants("")
	o.until("the end of them", func() bool {
		last := o.lastBeat()
		return len(last.Monitors) == 1 && last.Monitors[0].Name == "configured"
	})
	r.stop()
}
