package engine

import (
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// What one of several agents has done is taken back by that one, also after another try; by
// another only where the undo names it.
func TestUndoIsOnTheAgentThatDidIt(t *testing.T) {
	for _, c := range []struct{ on, undo, want string }{
		{`any: {expression: 'agent.host == "h"'}`, "", "a1"},
		{"ids: [a1, a2]", "", "a1"},
		{"same_host: true", "", "a1"},
		{"ids: [a1, a2]", ", agents: {ids: [a2]}", "a2"},
	} {
		inWorld(t, func(t *testing.T, w world) {
			s, agents := w.enrol(api.Sensor, "s", "h"), map[string]agent{"a1": w.enrol(api.Action, "a1", "h"), "a2": w.enrol(api.Action, "a2", "h")}
			w.apply("name: simple\ntriggers: [{event: test}]\non_failure: undo\nactions:\n" +
				"  - {id: mount, plugin: actor, agents: {" + c.on + "}, undo: {plugin: actor, retry: {attempts: 2}" + c.undo + "}, retry: {attempts: 2}}\n" +
				"  - {id: later, plugin: actor, needs: [mount], agents: {ids: [a2]}}\n")
			w.sends(s, event(1), api.EventAccepted)
			does := func(id, step string, status api.InstructionStatus) {
				t.Helper()
				i := w.takes(agents[id])
				if i.Context.Step != step {
					t.Fatalf("%s: step %s is offered to %s, want %s", c.on, i.Context.Step, id, step)
				}
				w.claims(agents[id], i)
				if err := w.reports(agents[id], i, status); err != nil {
					t.Fatal(err)
				}
			}
			does("a2", "mount", api.Failed)
			time.Sleep(time.Minute)
			does("a1", "mount", api.Completed)
			does("a2", "later", api.Failed)
			w = w.restart(time.Second)
			for _, status := range []api.InstructionStatus{api.Failed, api.Completed} {
				other := map[string]string{"a1": "a2", "a2": "a1"}[c.want]
				if offers, err := w.Poll(t.Context(), agents[other].Identity, 0, 16); err != nil || len(offers) > 0 {
					t.Fatalf("%s%s: agent %s is offered %+v, %v", c.on, c.undo, other, offers, err)
				}
				does(c.want, "undo:mount", status)
				time.Sleep(time.Minute)
			}
			w.runsAre("failed")
		})
	}
}

// What was done is taken back also when the server was away in between, and however late.
func TestUndoOverARestart(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
		w.apply("name: simple\ntriggers: [{event: test}]\non_failure: undo\nlimits: {expires_after: 5m}\nactions:\n" +
			"  - {id: one, plugin: actor, timeout: 10m, undo: {plugin: actor, with: {back: 1}}}\n" +
			"  - {id: two, plugin: actor, needs: [one], timeout: 10m, undo: {plugin: actor, with: {back: 2}}}\n" +
			"  - {id: three, plugin: actor, needs: [two], timeout: 10m}\n")
		w.sends(s, event(1), api.EventAccepted)
		does := func(step string, status api.InstructionStatus) {
			t.Helper()
			i := w.takes(a)
			if i.Context.Step != step {
				t.Fatalf("step %s is offered, want %s", i.Context.Step, step)
			}
			w.claims(a, i)
			if err := w.reports(a, i, status); err != nil {
				t.Fatal(err)
			}
		}
		does("one", api.Completed)
		does("two", api.Completed)
		does("three", api.Failed)
		w = w.restart(10 * time.Minute)
		w.runsAre("running")
		does("undo:two", api.Failed)
		w = w.restart(time.Second)
		does("undo:one", api.Completed)
		w.runsAre("failed")
	})
}
