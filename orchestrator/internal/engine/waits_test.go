package engine

import (
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

const verifies = `name: simple
triggers: [{event: test}]
actions:
  - {id: act, plugin: actor, agents: {ids: [a]}}
  - {id: verified, needs: [act], wait_for: {event: ok, where: event.data.mount == trigger.data.mount, within: 3m}}
outputs: [{plugin: slack, on: [failed]}]
`

// A step waits for the event of its own run, in the same batch or later, and gives up in time.
func TestWaitingForAnEvent(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
		w.apply(verifies)
		ok := func(seq uint64, mount string) api.EventBatch {
			b := on(seq, mount)
			b.Events[0].Type = "ok"
			return b
		}
		begin := func(seq uint64, mount string) {
			t.Helper()
			w.sends(s, on(seq, mount), api.EventAccepted)
			i := w.takes(a)
			w.claims(a, i)
			if err := w.reports(a, i, api.Completed); err != nil {
				t.Fatal(err)
			}
		}
		w.sends(s, ok(1, "/"), api.EventAccepted) // before anybody waits
		begin(2, "/")
		begin(3, "/var")
		w.runsAre("running", "running")
		w.sends(s, ok(4, "/home"), api.EventAccepted)
		w.runsAre("running", "running")
		both := ok(5, "/other")
		both.Events = append(both.Events, ok(6, "/").Events...)
		w.sends(s, both, api.EventAccepted)
		w.runsAre("running", "completed")
		time.Sleep(3*time.Minute + time.Second)
		runs := w.runsAre("failed", "completed")
		w.sends(s, ok(7, "/var"), api.EventAccepted) // too late
		w.read(func(r store.Reader) error {
			left, err := r.Waits()
			if err != nil || len(left) > 0 {
				t.Errorf("still waited for: %+v, %v", left, err)
			}
			return err
		})
		if h := w.history(runs[1].ID); h != "run_started step_dispatched step_started step_ended step_waits step_event step_ended step_ended run_ended run_finished" &&
			h != "run_started step_dispatched step_started step_ended step_waits step_event step_ended run_ended step_ended run_finished" {
			t.Errorf("history: %s", h)
		}
	})
}

// What waits is found again by an engine that does not know it.
func TestWaitingOverARestart(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		w.apply("name: simple\ntriggers: [{event: test}]\nactions: [{id: verified, wait_for: {event: ok}}]\n")
		w.sends(s, event(1), api.EventAccepted)
		w.waits.drop("default") // all that an engine knows of them is in the store
		b := event(2)
		b.Events[0].Type = "ok"
		w.sends(s, b, api.EventAccepted)
		w.runsAre("completed")
	})
}
