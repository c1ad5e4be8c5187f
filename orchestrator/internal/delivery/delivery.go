package delivery

import (
	"cmp"
	"math"
	"slices"

	"github.com/stavily/agents/shared/pkg/api"
)

// MaxSpans bounds how many runs of numbers are remembered above the first hole. One
// sender needs one; a hundred leave room for many batches in flight at once, and are
// still a few KiB a stream.
const MaxSpans = 100

// ReasonSkipped is the reason of a gap that no agent declared: its events were
// settled with another orchestrator, or with this one before its database was restored.
const ReasonSkipped = "skipped"

// Span is the numbers From through To, both included.
type Span struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// Stream is what is known of one stream. The zero Stream with its epoch is a new one.
type Stream struct {
	Epoch   string `json:"epoch"`
	Through uint64 `json:"through"`         // everything up to here is settled
	Above   []Span `json:"above,omitempty"` // settled too: ascending, disjoint, not touching
	Tally   Tally  `json:"tally,omitzero"`  // what became of them
}

// New reports whether nothing of a stream is settled.
func (s Stream) New() bool { return s.Settled() == 0 }

// Begin takes a batch into a stream but for its events: [Stream.Take] is for each of them, in
// order, and [Stream.End] after the last. Once what they accepted is stored, the agent may forget
// everything through the stream's Through. The stream may be stored in between: what is taken is
// settled, and the batch that is sent again goes on behind it. The gaps returned are losses that
// were not known before. A malformed one refuses the batch whole with [api.CodeInvalid]. It does
// not modify s.
func Begin(s Stream, b api.EventBatch) (Stream, []api.Gap, *api.Error) {
	for _, g := range b.Gaps {
		if g.From == 0 || g.To < g.From || g.To == math.MaxUint64 {
			return s, nil, api.Errorf(api.CodeInvalid, "gap from %d to %d: must be from at least 1 to at least that.", g.From, g.To)
		}
	}
	s.Above = slices.Clone(s.Above)
	s.Tally.begin(s.Settled())
	var gaps []api.Gap
	if first, some := s.lowest(b); some && s.inSpan(first) {
		gaps = append(gaps, s.skip(first-1)...)
	}
	for _, g := range b.Gaps {
		if fresh := s.settle(Span{g.From, g.To}); fresh > 0 {
			s.Tally.lose(fresh, g)
			gaps = append(gaps, g)
		}
	}
	return s, joined(gaps), nil
}

// End gives up the lowest holes where there are too many, and returns them as gaps.
func (s *Stream) End() (gaps []api.Gap) {
	for len(s.Above) > MaxSpans {
		gaps = append(gaps, s.skip(s.Above[0].From-1)...)
	}
	return joined(gaps)
}

// joined makes one gap of those that follow each other and are lost whole, for one reason: an agent
// declares each event that it sets aside by itself.
func joined(gaps []api.Gap) (out []api.Gap) {
	whole := func(g api.Gap) bool { return g.Count == g.To-g.From+1 }
	for _, g := range gaps {
		if n := len(out) - 1; n >= 0 && out[n].To+1 == g.From && out[n].Reason == g.Reason && whole(out[n]) && whole(g) {
			out[n].To, out[n].Count = g.To, out[n].Count+g.Count
			continue
		}
		out = append(out, g)
	}
	return out
}

// Take settles one event of a batch that was begun. An accepted one may still have an id that the
// store knows; then it is a duplicate all the same. An invalid one is settled as well: sending it again would
// not make it better.
func (s *Stream) Take(e api.Event) api.EventOutcome {
	var settled uint64
	if s.numbers(e) {
		settled = s.settle(Span{e.Seq, e.Seq})
	}
	outcome := api.EventOutcome{Seq: e.Seq, ID: e.ID, Status: api.EventAccepted}
	if reason := invalid(e); reason != "" {
		outcome.Status, outcome.Reason = api.EventRejected, reason
		s.Tally.Rejected += settled
		return outcome
	}
	if s.numbers(e) && settled == 0 {
		outcome.Status = api.EventDuplicate
	}
	s.Tally.Stored += settled
	return outcome
}

// numbers reports whether an event has a place in the stream. The highest number has
// none, so that Through+1 never overflows.
func (s *Stream) numbers(e api.Event) bool {
	return s.Epoch != "" && e.Seq != 0 && e.Seq != math.MaxUint64
}

// lowest is where a batch begins.
func (s *Stream) lowest(b api.EventBatch) (first uint64, some bool) {
	first = math.MaxUint64
	for _, g := range b.Gaps {
		first = min(first, g.From)
	}
	for _, e := range b.Events {
		if s.numbers(e) {
			first = min(first, e.Seq)
		}
	}
	return first, first != math.MaxUint64
}

func (s *Stream) inSpan(seq uint64) bool {
	return slices.ContainsFunc(s.Above, func(a Span) bool { return a.From <= seq && seq <= a.To })
}

// settle adds a span and returns how many numbers of it are new.
func (s *Stream) settle(n Span) (fresh uint64) {
	n.From = max(n.From, s.Through+1)
	if n.From > n.To {
		return 0
	}
	// The spans that touch n are those from i up to j; they and n become one.
	i, _ := slices.BinarySearchFunc(s.Above, n.From-1, func(a Span, seq uint64) int { return cmp.Compare(a.To, seq) })
	j := i
	for j < len(s.Above) && s.Above[j].From <= n.To+1 {
		j++
	}
	if j == i+1 && s.Above[i].From <= n.From && n.To <= s.Above[i].To {
		return 0
	}
	fresh = n.size()
	for _, a := range s.Above[i:j] {
		if from, to := max(n.From, a.From), min(n.To, a.To); from <= to {
			fresh -= to - from + 1
		}
	}
	if j > i {
		n.From, n.To = min(n.From, s.Above[i].From), max(n.To, s.Above[j-1].To)
	}
	s.Above = slices.Replace(s.Above, i, j, n)
	s.absorb()
	return fresh
}

// absorb moves Through over spans that have no hole below them.
func (s *Stream) absorb() {
	for len(s.Above) > 0 && s.Above[0].From == s.Through+1 {
		s.Through = s.Above[0].To
		s.Above = s.Above[1:]
	}
}

// skip gives up the holes through seq and returns them as gaps.
func (s *Stream) skip(seq uint64) []api.Gap {
	var gaps []api.Gap
	for s.Through < seq {
		hole := Span{s.Through + 1, seq}
		if len(s.Above) > 0 {
			hole.To = min(hole.To, s.Above[0].From-1)
		}
		s.Tally.Lost += hole.size()
		gaps = append(gaps, api.Gap{From: hole.From, To: hole.To, Count: hole.size(), Reason: ReasonSkipped})
		s.Through = hole.To
		s.absorb()
	}
	return gaps
}
