package engine

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// evaluation is what the only workflow made of an event.
func (w world) evaluation(id api.EventID) (d workflow.Decision) {
	w.t.Helper()
	w.read(func(r store.Reader) error {
		all, err := r.Evaluations(id)
		if err != nil || len(all) != 1 {
			w.t.Fatalf("evaluations of %s: %+v, %v", id, all, err)
		}
		return json.Unmarshal(all[0].Decision, &d)
	})
	return d
}

// on is an event of a mount.
func on(seq uint64, mount string) api.EventBatch {
	b := event(seq)
	b.Events[0].Data = map[string]json.RawMessage{"mount": json.RawMessage(fmt.Sprintf("%q", mount))}
	return b
}

func (w world) reasons(want map[api.EventID]string) {
	w.t.Helper()
	for id, reason := range want {
		if got := w.evaluation(id); got.Reason != reason {
			w.t.Errorf("%s: %q, want %q", id, got.Reason, reason)
		}
	}
}

func TestDuplicates(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		w.apply(simple("dedupe: {key: [event.data.mount], window: 10m}\n", ""))
		w.sends(s, on(1, "/"), api.EventAccepted)
		w.sends(s, on(2, "/"), api.EventAccepted)
		w.sends(s, on(3, "/var"), api.EventAccepted)
		time.Sleep(4 * time.Minute)
		w.sends(s, on(4, "/"), api.EventAccepted) // does not lengthen the window
		time.Sleep(6 * time.Minute)
		w.sends(s, on(5, "/"), api.EventAccepted)
		w.reasons(map[api.EventID]string{
			"E1": "everything is met", "E2": "a duplicate of what came before, for 10m0s more", "E3": "everything is met",
			"E4": "a duplicate of what came before, for 6m0s more", "E5": "everything is met",
		})
	})
}

func TestRunsPerTime(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		w.apply(simple("limits: {runs: {count: 2, per: 1h}}\n", ""))
		w.sends(s, event(1), api.EventAccepted)
		time.Sleep(50 * time.Minute)
		w.sends(s, event(2), api.EventAccepted)
		w.sends(s, event(3), api.EventAccepted)
		time.Sleep(10*time.Minute + time.Second) // the first is out of the hour now
		w.sends(s, event(4), api.EventAccepted)
		w.sends(s, event(5), api.EventAccepted)
		w.reasons(map[api.EventID]string{
			"E1": "everything is met", "E2": "everything is met", "E3": "limit: 2 runs within 1h0m0s",
			"E4": "everything is met", "E5": "limit: 2 runs within 1h0m0s",
		})
	})
}

// An action that nobody takes in time, and one whose turn comes too late, never start; people
// are told all the same.
func TestNothingStartsLate(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
		w.apply("name: simple\ntriggers: [{event: test}]\nlimits: {expires_after: 5m}\nactions:\n" +
			"  - {id: first, plugin: actor, agents: {ids: [a]}, timeout: 10m}\n  - {id: second, needs: [first], plugin: actor, agents: {ids: [a]}}\n  - {id: nobody, plugin: actor, agents: {ids: [b]}}\n" +
			"outputs: [{plugin: slack}]\n")
		w.sends(s, event(1), api.EventAccepted)
		i := w.takes(a)
		w.claims(a, i)
		for range 12 { // it works, and says so
			time.Sleep(30 * time.Second)
			if _, err := w.Progress(t.Context(), a.Identity, i.ID, api.Progress{Status: api.Executing, Attempt: i.Attempt, Lease: i.Lease}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.reports(a, i, api.Completed); err != nil {
			t.Fatal(err)
		}
		states := map[string]api.InstructionStatus{}
		var run store.Run
		w.read(func(r store.Reader) error {
			runs, err := r.Runs(store.RunQuery{})
			if err != nil {
				return err
			}
			run = runs[0]
			all, err := r.RunInstructions(run.ID)
			for _, i := range all {
				states[i.Step] = i.Status
			}
			return err
		})
		if states["first"] != api.Completed || states["nobody"] != api.Expired || states["slack"] != api.Pending || states["second"] != "" {
			t.Errorf("steps %v", states)
		}
		var state saved
		if err := json.Unmarshal(run.State, &state); err != nil {
			t.Fatal(err)
		}
		second := state.State.Steps["second"]
		if second.Status != workflow.StepStatus(api.Expired) || second.Error != "limits.expires_after: it would start more than 5m0s after the run" {
			t.Errorf("the second step: %+v", second)
		}
		if state.State.Status != workflow.Failed {
			t.Errorf("the run is %s", state.State.Status)
		}
	})
}
