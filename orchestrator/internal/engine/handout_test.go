package engine

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// The transition that decides offers to who waits and can take it: that costs no look at the
// store and no second transaction.
func TestWhoWaitsIsOfferedWithTheDecision(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a, b := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h"), w.enrol(api.Action, "b", "i")
		w.apply(simple("", ""))
		got := make(chan agentWork, 2)
		w.asks(b, got) // on another host
		w.asks(a, got)
		w.sends(s, event(1), api.EventAccepted)
		looks := w.reads.Load()
		work := <-got
		if work.Agent != "a" || w.reads.Load() != looks {
			t.Errorf("agent %s has it, after %d looks", work.Agent, w.reads.Load()-looks)
		}
		w.read(func(r store.Reader) error {
			i, err := r.Instruction(work.ID)
			if i.Status != api.Offered || i.Agent != "a" || i.Lease != work.Lease {
				t.Errorf("the store has it as %s of %q", i.Status, i.Agent)
			}
			return err
		})
		w.claims(work.agent, work.Instruction)
	})
}

// An offer does not wait for the disk. What comes to nothing after all nobody can claim.
func TestAnOfferGoesOutBeforeItIsDurable(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
		w.apply(simple("", ""))
		got := make(chan agentWork, 1)
		w.asks(a, got)
		lost := errors.New("the disk is gone")
		var early agentWork
		w.committing = func() error {
			select {
			case early = <-got:
			case <-time.After(time.Second):
				t.Error("nothing was offered before the commit")
			}
			return lost
		}
		if _, err := w.Events(t.Context(), s.Identity, event(1)); !errors.Is(err, lost) {
			t.Fatalf("the event whose transaction was undone: %v", err)
		}
		claim := api.Progress{Status: api.Executing, Attempt: early.Attempt, Lease: early.Lease, BootID: "b"}
		if _, err := w.Progress(t.Context(), a.Identity, early.ID, claim); api.CodeOf(err) != api.CodeNotFound {
			t.Errorf("the claim of what was undone: %v", err)
		}
		w.sends(s, event(1), api.EventAccepted)
		again := w.takes(a)
		if again.ID == early.ID {
			t.Error("what was undone has the name of what was not")
		}
		w.claims(a, again)
	})
}

// What a transition offered that came to nothing before its end was never offered; who was asked
// waits on.
func TestATransitionThatIsUndoneHandsOverNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
		w.apply(simple("", ""))
		w.sends(s, event(1), api.EventAccepted)
		first := w.takes(a)
		got := make(chan agentWork, 2)
		w.asks(a, got)
		time.Sleep(leaseTTL - time.Second) // nobody claims the first
		undone := errors.New("undone")
		err := w.update(t.Context(), "default", func(t *tx) error {
			i, err := t.Instruction(first.ID)
			if err != nil {
				return err
			}
			t.now = i.LeaseUntil
			if _, err = t.step(i, instruction.Tick{Now: t.now}); err != nil {
				return err
			}
			if err := t.handOut(); err != nil || len(t.handed) != 1 {
				return errors.Join(err, errors.New("nobody was asked"))
			}
			return undone
		})
		synctest.Wait()
		if !errors.Is(err, undone) || len(got) != 0 {
			t.Errorf("the transition: %v; %d offers", err, len(got))
		}
		w.sends(s, event(2), api.EventAccepted)
		if work := <-got; work.ID == first.ID {
			t.Error("what was undone was offered")
		}
	})
}

// A poll whose time ends while a transition holds an offer for it takes that along.
func TestAnOfferThatIsUnderWayIsAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &poll{woken: make(chan struct{}, 1), handed: make(chan []api.Instruction, 1)}
		got := make(chan int)
		go func() {
			offers, over := p.await(t.Context(), time.NewTimer(time.Second))
			if !over {
				t.Error("it is not over")
			}
			got <- len(offers)
		}()
		synctest.Wait()
		if !p.asked.CompareAndSwap(false, true) {
			t.Fatal("who waits cannot be asked")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		p.handed <- []api.Instruction{{}}
		if n := <-got; n != 1 {
			t.Errorf("%d offers", n)
		}
		if p.asked.CompareAndSwap(false, true) {
			t.Error("who has gone can be asked")
		}
	})
}
