package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// times are when runs started, the oldest first.
func (w world) times() string {
	w.t.Helper()
	var out []string
	w.read(func(r store.Reader) error {
		runs, err := r.Runs(store.RunQuery{})
		for _, run := range runs {
			out = append([]string{run.CreatedAt.UTC().Format("02T15:04")}, out...)
		}
		return err
	})
	return strings.Join(out, " ")
}

// A schedule starts a run at each of its times, once; what was missed while the server was
// away is made up for once, or left out.
func TestSchedulesOverARestart(t *testing.T) {
	for missed, want := range map[string]string{
		"skip":     "01T03:00 02T03:00 06T03:00",
		"run_once": "01T03:00 02T03:00 05T12:00 06T03:00",
	} {
		t.Run(missed, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w world) { // the clock begins at midnight of the first
				w.apply("name: simple\ntriggers: [{schedule: '0 3 * * *', missed: " + missed + "}]\nactions: [{plugin: actor, agents: {ids: [a]}}]\n")
				time.Sleep(26*time.Hour + 59*time.Minute)
				w = w.restart(2 * time.Minute) // a start of the server is no reason to miss one
				time.Sleep(8*time.Hour + 59*time.Minute)
				w = w.restart(72 * time.Hour)
				time.Sleep(24 * time.Hour)
				if got := w.times(); strings.ReplaceAll(got, "02T03:01", "02T03:00") != want {
					t.Errorf("runs at %s, want %s", got, want)
				}
			})
		})
	}
}

// A schedule that two looks have found due starts one run.
func TestAScheduleThatIsFoundTwice(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		w.apply("name: simple\ntriggers: [{schedule: '0 3 * * *'}]\nactions: [{plugin: actor, agents: {ids: [a]}}]\n")
		err := w.update(t.Context(), "default", func(tx *tx) error {
			tx.now = tx.now.Add(3 * time.Hour)
			found, err := tx.DueSchedules(tx.now, 2)
			if err != nil || len(found) != 1 {
				t.Errorf("due: %+v, %v", found, err)
				return err
			}
			return errors.Join(tx.runSchedule(found[0]), tx.runSchedule(found[0]))
		})
		if err != nil {
			t.Fatal(err)
		}
		w.runsAre("running")
	})
}

// A run by hand is decided on like any other, and explains itself.
func TestStartingByHand(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		a := w.enrol(api.Action, "a", "h")
		w.apply("name: simple\ntriggers: [{manual: {inputs: {mount: {required: true}}}}]\ncooldown: 1h\nactions: [{plugin: actor, agents: {ids: [a]}, with: {m: '${{ inputs.mount }}'}}]\n")
		e, err := w.Start(t.Context(), "default", "simple", map[string]string{"mount": "/x"}, "ann")
		if err != nil || e.Run == "" {
			t.Fatalf("%+v, %v", e, err)
		}
		if i := w.takes(a); string(i.InputData["m"]) != `"/x"` || i.Context.EventID != e.Event {
			t.Errorf("takes %+v", i)
		}
		if got := w.evaluation(e.Event); !got.Run {
			t.Errorf("evaluation %+v", got)
		}
		e, err = w.Start(t.Context(), "default", "simple", map[string]string{"mount": "/y"}, "ann")
		if err != nil || e.Run != "" || w.evaluation(e.Event).Reason != "cooldown, 1h0m0s left" {
			t.Errorf("within the cooldown: %+v, %v", e, err)
		}
		_, err = w.Start(t.Context(), "default", "simple", nil, "ann")
		w.wantCode("without an input", err, api.CodeInvalid)
		_, err = w.Start(t.Context(), "default", "simple", nil, "")
		w.wantCode("by nobody", err, api.CodeInvalid)
		if _, err = w.Start(t.Context(), "default", "none", nil, "ann"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("what is not there: %v", err)
		}
	})
}

// Workflows start one another when they have ended, on the host where it began, and not for
// ever.
func TestWorkflowsInARow(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		w.apply("name: first\ntriggers: [{event: test}]\nactions: [{plugin: actor, when: false}]\n")
		w.apply("name: second\ntriggers: [{workflow: first, on: [completed]}]\nactions: [{plugin: actor}]\n")
		w.apply("name: other\ntriggers: [{workflow: first, on: [failed]}]\nactions: [{plugin: actor}]\n")
		w.sends(s, event(1), api.EventAccepted)
		a := w.enrol(api.Action, "a", "h")
		if i := w.takes(a); i.Context.Workflow != "second" {
			t.Errorf("takes %+v", i)
		}
		w.wantStates("completed running")
	})
	inWorld(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		w.apply("name: ping\ntriggers: [{event: test}, {workflow: pong}]\nactions: [{plugin: actor, when: false}]\n")
		w.apply("name: pong\ntriggers: [{workflow: ping}]\nactions: [{plugin: actor, when: false}]\n")
		w.sends(s, event(1), api.EventAccepted)
		runs := strings.Fields(w.states())
		if len(runs) != workflow.MaxDepth+1 {
			t.Errorf("%d runs", len(runs))
		}
		loops := 0
		w.read(func(r store.Reader) error {
			events, err := r.Events(store.EventQuery{Agent: workflow.OwnSender})
			for _, e := range events {
				all, failure := r.Evaluations(e.ID)
				err = errors.Join(err, failure)
				for _, v := range all {
					if strings.Contains(string(v.Decision), fmt.Sprintf("loop: %d workflows have started one another", workflow.MaxDepth+1)) {
						loops++
					}
				}
			}
			return err
		})
		if loops != 1 {
			t.Errorf("%d evaluations tell of the loop", loops)
		}
	})
}

// Both packages mean the same, and no agent can be enrolled under the name.
func TestOwnSender(t *testing.T) {
	if store.OwnSender != workflow.OwnSender || store.OwnSender.Validate() == nil {
		t.Errorf("%s and %s", store.OwnSender, workflow.OwnSender)
	}
}

// Schedules follow the text that is in effect.
func TestSchedulesFollowTheText(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		count := func() (n int) {
			t.Helper()
			w.read(func(r store.Reader) error {
				all, err := r.Schedules("simple")
				n = len(all)
				return err
			})
			return n
		}
		text := func(trigger, more string) string {
			return "name: simple\ntriggers: [" + trigger + "]\nactions: [{plugin: actor, agents: {ids: [a]}}]\n" + more
		}
		w.apply(text("{schedule: '0 3 * * *'}, {schedule: '0 4 * * *'}", ""))
		w.apply(text("{schedule: '0 3 * * *'}", ""))
		if n := count(); n != 1 {
			t.Errorf("%d schedules", n)
		}
		w.apply(text("{schedule: '0 3 * * *'}", "mode: off\n"))
		time.Sleep(24 * time.Hour)
		w.runsAre()
		w.apply(text("{schedule: '0 3 * * *'}", "cooldown: 1s\n"))
		if err := w.Delete(t.Context(), "default", "simple"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		w.runsAre()
		if n := count(); n != 0 {
			t.Errorf("%d schedules of what is deleted", n)
		}
	})
}

// Two workflows that start one another in a row are a loop also where events of sensors come between
// that complete what they correlate.
func TestALoopThroughCorrelation(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		w.apply("name: ping\ntriggers: [{event: kick}, {workflow: pong}]\nactions: [{plugin: actor, when: false}]\n")
		w.apply("name: pong\ntriggers: [{workflow: ping}, {event: pulse}]\ncorrelate: {mode: all, within: 10m, key: []}\nactions: [{plugin: actor, when: false}]\n")
		w.sends(s, typed(1, "kick"), api.EventAccepted)
		for n := range uint64(2 * workflow.MaxDepth) {
			time.Sleep(time.Minute)
			w.sends(s, typed(n+2, "pulse"), api.EventAccepted)
		}
		if n := len(strings.Fields(w.states())); n != workflow.MaxDepth+1 {
			t.Errorf("%d runs in a row", n)
		}
	})
}
