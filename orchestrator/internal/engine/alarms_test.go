package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// A step that fails is tried again when its time has come, also when the server was away at
// that time.
func TestATryThatFailsIsFollowedByAnother(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
		w.apply(simple("", "    retry: {attempts: 3, first: 10s}\n"))
		w.sends(s, event(1), api.EventAccepted)
		nothing := func() {
			t.Helper()
			if offers, err := w.Poll(t.Context(), a.Identity, 0, 16); err != nil || len(offers) != 0 {
				t.Fatalf("offered %+v, %v", offers, err)
			}
		}
		ids := map[api.InstructionID]bool{}
		for try, status := range []api.InstructionStatus{api.Failed, api.TimedOut, api.Completed} {
			i := w.takes(a)
			w.claims(a, i)
			if err := w.reports(a, i, status); err != nil {
				t.Fatal(err)
			}
			ids[i.ID] = true
			if try == 2 {
				break
			}
			nothing()
			pause := time.Duration(10<<try) * time.Second
			time.Sleep(pause - time.Second)
			nothing()
			time.Sleep(2 * time.Second)
		}
		runs := w.runsAre("completed")
		if len(ids) != 3 {
			t.Errorf("%d instructions for three tries", len(ids))
		}
		if h := w.history(runs[0].ID); strings.Count(h, "step_retry") != 2 {
			t.Errorf("history: %s", h)
		}
		w.read(func(r store.Reader) error {
			if at, some, err := r.NextAlarm(); err != nil || some {
				t.Errorf("an alarm is left: %v, %v", at, err)
			}
			return nil
		})
	})
}
