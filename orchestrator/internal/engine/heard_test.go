package engine

import (
	"sync"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// An agent that only waits calls when the longest poll is over: it is never lost nor shown as
// silent, and the store is written to every ten minutes at most.
func TestAgentThatOnlyPollsIsHeard(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		a := w.enrol(api.Action, "a1", "h1")
		w.apply(onConditions)
		if _, err := w.Heartbeat(t.Context(), a.Identity, api.Heartbeat{Status: StatusOnline}); err != nil {
			t.Fatal(err)
		}
		stored := func() (at time.Time) {
			w.read(func(r store.Reader) error {
				rec, err := r.Agent("a1")
				at = rec.LastSeen
				return err
			})
			return at
		}
		const wait = SilentAfter - 40*time.Second
		writes, last := 0, stored()
		began := w.now()
		call := func() {
			_, _, release, err := w.Admit(t.Context(), a.cert)
			if err != nil {
				t.Fatal(err)
			}
			release()
		}
		for w.now().Sub(began) < time.Hour {
			call()
			time.Sleep(seenResolution) // the poll that is not noted
			call()
			time.Sleep(wait - time.Second)
			if states := w.agentStates(t.Context()); states["connected"] != 1 {
				t.Fatalf("after %s: %v, want it connected", w.now().Sub(began), states)
			}
			if at := stored(); !at.Equal(last) {
				writes, last = writes+1, at
			}
			time.Sleep(time.Second)
		}
		if got := w.told(); got != "" {
			t.Errorf("told was %q of an agent that polls", got)
		}
		if writes < 3 || writes > 6 {
			t.Errorf("written %d times in an hour, want about every ten minutes", writes)
		}
		time.Sleep(SilentAfter)
		if states := w.agentStates(t.Context()); states["silent"] != 1 {
			t.Errorf("%s after its last poll: %v, want it silent", SilentAfter, states)
		}
		time.Sleep(2 * lookEvery)
		if got, want := w.told(), "lost a1"; got != want {
			t.Errorf("told was %q, want %q", got, want)
		}
	})
}

// What is not written is told to transitions as well, which write it with what else they change;
// and at its end the server writes it.
func TestWhatIsHeardIsNotLost(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		a := w.enrol(api.Action, "a1", "h1")
		call := func() time.Time {
			time.Sleep(2 * seenResolution)
			_, _, release, err := w.Admit(t.Context(), a.cert)
			if err != nil {
				t.Fatal(err)
			}
			release()
			return time.Now()
		}
		called := call()
		err := w.update(t.Context(), "default", func(tx *tx) error {
			rec, err := tx.Agent("a1")
			if err != nil {
				return err
			}
			if !rec.LastSeen.Equal(called) {
				t.Errorf("a transition is told %v, want %v", rec.LastSeen, called)
			}
			return tx.PutAgent(rec)
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(w.heard.of) != 0 {
			t.Errorf("%v waits to be written, and was", w.heard.of)
		}
		called = call()
		w = w.restart(time.Second)
		w.read(func(r store.Reader) error {
			rec, err := r.Agent("a1")
			if !rec.LastSeen.Equal(called) {
				t.Errorf("after a restart it was seen at %v, want %v", rec.LastSeen, called)
			}
			return err
		})
	})
}

// A poll is held for as long as its agent says something on its connection, which is shown as
// connected meanwhile. It ends, and the agent is shown as silent, no later after its last word than
// where nobody knows of the connection.
func TestAPollIsHeldWhileItsAgentIsHeard(t *testing.T) {
	const wait, pings = 10 * time.Minute, 50 * time.Second
	for name, c := range map[string]struct {
		told bool
		dies time.Duration // after the poll began; 0: never
		held time.Duration
	}{
		"nobody knows":       {false, 0, HeardWithin},
		"it lives":           {true, 0, wait},
		"it dies soon":       {true, pings + time.Second, pings + HeardWithin},
		"it dies later":      {true, 7*pings + time.Second, 7*pings + HeardWithin},
		"it dies at the end": {true, 11*pings + time.Second, wait},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w world) {
				a := w.enrol(api.Action, "a1", "h1")
				if _, err := w.Heartbeat(t.Context(), a.Identity, api.Heartbeat{Status: StatusOnline}); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				word := func() time.Duration { // after the poll began, of the last
					age := time.Since(began)
					if c.dies > 0 {
						age = min(age, c.dies)
					}
					return age.Truncate(pings)
				}
				var silence func() time.Duration
				if c.told {
					silence = func() time.Duration { return time.Since(began) - word() }
				}
				ended := make(chan time.Duration, 1)
				go func() {
					p, err := w.BeginPoll(t.Context(), a.Identity, wait, 1, "", silence)
					if err != nil {
						t.Error(err)
						return
					}
					defer p.End()
					for {
						if over, err := p.Look(t.Context()); over || err != nil {
							ended <- time.Since(began)
							return
						}
						p.Await(t.Context())
					}
				}()
				for {
					time.Sleep(seenPause)
					if states := w.agentStates(t.Context()); c.told && time.Since(began)-word() < SilentAfter && states["connected"] != 1 {
						t.Fatalf("%s after its poll began, %s after its last word: %v, want it connected", time.Since(began), time.Since(began)-word(), states)
					}
					select {
					case held := <-ended:
						if held != c.held {
							t.Errorf("held for %s, want %s", held, c.held)
						}
						if c.dies > 0 {
							time.Sleep(time.Until(began.Add(word() + SilentAfter + time.Second)))
							if states := w.agentStates(t.Context()); states["silent"] != 1 {
								t.Errorf("%s after its last word: %v, want it silent", time.Since(began)-word(), states)
							}
						}
						return
					default:
					}
				}
			})
		})
	}
}

// Long polls end together, at most a second early; short ones when they are to.
func TestLongPollsEndTogether(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		a := w.enrol(api.Action, "a1", "h1")
		hold := func(wait time.Duration) (held time.Duration, ended time.Time) {
			began := time.Now()
			if offers, err := w.Poll(t.Context(), a.Identity, wait, 1); err != nil || len(offers) > 0 {
				t.Errorf("%d offers, %v", len(offers), err)
			}
			return time.Since(began), time.Now()
		}
		if held, _ := hold(1500 * time.Millisecond); held != 1500*time.Millisecond {
			t.Errorf("a poll of 1.5 s was held for %s", held)
		}
		known, _, err := w.Assignments(t.Context(), a.Identity, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second / 3)
		if _, changed, err := w.Assignments(t.Context(), a.Identity, known.Version, time.Minute); changed || err != nil || time.Now().Nanosecond() != 0 {
			t.Errorf("a call for packages ended at %s, changed %v, %v", time.Now(), changed, err)
		}
		const polls, apart, wait = 10, 170 * time.Millisecond, time.Minute
		var group sync.WaitGroup
		var mu sync.Mutex
		ends := map[time.Time]int{}
		for range polls {
			group.Go(func() {
				held, ended := hold(wait)
				if held > wait || held <= wait-tick {
					t.Errorf("a poll of %s was held for %s", wait, held)
				}
				mu.Lock()
				defer mu.Unlock()
				ends[ended.Round(0)]++
			})
			time.Sleep(apart)
		}
		group.Wait()
		if most := int(polls*apart/tick) + 2; len(ends) > most {
			t.Errorf("%d polls that began within %s ended at %d moments, want %d at most: %v", polls, polls*apart, len(ends), most, ends)
		}
	})
}

// TestOneLookIsEnoughForAll: where nothing waits or runs for anybody, one agent's look at the store
// spares the others theirs, until something comes.
func TestOneLookIsEnoughForAll(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a, b := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h"), w.enrol(api.Action, "b", "h")
		w.apply(simple("", ""))
		looks := func(what string, x agent, want bool) {
			t.Helper()
			if _, err := w.agent(t.Context(), x.Identity); err != nil { // its record is read once
				t.Fatal(err)
			}
			before := w.reads.Load()
			if offers, err := w.Poll(t.Context(), x.Identity, 0, 1); err != nil || len(offers) > 0 {
				t.Fatalf("%s: %d offers, %v", what, len(offers), err)
			}
			if got := w.reads.Load() > before; got != want {
				t.Errorf("%s: agent %s looked: %v, want %v", what, x.Agent, got, want)
			}
		}
		looks("the first", a, true)
		looks("another one", b, false)
		w.sends(s, event(1), api.EventAccepted)
		i := w.takes(a)
		w.claims(a, i)
		looks("while something runs", b, true)
		looks("which had nothing and found nothing", b, false)
		looks("the one that has it, by whose polls its load is known", a, true)
		w.wantCode("the result", w.reports(a, i, api.Completed), "")
		looks("when it has ended", a, true)
		looks("again", a, false)
	})
}
