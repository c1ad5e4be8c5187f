package engine

import (
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
