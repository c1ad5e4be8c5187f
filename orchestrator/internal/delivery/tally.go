package delivery

import "github.com/stavily/agents/shared/pkg/api"

// Tally says what became of the numbers that a stream has settled. It is counted apart
// from Through and Above, so that the two must agree.
type Tally struct {
	Stored   uint64 `json:"stored,omitempty"`   // as events
	Known    uint64 `json:"known,omitempty"`    // their ids were stored under other numbers
	Rejected uint64 `json:"rejected,omitempty"` // for what they are
	Lost     uint64 `json:"lost,omitempty"`     // in gaps, declared or skipped
	Renewed  uint64 `json:"renewed,omitempty"`  // settled under an earlier epoch
	Before   uint64 `json:"before,omitempty"`   // settled before there was a tally
}

func (t Tally) sum() uint64 {
	return t.Stored + t.Known + t.Rejected + t.Lost + t.Renewed + t.Before
}

// Settled is how many numbers are settled.
func (s Stream) Settled() uint64 {
	n := s.Through
	for _, a := range s.Above {
		n += a.size()
	}
	return n
}

// Unaccounted is how many settled numbers the tally has too few, or with a minus too
// many: 0, or this program has a fault. A stream from before there were tallies has none.
func (s Stream) Unaccounted() int64 {
	if s.Tally == (Tally{}) {
		return 0
	}
	return int64(s.Settled() - s.Tally.sum())
}

// Turned says that an event which the stream accepted was not stored after all.
func (s *Stream) Turned(e api.Event, status string) {
	if !s.numbers(e) {
		return
	}
	s.Tally.Stored--
	if status == api.EventDuplicate {
		s.Tally.Known++
	} else {
		s.Tally.Rejected++
	}
}

// begin has a stream from before there were tallies begin one.
func (t *Tally) begin(settled uint64) {
	if *t == (Tally{}) {
		t.Before = settled
	}
}

// lose counts the numbers of a gap that were not settled. One that counts no events is
// of those that an earlier epoch settled.
func (t *Tally) lose(numbers uint64, g api.Gap) {
	if g.Count == 0 && g.Reason != ReasonSkipped {
		t.Renewed += numbers
	} else {
		t.Lost += numbers
	}
}

func (s Span) size() uint64 { return s.To - s.From + 1 }
