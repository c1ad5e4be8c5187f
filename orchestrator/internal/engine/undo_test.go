package engine

import (
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

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
