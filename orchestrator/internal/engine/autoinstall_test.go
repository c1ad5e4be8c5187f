package engine

import (
	"testing"

	"github.com/stavily/agents/orchestrator/internal/engine/packtest"
	"github.com/stavily/agents/shared/pkg/api"
)

// A step that says so brings its plugin to one agent that may run it: the approved version,
// not the newest, and none where nothing is approved, an agent has it, or nobody asked.
func TestAutoInstall(t *testing.T) {
	for name, c := range map[string]struct {
		step           string
		approved, has  bool
		first, another string // what the agents are to have
	}{
		"approved":            {"auto_install: true", true, false, "1.0.0", ""},
		"nothing is approved": {"auto_install: true", false, false, "", ""},
		"an agent has it":     {"auto_install: true", true, true, "", ""},
		"nobody asked":        {"auto_install: false", true, false, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w world) {
				s, agents := w.enrol(api.Sensor, "s", "h"), w.fleet(2)
				plugins := []api.PluginInfo{}
				if c.has {
					plugins = append(plugins, api.PluginInfo{ID: "actor", Version: "1.0.0", State: "ready"})
				}
				for _, a := range agents {
					if _, err := w.Heartbeat(t.Context(), a.Identity, api.Heartbeat{Status: StatusOnline, Plugins: plugins}); err != nil {
						t.Fatal(err)
					}
				}
				w.publishes("default", packtest.Pack(t, "actor", "1.0.0", nil), "")
				if c.approved {
					if _, err := w.Approve(t.Context(), "default", "actor", "1.0.0"); err != nil {
						t.Fatal(err)
					}
				}
				w.publishes("default", packtest.Pack(t, "actor", "2.0.0", nil, "permissions: {network: ['a.example:443']}"), "")
				w.apply("name: simple\ntriggers: [{event: test}]\nactions: [{plugin: actor, agents: {any: {expression: 'true'}}, " + c.step + "}]\n")
				w.sends(s, event(1), api.EventAccepted)
				if first, another := w.has(agents[0]), w.has(agents[1]); first != c.first || another != c.another {
					t.Errorf("the agents are to have %q and %q, want %q and %q", first, another, c.first, c.another)
				}
			})
		})
	}
}
