package engine

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// typed is an event of a type.
func typed(seq uint64, typ string) api.EventBatch {
	b := event(seq)
	b.Events[0].Type = typ
	return b
}

// open is how many windows there are.
func (w world) open() (n int) {
	w.t.Helper()
	w.read(func(r store.Reader) (err error) {
		n, err = r.WindowsOpen("simple", workflow.MaxOpen)
		return err
	})
	return n
}

// What has come counts over a restart, and makes one run that all its events lead to.
func TestCorrelationOverARestart(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
		w.apply(simple("correlate: {mode: count, count: 3, within: 10m, key: [event.data.mount]}\n", "    with: {n: '${{ size(events) }}'}\n"))
		w.sends(s, on(1, "/"), api.EventAccepted)
		w.sends(s, on(2, "/var"), api.EventAccepted)
		time.Sleep(4 * time.Minute)
		w.sends(s, on(3, "/"), api.EventAccepted)
		w.runsAre()
		w = w.restart(5 * time.Minute)
		w.sends(s, on(4, "/"), api.EventAccepted)
		runs := w.runsAre("running")
		if i := w.takes(a); string(i.InputData["n"]) != "3" {
			t.Errorf("input %s", i.InputData)
		}
		for _, id := range []api.EventID{"E1", "E3", "E4"} {
			w.read(func(r store.Reader) error {
				all, err := r.Evaluations(id)
				if err != nil || len(all) != 1 || all[0].Run != runs[0].ID {
					t.Errorf("%s: %+v, %v", id, all, err)
				}
				return nil
			})
		}
		if got := w.evaluation("E3").Reason; !strings.HasPrefix(got, "correlate 3 events within 10m0s: 2 of 3, until ") {
			t.Errorf("the second: %q", got)
		}
		time.Sleep(11 * time.Minute)
		if n := w.open(); n != 0 {
			t.Errorf("%d windows are open when their time is over", n)
		}
	})
}

// What does not come starts a run at its time, also when the server was away then.
func TestAbsenceOverARestart(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		w.apply("name: simple\ntriggers: [{event: begun}, {event: done}]\ncorrelate: {mode: absent, within: 10m, key: [event.agent.id]}\nactions: [{plugin: actor}]\n")
		w.sends(s, typed(1, "begun"), api.EventAccepted)
		time.Sleep(9 * time.Minute)
		w.sends(s, typed(2, "done"), api.EventAccepted)
		time.Sleep(10 * time.Minute)
		w.runsAre()
		w.sends(s, typed(3, "begun"), api.EventAccepted)
		time.Sleep(9 * time.Minute)
		w.runsAre()
		w = w.restart(time.Hour)
		time.Sleep(time.Second)
		runs := w.runsAre("running")
		if e := w.evaluation("E3"); !e.Run || runs[0].EventID != "E3" {
			t.Errorf("evaluation %+v, run of %s", e, runs[0].EventID)
		}
		w.sends(s, typed(4, "done"), api.EventAccepted) // too late
		if got := w.evaluation("E4").Reason; !strings.HasSuffix(got, "it came, and was not waited for") {
			t.Errorf("what came too late: %q", got)
		}
		w.runsAre("running")
	})
}

// A window whose time is over is closed before the next event is looked at, whether the
// reaper was there or not.
func TestAWindowIsOverAtItsTime(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		w.apply(simple("throttle: {collect: {count: 5, within: 10m}}\n", ""))
		w.sends(s, event(1), api.EventAccepted)
		w.sends(s, event(2), api.EventAccepted)
		w.runsAre()
		err := w.update(t.Context(), "default", func(tx *tx) error {
			tx.now = tx.now.Add(10 * time.Minute)
			return tx.takeEvent(store.Agent{ID: "s"}, epoch, event(3).Events[0], &api.EventOutcome{})
		})
		if err != nil {
			t.Fatal(err)
		}
		runs := w.runsAre("running")
		if h := w.history(runs[0].ID); !strings.HasPrefix(h, "run_started run_events") {
			t.Errorf("history %s", h)
		}
		if n := w.open(); n != 1 {
			t.Errorf("%d windows are open, want that of the third event", n)
		}
	})
}

func TestThrottle(t *testing.T) {
	for say, want := range map[string]string{
		"first_in: 10m": "E1 E4", // and nothing more within it
		"last_in: 10m":  "E3 E4",
	} {
		t.Run(say, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w world) {
				s := w.enrol(api.Sensor, "s", "h")
				w.apply(simple("throttle: {"+say+"}\n", ""))
				for seq, pause := range []time.Duration{0, 5 * time.Minute, 4 * time.Minute, 2 * time.Minute, 20 * time.Minute} {
					time.Sleep(pause)
					if seq < 4 {
						w.sends(s, event(uint64(seq+1)), api.EventAccepted)
					}
				}
				var got []string
				for _, r := range w.runsAre("running", "running") {
					got = append([]string{string(r.EventID)}, got...)
				}
				if strings.Join(got, " ") != want {
					t.Errorf("runs of %v, want %s", got, want)
				}
			})
		})
	}
}

// The keys that are open are bounded, and what is not counted is told.
func TestOpenKeysAreBounded(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		w.apply(simple("correlate: {mode: count, count: 2, within: 10m, key: [event.data.mount]}\n", ""))
		err := w.update(t.Context(), "default", func(tx *tx) error {
			for n := range workflow.MaxOpen - 1 {
				err := tx.PutWindow(store.Window{Workflow: "simple", Key: fmt.Sprint(n), Closes: tx.now.Add(time.Hour), Doc: json.RawMessage("{}")})
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		w.sends(s, on(1, "/"), api.EventAccepted)
		w.sends(s, on(2, "/var"), api.EventAccepted)
		if n := w.open(); n != workflow.MaxOpen {
			t.Errorf("%d windows are open", n)
		}
		if got := w.evaluation("E2").Reason; !strings.Contains(got, "10000 keys are open, which is the most") {
			t.Errorf("the one too many: %q", got)
		}
		w.sends(s, on(3, "/"), api.EventAccepted) // what is open goes on
		w.runsAre("running")
	})
}

// A workflow that is applied again goes on with what has come, unless it gathers otherwise.
func TestWindowsOverVersions(t *testing.T) {
	for say, runs := range map[string]int{"count: 2, within: 10m": 1, "count: 2, within: 9m": 0} {
		inWorld(t, func(t *testing.T, w world) {
			s := w.enrol(api.Sensor, "s", "h")
			w.apply(simple("correlate: {mode: count, key: [], count: 2, within: 10m}\n", ""))
			w.sends(s, event(1), api.EventAccepted)
			w.apply(simple("correlate: {mode: count, key: [], "+say+"}\ncooldown: 1s\n", ""))
			w.sends(s, event(2), api.EventAccepted)
			w.runsAre([]string{"running"}[:runs]...)
		})
	}
}
