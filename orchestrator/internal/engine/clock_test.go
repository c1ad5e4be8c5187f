package engine

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// setClock sets the clock on the wall of the server's host by that much against the time that passes.
func (w world) setClock(by time.Duration) {
	w.clock.mu.Lock()
	defer w.clock.mu.Unlock()
	w.clock.wall = func() time.Time { return time.Now().Add(by) }
}

// What runs goes on and what waits does not expire, whatever the clock is set to; their time is
// over when it has passed.
func TestSettingTheClock(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour, 87600 * time.Hour, -87600 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w world) {
				sensor, actor := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
				w.apply(simple("limits: {expires_after: 10m}\n", ""))
				w.sends(sensor, event(1), api.EventAccepted)
				held := w.takes(actor)
				w.claims(actor, held)
				w.sends(sensor, event(2), api.EventAccepted) // that nobody comes for
				pass := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
				w.setClock(by)
				for range 9 {
					pass(time.Minute - time.Second)
					w.claims(actor, held) // renews
				}
				got := w.statuses()
				if got[held.ID] != api.Executing || got["waiting"] != api.Pending {
					t.Errorf("9 minutes after the clock was set: %v, want one that runs and one that waits", got)
				}
				if offset := time.Until(w.now()) - by; offset.Abs() > time.Second {
					t.Errorf("the clock is %v off the wall's, which was set long ago", offset)
				}
				pass(3 * time.Minute)
				if got := w.statuses(); got[held.ID] != api.Interrupted || got["waiting"] != api.Expired {
					t.Errorf("12 minutes after the clock was set: %v, want one interrupted and one expired", got)
				}
			})
		})
	}
}

// What a run has begun with counts by the time that has passed, for each step that follows,
// whatever the clock is set to and whether a server ran meanwhile.
func TestSettingTheClockUnderARun(t *testing.T) {
	for _, c := range []struct {
		by      time.Duration
		minutes int
		want    api.InstructionStatus
	}{{time.Hour, 8, api.Pending}, {87600 * time.Hour, 12, api.Expired}, {-time.Hour, 12, api.Expired}} {
		t.Run(c.by.String(), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w world) {
				sensor, actor := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
				w.apply(inTurn)
				w.sends(sensor, event(1), api.EventAccepted)
				w.setClock(c.by)
				w.passes(actor, c.minutes)
				if got := w.second(); got != c.want {
					t.Errorf("%d minutes after the run began its second step is %q, want %q", c.minutes, got, c.want)
				}
			})
		})
	}
}

// Nor does a run that was made before the clock was set back have years for its next step.
func TestStartingInThePastOfARun(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		sensor, actor := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
		w.apply(inTurn)
		w.setClock(87600 * time.Hour)
		time.Sleep(2 * time.Minute)
		w.sends(sensor, event(1), api.EventAccepted)
		w = w.restart(0)
		w.passes(actor, 12)
		if got := w.second(); got != api.Expired {
			t.Errorf("12 minutes after a start ten years earlier its second step is %q, want expired", got)
		}
	})
}

// inTurn is a workflow of two steps, of which the second needs the first.
const inTurn = "name: simple\ntriggers: [{event: test}]\nlimits: {expires_after: 10m}\nactions:\n" +
	"  - {id: first, plugin: actor, timeout: 20m}\n  - {id: second, needs: [first], plugin: actor}\n"

// passes has an agent take what there is, work on it for that many minutes, and complete it.
func (w world) passes(actor agent, minutes int) {
	w.t.Helper()
	i := w.takes(actor)
	w.claims(actor, i)
	for range minutes {
		time.Sleep(time.Minute - time.Second)
		synctest.Wait()
		w.claims(actor, i) // renews
	}
	if err := w.reports(actor, i, api.Completed); err != nil {
		w.t.Fatal(err)
	}
}

// second is where the second step of the only run stands.
func (w world) second() (status api.InstructionStatus) {
	w.t.Helper()
	w.read(func(r store.Reader) error {
		runs, err := r.Runs(store.RunQuery{})
		if err != nil || len(runs) != 1 {
			w.t.Fatalf("%d runs, %v", len(runs), err)
		}
		state, err := StateOf(runs[0])
		status = api.InstructionStatus(state.Steps["second"].Status)
		if status == api.InstructionStatus(workflow.StepDispatched) {
			status = api.Pending
		}
		return err
	})
	return status
}

// A server that begins with a clock that was set back keeps nobody waiting for years.
func TestStartingInThePast(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		sensor, actor := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
		w.apply(simple("limits: {expires_after: 10m}\n", ""))
		w.setClock(87600 * time.Hour)
		time.Sleep(2 * time.Minute)
		w.sends(sensor, event(1), api.EventAccepted)
		held := w.takes(actor)
		w.claims(actor, held)
		w.sends(sensor, event(2), api.EventAccepted)
		w = w.restart(0)
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		if got := w.statuses(); got[held.ID] != api.Interrupted || got["waiting"] != api.Expired {
			t.Errorf("11 minutes after a start ten years earlier: %v, want one interrupted and one expired", got)
		}
	})
}

// A clock that was set back takes nothing of the life of what was made before, however often the
// server starts after it was followed.
func TestStartingAfterTheClockWasFollowed(t *testing.T) {
	for _, by := range []time.Duration{5 * time.Minute, 24 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w world) {
				sensor := w.enrol(api.Sensor, "s", "h")
				w.apply(simple("limits: {expires_after: 10m}\n", ""))
				w.setClock(by)
				time.Sleep(2 * time.Minute)
				w.sends(sensor, event(1), api.EventAccepted)
				w.setClock(0)
				time.Sleep(2 * time.Minute)
				for range 3 {
					w = w.restart(0)
					w.comesTo(2*time.Minute, api.Pending)
				}
				w.comesTo(3*time.Minute, api.Expired)
			})
		})
	}
}

// A clock that was set is noticed though nobody asks the time, so that a server which ends soon
// after it has told the next one.
func TestEndingAfterTheClockWasSet(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, 87600 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w world) {
				sensor := w.enrol(api.Sensor, "s", "h")
				w.apply(simple("limits: {expires_after: 10m}\n", ""))
				w.sends(sensor, event(1), api.EventAccepted)
				time.Sleep(time.Minute + 10*time.Second)
				w.setClock(by)
				time.Sleep(6 * time.Second)
				w = w.restart(by)
				w.comesTo(8*time.Minute, api.Pending)
				w.comesTo(2*time.Minute, api.Expired)
			})
		})
	}
}

// comesTo lets time pass, after which what nobody was offered is to have a status.
func (w world) comesTo(d time.Duration, want api.InstructionStatus) {
	w.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	if got := w.statuses()["waiting"]; got != want {
		w.t.Errorf("after another %v it is %s, want %s", d, got, want)
	}
}

// statuses are those of all instructions; that of the one which nobody was offered is "waiting".
func (w world) statuses() map[api.InstructionID]api.InstructionStatus {
	w.t.Helper()
	out := map[api.InstructionID]api.InstructionStatus{}
	err := w.View(w.t.Context(), "default", func(r store.Reader) error {
		runs, err := r.Runs(store.RunQuery{})
		for _, run := range runs {
			all, failure := r.RunInstructions(run.ID)
			if err = failure; err != nil {
				return err
			}
			for _, i := range all {
				if i.OfferedAt.IsZero() {
					i.ID = "waiting"
				}
				out[i.ID] = i.Status
			}
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}
