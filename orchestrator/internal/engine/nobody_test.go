package engine

import (
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/shared/pkg/api"
)

func TestWhyNobody(t *testing.T) {
	ready := []api.PluginInfo{{ID: "actor", State: "ready"}}
	for name, c := range map[string]struct {
		step   string
		has    []api.PluginInfo // of agent a on host h; nil: it has not told
		silent bool             // there is no agent a
		want   string
	}{
		"nobody on the host":          {"", nil, true, "no action agent is on host h"},
		"nobody of that name":         {"    agents: {ids: [x, y]}\n", ready, false, "no action agent is named x or y"},
		"nobody with the tags":        {"    agents: {any: {tags: [web, eu]}}\n", ready, false, "no action agent has the tags web, eu"},
		"the plugin is not there":     {"", []api.PluginInfo{}, false, "agent a has no plugin actor"},
		"the plugin cannot be used":   {"", []api.PluginInfo{{ID: "actor", State: "refused", Message: "needs Python 3.13"}}, false, "agent a cannot run plugin actor: needs Python 3.13"},
		"an agent that has not asked": {"", ready, false, ""},
		"one that has not told":       {"", nil, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w world) {
				s := w.enrol(api.Sensor, "s", "h")
				if !c.silent {
					a := w.enrol(api.Action, "a", "h")
					if _, err := w.Heartbeat(t.Context(), a.Identity, api.Heartbeat{Status: StatusOnline, Plugins: c.has}); err != nil {
						t.Fatal(err)
					}
				}
				w.apply(simple("", c.step))
				w.sends(s, event(1), api.EventAccepted)
				if got := w.whyNobody(w.instruction()); got != c.want {
					t.Errorf("WhyNobody = %q, want %q", got, c.want)
				}
				time.Sleep(instruction.DefaultLifetime + time.Second)
				want := "No agent started it before it expired."
				if c.want != "" {
					want = "No agent started it before it expired: " + c.want
				}
				if i := w.instruction(); i.Status != api.Expired || i.Message != want {
					t.Errorf("it is %s: %q, want %q", i.Status, i.Message, want)
				}
			})
		})
	}
}
