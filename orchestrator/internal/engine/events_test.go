package engine

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// long is a batch of five events.
func long() api.EventBatch {
	b := event(1)
	for seq := range uint64(4) {
		b.Events = append(b.Events, event(seq+2).Events...)
	}
	return b
}

// outcomes sends a batch and wants all of it acknowledged.
func (w world) outcomes(id pki.Identity, b api.EventBatch) (statuses []string) {
	w.t.Helper()
	answer, err := w.Events(w.t.Context(), id, b)
	if err != nil || answer.AckedThrough != 5 {
		w.t.Fatalf("events = %+v, %v, want all five acknowledged", answer, err)
	}
	for n, o := range answer.Events {
		if o.Seq != b.Events[n].Seq {
			w.t.Errorf("outcome %d is of event %d", n, o.Seq)
		}
		statuses = append(statuses, o.Status)
	}
	return statuses
}

// A batch that takes long lets others in between its events.
func TestALongBatchLetsOthersIn(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		w.apply(simple("", ""))
		w.adding = func(store.Event) { time.Sleep(eventsTogether / 2) }
		before := w.writes.Load()
		got := w.outcomes(s.Identity, long())
		if n := w.writes.Load() - before; n != 3 {
			t.Errorf("%d transactions, want 3", n)
		}
		if want := slices.Repeat([]string{api.EventAccepted}, 5); !slices.Equal(got, want) {
			t.Errorf("outcomes %v, want %v", got, want)
		}
		if n := len(w.runsAre("running", "running", "running", "running", "running")); n != 5 {
			t.Errorf("%d runs", n)
		}
	})
}

// Of a batch that ended in between what was committed stays, and its repetition makes up for the
// rest alone.
func TestTheRestOfALongBatchComesAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		w.apply(simple("", ""))
		w.adding = func(e store.Event) {
			time.Sleep(eventsTogether)
			if e.Seq == 3 {
				w.committing = func() error { return errors.New("the power went") }
			}
		}
		if answer, err := w.Events(t.Context(), s.Identity, long()); err == nil || answer.AckedThrough != 0 {
			t.Fatalf("events = %+v, %v", answer, err)
		}
		w.runsAre("running", "running")
		w.adding = nil
		got := w.outcomes(s.Identity, long())
		if want := []string{api.EventDuplicate, api.EventDuplicate, api.EventAccepted, api.EventAccepted, api.EventAccepted}; !slices.Equal(got, want) {
			t.Errorf("outcomes %v, want %v", got, want)
		}
		w.runsAre("running", "running", "running", "running", "running")
	})
}

// An agent that invents streams does not fill the database with them; what it has goes on meanwhile.
func TestStreamsThatAnAgentBegins(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, other := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Sensor, "other", "h")
		n := uint64(0)
		begins := func() api.EventBatch {
			n++
			b := event(1)
			b.Stream.Epoch, b.Events[0].ID = fmt.Sprintf("invented-%d", n), api.EventID(fmt.Sprintf("I%d", n))
			return b
		}
		for range streamsAtOnce {
			w.sends(s, begins(), api.EventAccepted)
		}
		_, err := w.Events(t.Context(), s.Identity, begins())
		w.wantCode("one stream more", err, api.CodeRateLimited)
		wait := api.RetryAfter(err)
		if wait <= 0 || wait > streamEach+time.Second {
			t.Errorf("it is to come again after %v", wait)
		}
		goesOn := event(2)
		goesOn.Stream.Epoch = "invented-1"
		w.sends(s, goesOn, api.EventAccepted)
		w.sends(other, event(1), api.EventAccepted)
		time.Sleep(wait)
		w.sends(s, begins(), api.EventAccepted)
		_, err = w.Events(t.Context(), s.Identity, begins())
		w.wantCode("and the next at once", err, api.CodeRateLimited)
	})
}

// Of what has no numbers no stream is kept, and none is counted.
func TestEventsWithoutNumbersBeginNoStream(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		w.adding = func(store.Event) {}
		for n := range 2 * streamsAtOnce {
			b := event(0)
			b.Stream.Epoch, b.Events[0].ID = fmt.Sprintf("plain-%d", n), api.EventID(fmt.Sprintf("P%d", n))
			w.sends(s, b, api.EventAccepted)
		}
		if n := w.kept.Load(); n != 0 {
			t.Errorf("%d streams were kept", n)
		}
		w.sends(s, event(1), api.EventAccepted)
		if n := w.kept.Load(); n != 1 {
			t.Errorf("%d streams were kept of one with a number", n)
		}
	})
}
