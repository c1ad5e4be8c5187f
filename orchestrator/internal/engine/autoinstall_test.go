package engine

import (
	"testing"

	"github.com/stavily/agents/orchestrator/internal/engine/packtest"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// A step that says so brings its plugin to one agent that may run it: the approved version,
// not the newest, and none where nothing is approved, an agent has it in the step's range, or
// nobody asked.
func TestAutoInstall(t *testing.T) {
	for name, c := range map[string]struct {
		step           string
		approved       bool
		within         string    // the step's range
		had            [2]string // the versions that the agents have
		given          string    // the version that was assigned to the first
		first, another string    // what the agents are to have
	}{
		"approved":                        {step: "true", approved: true, first: "1.0.0"},
		"nothing is approved":             {step: "true"},
		"an agent has it":                 {step: "true", approved: true, had: [2]string{"", "1.0.0"}},
		"an agent has it in the range":    {step: "true", approved: true, within: "@^1", had: [2]string{"", "1.2.0"}},
		"one has another version":         {step: "true", approved: true, within: "@^1", had: [2]string{"0.9.0", ""}, another: "1.0.0"},
		"all have another version":        {step: "true", approved: true, within: "@^1", had: [2]string{"0.9.0", "0.9.0"}, first: "1.0.0"},
		"one is about to have it":         {step: "true", approved: true, within: "@^1", given: "1.0.0", first: "1.0.0"},
		"one is about to have an old one": {step: "true", approved: true, within: "@^1", given: "0.9.0", first: "0.9.0", another: "1.0.0"},
		"nobody asked":                    {step: "false", approved: true},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w world) {
				s, agents := w.enrol(api.Sensor, "s", "h"), w.fleet(2)
				for n, a := range agents {
					plugins := []api.PluginInfo{}
					if c.had[n] != "" {
						plugins = append(plugins, api.PluginInfo{ID: "actor", Version: c.had[n], State: "ready"})
					}
					if _, err := w.Heartbeat(t.Context(), a.Identity, api.Heartbeat{Status: StatusOnline, Plugins: plugins}); err != nil {
						t.Fatal(err)
					}
				}
				w.publishes("default", packtest.Pack(t, "actor", "0.9.0", nil), "")
				w.publishes("default", packtest.Pack(t, "actor", "1.0.0", nil), "")
				if c.given != "" {
					if _, err := w.Assign(t.Context(), "default", AssignSpec{Plugin: "actor", Range: c.given, Selector: store.OfAgent(agents[0].Agent)}); err != nil {
						t.Fatal(err)
					}
				}
				if c.approved {
					if _, err := w.Approve(t.Context(), "default", "actor", "1.0.0"); err != nil {
						t.Fatal(err)
					}
				}
				w.publishes("default", packtest.Pack(t, "actor", "2.0.0", nil, "permissions: {network: ['a.example:443']}"), "")
				w.apply("name: simple\ntriggers: [{event: test}]\nactions: [{plugin: 'actor" + c.within + "', agents: {any: {expression: 'true'}}, auto_install: " + c.step + "}]\n")
				w.sends(s, event(1), api.EventAccepted)
				if first, another := w.has(agents[0]), w.has(agents[1]); first != c.first || another != c.another {
					t.Errorf("the agents are to have %q and %q, want %q and %q", first, another, c.first, c.another)
				}
			})
		})
	}
}
