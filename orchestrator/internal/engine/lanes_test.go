package engine

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// states are those of the runs, the oldest first.
func (w world) states() string {
	w.t.Helper()
	var out []string
	w.read(func(r store.Reader) error {
		runs, err := r.Runs(store.RunQuery{})
		for _, run := range runs {
			out = append([]string{run.Status}, out...)
		}
		return err
	})
	return strings.Join(out, " ")
}

func (w world) wantStates(want string) {
	w.t.Helper()
	if got := w.states(); got != want {
		w.t.Errorf("runs are %s, want %s", got, want)
	}
}

// A cure that does not help is not tried for ever: people are told, once, and it is tried
// again when the time is over.
func TestAttempts(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, other := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Sensor, "o", "h2")
		a := w.enrol(api.Action, "a", "h")
		w.apply(simple("limits: {attempts: {count: 2, per: 24h, then: escalate}}\n", "") + "outputs: [{plugin: actor, id: page, on: [escalated], with: {text: '${{ run.status }}: ${{ run.error }}'}}]\n")
		send := func(seq uint64) {
			t.Helper()
			w.sends(s, event(seq), api.EventAccepted)
			if offers, err := w.Poll(t.Context(), a.Identity, 0, 16); err != nil {
				t.Fatal(err)
			} else {
				for _, i := range offers {
					if i.Context.Step == "page" && string(i.InputData["text"]) != `"escalated: 2 attempts within 24h0m0s did not help"` {
						t.Errorf("told %s", i.InputData["text"])
					}
					w.claims(a, i)
					if err := w.reports(a, i, api.Completed); err != nil {
						t.Fatal(err)
					}
				}
			}
			time.Sleep(time.Hour)
		}
		for seq := range uint64(4) {
			send(seq + 1)
		}
		w = w.restart(time.Minute)
		send(5)
		w.wantStates("completed completed escalated")
		w.reasons(map[api.EventID]string{
			"E3": "attempts: 2 within 24h0m0s did not help: people are told instead",
			"E4": "attempts: 2 within 24h0m0s, and people were told",
			"E5": "attempts: 2 within 24h0m0s, and people were told",
		})
		w.sends(other, event(1), api.EventAccepted) // another key
		w.wantStates("completed completed escalated running")
		time.Sleep(20 * time.Hour)
		send(6) // the first was more than a day ago
		w.wantStates("completed completed escalated failed completed")
	})
}

// Where there were more runs than a limit that is new allows, people are told once and not of
// every event.
func TestAttemptsThatWereMore(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		w.apply(simple("", "    when: false\n"))
		for seq := range uint64(5) {
			w.sends(s, event(seq+1), api.EventAccepted)
		}
		w.apply(simple("limits: {attempts: {count: 2, per: 24h, then: escalate}}\n", "    when: false\n") + "outputs: [{plugin: actor, on: [escalated]}]\n")
		for seq := range uint64(3) {
			w.sends(s, event(seq+6), api.EventAccepted)
		}
		w.wantStates("completed completed completed completed completed escalated")
	})
}

func TestRunsAtATime(t *testing.T) {
	for excess, c := range map[string]struct{ three, ended, reason string }{
		"queue":   {"running queued running queued", "completed running running queued", "concurrency: 1 go on, 0 wait, at most 1: it waits"},
		"drop":    {"running running", "completed running", "concurrency: 1 go on, at most 1"},
		"replace": {"cancelled running cancelled running", "cancelled completed cancelled running", "concurrency: 1 go on, at most 1: the oldest is cancelled"},
	} {
		t.Run(excess, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w world) {
				s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
				w.apply(simple("limits: {concurrency: {max: 1, key: event.data.mount, excess: "+excess+"}}\n", ""))
				for seq, mount := range []string{"/", "/", "/var", "/var"} {
					w.sends(s, on(uint64(seq+1), mount), api.EventAccepted)
				}
				w.wantStates(c.three)
				w.reasons(map[api.EventID]string{"E1": "everything is met", "E2": c.reason})
				w = w.restart(time.Minute)
				offers, err := w.Poll(t.Context(), a.Identity, 0, 16)
				if err != nil || len(offers) != 2 {
					t.Fatalf("%d offers, %v: one of each mount goes on", len(offers), err)
				}
				w.claims(a, offers[0])
				if err := w.reports(a, offers[0], api.Completed); err != nil {
					t.Fatal(err)
				}
				w.wantStates(c.ended)
			})
		})
	}
}

// Of runs that wait the oldest begins first, one that is cancelled never, and one whose time
// is over starts nothing.
func TestRunsThatWait(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		w.apply(simple("limits: {concurrency: {max: 1}, expires_after: 90m}\n", ""))
		for seq := range uint64(4) {
			w.sends(s, event(seq+1), api.EventAccepted)
		}
		w.wantStates("running queued queued queued")
		var second api.RunID
		w.read(func(r store.Reader) error {
			runs, err := r.Runs(store.RunQuery{})
			second = runs[2].ID
			return err
		})
		if _, err := w.CancelRun(t.Context(), "default", second); err != nil {
			t.Fatal(err)
		}
		w.wantStates("running cancelled queued queued")
		time.Sleep(instruction.DefaultLifetime + 31*time.Minute) // nobody takes what the first waits for
		w.wantStates("failed cancelled failed failed")
	})
}

// What waits begins by the limit that it waits for, also when the last run before it is of a
// version without one, or is given up.
func TestRunsThatWaitOverVersions(t *testing.T) {
	for name, end := range map[string]func(w world, a agent, i api.Instruction) error{
		"reported": func(w world, a agent, i api.Instruction) error {
			w.claims(a, i)
			return w.reports(a, i, api.Completed)
		},
		"given up": func(w world, _ agent, i api.Instruction) error {
			return w.update(w.t.Context(), "default", func(tx *tx) error {
				run, err := tx.Run(i.Context.RunID)
				return errors.Join(err, tx.abandon(run, errors.New("its state cannot be read")))
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w world) {
				s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
				w.apply(simple("limits: {concurrency: {max: 1}}\n", ""))
				w.sends(s, event(1), api.EventAccepted)
				w.sends(s, event(2), api.EventAccepted)
				w.apply(simple("", ""))
				w.sends(s, event(3), api.EventAccepted)
				w.wantStates("running queued running")
				offers, err := w.Poll(t.Context(), a.Identity, 0, 16)
				if err != nil || len(offers) != 2 {
					t.Fatalf("%d offers, %v", len(offers), err)
				}
				if err := end(w, a, offers[0]); err != nil {
					t.Fatal(err)
				}
				if got := w.states(); !strings.HasSuffix(got, " queued running") {
					t.Errorf("runs are %s: the second waits for the third too", got)
				}
				if err := end(w, a, offers[1]); err != nil {
					t.Fatal(err)
				}
				if got := w.states(); strings.Fields(got)[1] != "running" {
					t.Errorf("runs are %s: nothing goes on, and the second waits", got)
				}
			})
		})
	}
}

// A run that is cancelled and has not ended makes place for another: nothing else need be.
func TestReplacingBesideACancelledRun(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
		w.apply(simple("limits: {concurrency: {max: 2, excess: replace}}\n", ""))
		w.sends(s, event(1), api.EventAccepted)
		w.sends(s, event(2), api.EventAccepted)
		offers, err := w.Poll(t.Context(), a.Identity, 0, 16)
		if err != nil || len(offers) != 2 {
			t.Fatalf("%d offers, %v", len(offers), err)
		}
		w.claims(a, offers[1]) // so that it goes on until the agent has heard of its end
		if _, err := w.CancelRun(t.Context(), "default", offers[1].Context.RunID); err != nil {
			t.Fatal(err)
		}
		w.sends(s, event(3), api.EventAccepted)
		w.wantStates("running running running")
		w.sends(s, event(4), api.EventAccepted)
		w.wantStates("cancelled running running running")
	})
}

// At most a part of the agents is worked on at a time.
func TestTargets(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		for n := range 10 {
			host := string(rune('a' + n))
			w.enrol(api.Action, api.AgentID(host), host)
		}
		w.apply(simple("limits: {targets: {max: 25%}}\n", ""))
		for n := range 4 {
			host := string(rune('a' + n))
			s := w.enrol(api.Sensor, api.AgentID("s-"+host), host)
			b := event(1)
			b.Events[0].ID = api.EventID("E-" + host)
			w.sends(s, b, api.EventAccepted)
			if n == 0 {
				w.sends(s, event(2), api.EventAccepted) // the same host is not another one
			}
		}
		w.wantStates("running running running")
		w.reasons(map[api.EventID]string{"E-b": "everything is met", "E-c": "targets: 2 of 10 agents are worked on, at most 25%"})
	})
}

// Nothing begins in a freeze, also what waited before it began. It begins when that is over, also
// after a restart and where the one that was to be the next was cancelled.
func TestRunsThatWaitOverAFreeze(t *testing.T) {
	for name, cancels := range map[string]bool{"the next": false, "the one after it": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w world) { // from midnight on, UTC
				s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
				w.apply(simple("limits: {concurrency: {max: 1}, freeze: ['00:30 - 02:00', '02:00 - 03:00']}\n", ""))
				for seq := range uint64(3) {
					w.sends(s, event(seq+1), api.EventAccepted)
				}
				w.wantStates("running queued queued")
				time.Sleep(31 * time.Minute)
				i := w.takes(a)
				w.claims(a, i)
				if err := w.reports(a, i, api.Completed); err != nil {
					t.Fatal(err)
				}
				w.wantStates("completed queued queued")
				next := w.runsAre("queued", "queued", "completed")[1].ID
				if cancels {
					if _, err := w.CancelRun(t.Context(), "default", next); err != nil {
						t.Fatal(err)
					}
				}
				w.sends(s, event(4), api.EventAccepted)
				w.reasons(map[api.EventID]string{"E4": "frozen: 00:30 - 02:00"})
				w = w.restart(time.Minute)
				time.Sleep(2 * time.Hour) // the other freeze has begun
				if got := strings.Fields(w.states()); got[2] != "queued" {
					t.Errorf("runs are %s, and it is frozen", got)
				}
				time.Sleep(30 * time.Minute)
				if want := map[bool]string{false: "completed running queued", true: "completed cancelled running"}[cancels]; w.states() != want {
					t.Errorf("runs are %s, want %s", w.states(), want)
				}
				w.read(func(r store.Reader) error {
					h, err := r.History(next)
					if said := h[len(h)-1].Message + h[3].Message; !cancels && !strings.Contains(said, "until") {
						t.Errorf("history: %+v", h)
					}
					return err
				})
			})
		})
	}
}

// What waits when a server is restored ends and does not begin first, also where nothing but a
// freeze kept it waiting.
func TestSettlingBeginsNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
		w.apply(simple("limits: {concurrency: {max: 1}, freeze: ['00:30 - 02:00']}\n", ""))
		for seq := range uint64(3) {
			w.sends(s, event(seq+1), api.EventAccepted)
		}
		time.Sleep(31 * time.Minute)
		i := w.takes(a)
		w.claims(a, i)
		if err := w.reports(a, i, api.Completed); err != nil {
			t.Fatal(err)
		}
		runs := w.runsAre("queued", "queued", "completed")
		if err := w.update(t.Context(), "default", func(tx *tx) error { return tx.DropAlarm(store.Alarm{Run: runs[1].ID}) }); err != nil {
			t.Fatal(err) // no server runs between a backup and its being restored
		}
		time.Sleep(2 * time.Hour)
		if n, err := w.Settle(t.Context(), "default", time.Now()); n != 2 || err != nil {
			t.Errorf("%d runs end, %v, want 2", n, err)
		}
		w.wantStates("completed failed failed")
		for _, run := range runs[:2] {
			if h := w.history(run.ID); strings.Contains(h, "run_admitted") {
				t.Errorf("it began: %s", h)
			}
		}
	})
}
