package delivery

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stavily/agents/shared/pkg/api"
)

// Receipt is what a batch brought: outcomes of each event, and the gaps that were not known before.
type Receipt struct {
	Outcomes []api.EventOutcome
	Gaps     []api.Gap
}

// Accept takes a batch into a stream in one go.
func Accept(s Stream, b api.EventBatch) (Stream, Receipt, *api.Error) {
	s, gaps, refusal := Begin(s, b)
	if refusal != nil {
		return s, Receipt{}, refusal
	}
	receipt := Receipt{Outcomes: make([]api.EventOutcome, len(b.Events))}
	for n, e := range b.Events {
		receipt.Outcomes[n] = s.Take(e)
	}
	receipt.Gaps = append(gaps, s.End()...)
	return s, receipt, nil
}

func event(seq uint64) api.Event {
	return api.Event{Seq: seq, ID: "id", Type: "a.b", Severity: api.Low, Timestamp: api.At(time.Unix(1, 0))}
}

func batch(seqs ...uint64) api.EventBatch {
	var b api.EventBatch
	for _, s := range seqs {
		b.Events = append(b.Events, event(s))
	}
	return b
}

// sequence is a batch of the numbers from through to.
func sequence(from, to uint64) api.EventBatch {
	var b api.EventBatch
	for s := from; s <= to; s++ {
		b.Events = append(b.Events, event(s))
	}
	return b
}

// ledger is a stream with the record of all that it answered.
type ledger struct {
	Stream
	accepted map[uint64]int
	lost     map[uint64]bool // in a gap that was returned
	skipped  bool            // one that no agent declared
}

func newLedger(through uint64) *ledger {
	return &ledger{Stream{Epoch: "e", Through: through, Tally: Tally{Before: through}}, map[uint64]int{}, map[uint64]bool{}, false}
}

// take accepts a batch and checks what must hold after any.
func (l *ledger) take(t interface{ Fatalf(string, ...any) }, b api.EventBatch) Receipt {
	before := l.Stream
	kept := slices.Clone(before.Above)
	next, receipt, refusal := Accept(before, b)
	if refusal != nil {
		t.Fatalf("Accept(%+v): %v", b, refusal)
	}
	l.Stream = next
	if n := next.Unaccounted(); n != 0 {
		t.Fatalf("%d numbers are unaccounted for in %+v", n, next)
	}
	for n, o := range receipt.Outcomes {
		if o.Status == api.EventAccepted {
			l.accepted[b.Events[n].Seq]++
		}
	}
	for _, g := range receipt.Gaps {
		skipped := g.Reason == ReasonSkipped
		l.skipped = l.skipped || skipped
		for s := g.From; s <= g.To; s++ {
			if l.lost[s] = true; skipped && l.accepted[s] > 0 {
				t.Fatalf("%d was accepted and is skipped", s)
			}
		}
	}
	floor := next.Through + 1
	for _, a := range next.Above {
		if a.From <= floor || a.To < a.From {
			t.Fatalf("the spans of %+v touch or overlap", next)
		}
		floor = a.To + 1
	}
	if next.Through < before.Through || len(next.Above) > MaxSpans || !slices.Equal(kept, before.Above) {
		t.Fatalf("from %+v to %+v", before, next)
	}
	return receipt
}

// Whatever arrives: no number is accepted twice, and none is settled without having
// been accepted or known as lost.
func TestAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const top = 60
		l := newLedger(0)
		number := rapid.Uint64Range(1, top)
		for range rapid.IntRange(1, 60).Draw(t, "batches") {
			b := batch(rapid.SliceOfN(number, 0, 6).Draw(t, "events")...)
			if rapid.IntRange(0, 4).Draw(t, "with a gap") == 0 {
				from := number.Draw(t, "from")
				b.Gaps = []api.Gap{{From: from, To: rapid.Uint64Range(from, top).Draw(t, "to"), Reason: "spool_full"}}
			}
			l.take(t, b)
			var accepted uint64
			for s := uint64(1); s <= top; s++ {
				settled := s <= l.Through || l.inSpan(s)
				accepted += uint64(l.accepted[s])
				if n := l.accepted[s]; n > 1 || settled != (n == 1 || l.lost[s]) {
					t.Fatalf("%d: settled %v, accepted %d times, lost %v\n%+v", s, settled, n, l.lost[s], l.Stream)
				}
			}
			if l.Tally.Stored != accepted {
				t.Fatalf("%d were accepted, the tally says %+v", accepted, l.Tally)
			}
		}
	})
}

// An agent with one batch in flight, over a network that loses, repeats and delays
// requests and loses answers: every event is accepted once and nothing is skipped.
func TestAgent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLedger(0)
		last := rapid.Uint64Range(1, 50).Draw(t, "events")
		var acked uint64
		var sent []api.EventBatch
		for acked < last {
			b := sequence(acked+1, min(acked+rapid.Uint64Range(1, 8).Draw(t, "size"), last))
			sent = append(sent, b)
			if rapid.IntRange(0, 2).Draw(t, "request lost") > 0 {
				l.take(t, b)
				if rapid.IntRange(0, 2).Draw(t, "answer lost") > 0 {
					acked = l.Through
				}
			}
			for range rapid.IntRange(0, 2).Draw(t, "late copies") {
				l.take(t, rapid.SampledFrom(sent).Draw(t, "copy"))
			}
		}
		for s := uint64(1); s <= last; s++ {
			if l.accepted[s] != 1 {
				t.Fatalf("%d was accepted %d times", s, l.accepted[s])
			}
		}
		if l.skipped || l.Through != last {
			t.Fatalf("skipped %v, %+v", l.skipped, l.Stream)
		}
	})
}

// Many batches in flight at once that overtake each other.
func TestReordered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var batches []api.EventBatch
		var last uint64
		for range rapid.IntRange(1, MaxSpans).Draw(t, "batches") {
			from := last + 1
			last += rapid.Uint64Range(1, 5).Draw(t, "size")
			if rapid.IntRange(0, 3).Draw(t, "lost") == 0 {
				batches = append(batches, api.EventBatch{Gaps: []api.Gap{{From: from, To: last}}})
			} else {
				batches = append(batches, sequence(from, last))
			}
		}
		l := newLedger(0)
		for _, b := range rapid.Permutation(batches).Draw(t, "order") {
			l.take(t, b)
		}
		if l.skipped || l.Through != last || len(l.Above) > 0 {
			t.Fatalf("skipped %v, %+v", l.skipped, l.Stream)
		}
	})
}

// The agent is ahead of a database that was restored or made anew. Repeating its
// batch, as it does when nothing is acknowledged, takes it on, and the loss is known.
func TestRestoredDatabase(t *testing.T) {
	gap := api.Gap{From: 60, To: 69, Count: 10, Reason: "corrupt"}
	for name, b := range map[string]api.EventBatch{
		"events": sequence(60, 69),
		"a gap":  {Gaps: []api.Gap{gap}},
	} {
		l := newLedger(10)
		if l.take(t, b); l.Through != 10 {
			t.Errorf("%s: the first time settles through %d, want 10: what is missing may be under way", name, l.Through)
		}
		receipt := l.take(t, b)
		if want := []api.Gap{{From: 11, To: 59, Count: 49, Reason: ReasonSkipped}}; !cmp.Equal(receipt.Gaps, want) || l.Through != 69 {
			t.Errorf("%s: the second time settles through %d with gaps %+v, want 69 and %+v", name, l.Through, receipt.Gaps, want)
		}
		if again := l.take(t, b); len(again.Gaps) > 0 {
			t.Errorf("%s: the third time reports %+v again", name, again.Gaps)
		}
	}
}

// Every second number, for longer than there is room to wait for the others.
func TestTooManyHoles(t *testing.T) {
	l := newLedger(0)
	for s := uint64(2); s <= 2*MaxSpans; s += 2 {
		l.take(t, batch(s))
	}
	if l.Through != 0 || l.skipped {
		t.Fatalf("skipped before it had to: %+v", l.Stream)
	}
	receipt := l.take(t, batch(2*MaxSpans+2))
	if want := []api.Gap{{From: 1, To: 1, Count: 1, Reason: ReasonSkipped}}; l.Through != 2 || !cmp.Equal(receipt.Gaps, want) {
		t.Errorf("through %d, gaps %+v; want 2, %+v", l.Through, receipt.Gaps, want)
	}
}

// TestGapsAreJoined where one says exactly what two do.
func TestGapsAreJoined(t *testing.T) {
	l := newLedger(0)
	r := l.take(t, api.EventBatch{Gaps: []api.Gap{
		{From: 1, To: 1, Count: 1, Reason: "refused"}, {From: 2, To: 2, Count: 1, Reason: "refused"}, {From: 3, To: 5, Count: 3, Reason: "refused"},
		{From: 6, To: 6, Count: 1, Reason: "corrupt"},                                                   // for another reason
		{From: 8, To: 8, Count: 1, Reason: "corrupt"},                                                   // not next to it
		{From: 9, To: 10, Count: 1, Reason: "corrupt"}, {From: 11, To: 11, Count: 1, Reason: "corrupt"}, // which one is lost nobody says
		{From: 12, To: 12, Reason: "renewed"}, {From: 13, To: 13, Reason: "renewed"},
	}})
	want := []api.Gap{
		{From: 1, To: 5, Count: 5, Reason: "refused"}, {From: 6, To: 6, Count: 1, Reason: "corrupt"}, {From: 8, To: 8, Count: 1, Reason: "corrupt"},
		{From: 9, To: 10, Count: 1, Reason: "corrupt"}, {From: 11, To: 11, Count: 1, Reason: "corrupt"},
		{From: 12, To: 12, Reason: "renewed"}, {From: 13, To: 13, Reason: "renewed"},
	}
	if !cmp.Equal(r.Gaps, want) {
		t.Errorf("gaps: %s", cmp.Diff(want, r.Gaps))
	}
}

func TestGaps(t *testing.T) {
	l := newLedger(36)
	b := api.EventBatch{Events: []api.Event{event(41)}, Gaps: []api.Gap{{From: 37, To: 40, Count: 4, Reason: "spool_full"}}}
	if r := l.take(t, b); l.Through != 41 || !cmp.Equal(r.Gaps, b.Gaps) {
		t.Errorf("through %d, gaps %+v", l.Through, r.Gaps)
	}
	if r := l.take(t, b); len(r.Gaps) > 0 {
		t.Errorf("a gap that is known is returned again: %+v", r.Gaps)
	}
	if r := l.take(t, batch(38)); r.Outcomes[0].Status != api.EventDuplicate {
		t.Errorf("an event that was declared lost is %+v", r.Outcomes[0])
	}
	for _, g := range []api.Gap{{From: 0, To: 5}, {From: 50, To: 49}, {From: 50, To: math.MaxUint64}} {
		next, _, refusal := Accept(l.Stream, api.EventBatch{Events: []api.Event{event(42)}, Gaps: []api.Gap{g}})
		if refusal == nil || refusal.Code != api.CodeInvalid || !cmp.Equal(next, l.Stream) {
			t.Errorf("gap %+v: %v and %+v, want it refused whole", g, refusal, next)
		}
	}
	all, _, _ := Accept(l.Stream, api.EventBatch{Gaps: []api.Gap{{From: 42, To: math.MaxUint64 - 1}}})
	if _, r, _ := Accept(all, batch(math.MaxUint64-1)); r.Outcomes[0].Status != api.EventDuplicate {
		t.Errorf("the last number after a gap through it is %+v", r.Outcomes[0])
	}
}

func TestEventsWithoutNumbers(t *testing.T) {
	for name, s := range map[string]Stream{"no number": {Epoch: "e", Through: 7, Tally: Tally{Stored: 7}}, "no epoch": {}} {
		b := batch(0, 0)
		if s.Epoch == "" {
			b = batch(1, 1)
		}
		next, r, _ := Accept(s, b)
		if r.Outcomes[0].Status != api.EventAccepted || r.Outcomes[1].Status != api.EventAccepted || !cmp.Equal(next, s) {
			t.Errorf("%s: %+v, %+v; want both accepted, for the store to tell apart", name, r.Outcomes, next)
		}
	}
}

func TestInvalidEvents(t *testing.T) {
	for _, c := range []struct {
		change func(*api.Event)
		reason string
	}{
		{func(e *api.Event) { e.ID = "../x" }, "event id"},
		{func(e *api.Event) { e.Type = "no spaces" }, "type"},
		{func(e *api.Event) { e.Type = "a..b" }, "type"},
		{func(e *api.Event) { e.Type = strings.Repeat("a", maxTypeLength+1) }, "type"},
		{func(e *api.Event) { e.Severity = "bad" }, "severity"},
		{func(e *api.Event) { e.Key = strings.Repeat("k", maxKeyLength+1) }, "key"},
		{func(e *api.Event) { e.Timestamp = api.Time{} }, "timestamp"},
	} {
		e := event(1)
		c.change(&e)
		l := newLedger(0)
		for range 2 { // the answer is the same when it is sent again
			r := l.take(t, api.EventBatch{Events: []api.Event{e}})
			if o := r.Outcomes[0]; o.Status != api.EventRejected || !strings.HasPrefix(o.Reason, c.reason) || l.Through != 1 {
				t.Errorf("%+v, through %d; want it rejected for its %s, and settled", o, l.Through, c.reason)
			}
		}
	}
	s := Stream{Epoch: "e"}
	if next, r, _ := Accept(s, batch(math.MaxUint64)); r.Outcomes[0].Status != api.EventRejected || !cmp.Equal(next, s) {
		t.Errorf("the number beyond the last: %+v, %+v", r.Outcomes[0], next)
	}
}

// What each number came to is counted once, however often it is told.
func TestTally(t *testing.T) {
	s := Stream{Epoch: "e", Through: 4} // of a database from before there were tallies
	invalid := event(8)
	invalid.Type = "no type"
	b := api.EventBatch{
		Events: []api.Event{event(7), invalid, event(9), event(10), event(0)},
		Gaps:   []api.Gap{{From: 3, To: 6, Count: 4, Reason: "corrupt"}, {From: 11, To: 13, Reason: "renewed"}},
	}
	s, _, _ = Accept(s, b)
	s.Turned(event(9), api.EventDuplicate)
	s.Turned(event(10), api.EventRejected)
	s.Turned(event(0), api.EventDuplicate) // has no place in the stream
	want := Tally{Stored: 1, Known: 1, Rejected: 2, Lost: 2, Renewed: 3, Before: 4}
	again, _, _ := Accept(s, b)
	if s.Tally != want || !cmp.Equal(again, s) || s.Unaccounted() != 0 || s.Settled() != 13 {
		t.Errorf("%+v and, sent again, %+v; want %+v", s, again, want)
	}
	wrong := s
	wrong.Tally.Stored++
	ahead := s
	ahead.Above = []Span{{20, 29}}
	if wrong.Unaccounted() != -1 || ahead.Unaccounted() != 10 {
		t.Errorf("one too many %d, ten too few %d", wrong.Unaccounted(), ahead.Unaccounted())
	}
}
