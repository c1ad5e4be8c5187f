package engine

import (
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/shared/pkg/api"
)

// tellsVersion says in a heartbeat that the agent has the plugin actor in a version.
func (w world) tellsVersion(a agent, version, message string) {
	w.t.Helper()
	has := []api.PluginInfo{{ID: "actor", Version: version, State: "ready", Message: message}}
	if _, err := w.Heartbeat(w.t.Context(), a.Identity, api.Heartbeat{Status: StatusOnline, Plugins: has}); err != nil {
		w.t.Fatal(err)
	}
}

// A step goes to an agent that has its plugin in the range, not to one that has another
// version and would refuse it.
func TestAStepGoesToAVersionOfItsPlugin(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, old, young := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "old", "h1"), w.enrol(api.Action, "young", "h2")
		w.tellsVersion(old, "1.0.0", "")
		w.tellsVersion(young, "2.1.0", "")
		w.apply("name: simple\ntriggers: [{event: test}]\nactions: [{plugin: actor@^2, agents: {any: {expression: 'true'}}}]\n")
		w.sends(s, event(1), api.EventAccepted)
		if offers, err := w.Poll(t.Context(), old.Identity, time.Second, 16); err != nil || len(offers) != 0 {
			t.Fatalf("the agent with 1.0.0 is offered %+v, %v", offers, err)
		}
		if i := w.takes(young); i.PluginConfiguration.Version != "^2" {
			t.Errorf("the agent is asked for version %q", i.PluginConfiguration.Version)
		}
	})
}

// Where nobody has a version of the range a step waits for one and says so.
func TestAStepWaitsForAVersionOfItsPlugin(t *testing.T) {
	const lacks = "agent a has 1.0.0 of plugin actor, needs ^2"
	for name, c := range map[string]struct{ agents, has, message, why string }{
		"any":                         {"any: {expression: 'true'}", "1.0.0", "", lacks},
		"same host":                   {"same_host: true", "1.0.0", "", lacks},
		"named":                       {"ids: [a]", "1.0.0", "", lacks},
		"each":                        {"each: {expression: 'true'}", "1.0.0", "", lacks},
		"a newer one is refused":      {"ids: [a]", "1.0.0", "2.0.0 is refused", lacks + ": 2.0.0 is refused"},
		"one of the range":            {"ids: [a]", "2.1.0", "", ""},
		"one that the agent conceals": {"ids: [a]", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w world) {
				s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
				w.tellsVersion(a, c.has, c.message)
				w.apply("name: simple\ntriggers: [{event: test}]\nactions: [{plugin: actor@^2, agents: {" + c.agents + "}}]\n")
				w.sends(s, event(1), api.EventAccepted)
				if got := w.whyNobody(w.instruction()); got != c.why {
					t.Fatalf("WhyNobody = %q, want %q", got, c.why)
				}
				if c.why != "" {
					offered := make(chan int, 1)
					go func() {
						offers, err := w.Poll(t.Context(), a.Identity, time.Minute, 1)
						if err != nil {
							t.Error(err)
						}
						offered <- len(offers)
					}()
					time.Sleep(time.Second)
					w.tellsVersion(a, "2.0.0", "")
					if n := <-offered; n != 1 {
						t.Errorf("with 2.0.0 the agent is offered %d instructions", n)
					}
				} else {
					w.takes(a)
				}
			})
		})
	}
}

func TestNobodyHasTheVersionInTime(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
		w.tellsVersion(a, "1.0.0", "")
		w.apply("name: simple\ntriggers: [{event: test}]\nactions: [{plugin: actor@^2}]\n")
		w.sends(s, event(1), api.EventAccepted)
		time.Sleep(instruction.DefaultLifetime + time.Second)
		const want = "No agent started it before it expired: agent a has 1.0.0 of plugin actor, needs ^2"
		if i := w.instruction(); i.Status != api.Expired || i.Message != want {
			t.Errorf("it is %s: %q, want %q", i.Status, i.Message, want)
		}
	})
}

// The range of what changes a plugin is what the agent is to get, not what it has.
func TestAnUpdateGoesToTheVersionBefore(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
		w.tellsVersion(a, "1.0.0", "")
		w.apply("name: simple\ntriggers: [{event: test}]\nactions: [{plugin: actor@^2, type: plugin_update}]\n")
		w.sends(s, event(1), api.EventAccepted)
		w.takes(a)
	})
}
