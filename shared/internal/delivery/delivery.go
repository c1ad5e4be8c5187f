package delivery

import (
	"cmp"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

const (
	// MaxItems is how many events and gaps a batch has at most.
	MaxItems = api.MaxBatchEvents

	// firstWait and maxWait bound the backoff where State does not.
	firstWait = api.DefaultBackoffInitial
	maxWait   = api.DefaultBackoffMax

	// maxAside bounds it between events that are set aside: an orchestrator that refuses everything,
	// by a fault of its own, is to cost few.
	maxAside = 5 * time.Minute

	// maxRetryAfter bounds what the orchestrator may ask for, so that a wrong
	// header does not silence an agent for days.
	maxRetryAfter = 15 * time.Minute
)

// ReasonRefused is the reason of the gap that an event becomes which is set aside.
const ReasonRefused = "refused"

// Phase is what the sender is doing.
type Phase string

// The phases.
const (
	Idle    Phase = ""        // nothing waits
	Sending Phase = "sending" // one batch is in flight
	Waiting Phase = "waiting" // after a failure
)

// State is all that the sender remembers. The zero State is one that was just started.
type State struct {
	Phase    Phase
	Acked    uint64 // every number up to here is settled
	Last     uint64 // newest number appended, as far as is known
	Max      int    // items of the next batch; 0 means MaxItems
	Failures int    // in a row without progress
	Refusals int    // events set aside since one was last accepted

	First, Most time.Duration // bounds of the backoff: a short fault is over after First, and a long one is noticed to be over within Most; 0: the defaults
}

// Input is what happened.
type Input interface{ input() }

type (
	// Appended says that the spool has numbers up to Last. The first one of a
	// process also says what is settled already.
	Appended struct{ Acked, Last uint64 }
	// Answered says that the orchestrator took the batch and settled every number
	// through AckedThrough. Last is the newest number of the spool now.
	Answered struct {
		AckedThrough uint64
		Last         uint64
		Records      int     // events in the batch
		Random       float64 // as in Failed
	}
	// Failed says that the batch was not taken.
	Failed struct {
		Class      Class
		RetryAfter time.Duration // as the orchestrator asked; 0 if it did not
		Items      int           // events and gaps in the batch
		First      uint64        // number of its first event; 0 when it has gaps only
		Random     float64       // uniform in [0, 1), from the caller so that Step stays pure
	}
	// Elapsed says that the time of the last Wait is over.
	Elapsed struct{}
)

func (Appended) input() {}
func (Answered) input() {}
func (Failed) input()   {}
func (Elapsed) input()  {}

// Effect is what is to be done.
type Effect interface{ effect() }

type (
	// Send sends the batch that begins with number From, of at most Max items.
	Send struct {
		From uint64
		Max  int
	}
	// Wait waits.
	Wait struct{ Duration time.Duration }
	// Ack settles the spool.
	Ack struct{ Through uint64 }
	// SetAside makes an event a gap.
	SetAside struct {
		Seq    uint64
		Reason string
	}
	// Renew begins a new epoch.
	Renew struct{}
)

func (Send) effect()     {}
func (Wait) effect()     {}
func (Ack) effect()      {}
func (SetAside) effect() {}
func (Renew) effect()    {}

// Step takes one input. Inputs that do not fit the phase change nothing: a timer
// that fires late, an answer to a batch that was given up.
func Step(s State, in Input) (State, []Effect) {
	if s.Max == 0 {
		s.Max = MaxItems
	}
	switch in := in.(type) {
	case Appended:
		s.Acked, s.Last = max(s.Acked, in.Acked), max(s.Last, in.Last)
		if s.Phase == Idle {
			return s.next()
		}
	case Answered:
		if s.Phase == Sending {
			return s.answered(in)
		}
	case Failed:
		if s.Phase == Sending {
			return s.failed(in)
		}
	case Elapsed:
		if s.Phase == Waiting {
			return s.next()
		}
	}
	return s, nil
}

// next sends what waits, after the effects of what happened before.
func (s State) next(before ...Effect) (State, []Effect) {
	if s.Acked >= s.Last {
		s.Phase = Idle
		return s, before
	}
	s.Phase = Sending
	return s, append(before, Send{From: s.Acked + 1, Max: s.Max})
}

// wait backs off with full jitter: the ceiling doubles with every step, and
// the time is drawn below it, so that agents which failed together do not come back
// together. What the orchestrator asked for is waited in any case.
func (s State) wait(step int, most, retryAfter time.Duration, random float64, before ...Effect) (State, []Effect) {
	ceiling := min(cmp.Or(s.First, firstWait), most)
	for ; step > 0 && ceiling < most; step-- {
		ceiling = min(2*ceiling, most)
	}
	if retryAfter >= api.Pace {
		ceiling = min(ceiling, retryAfter)
	}
	jitter := time.Duration(random * float64(ceiling))
	s.Phase = Waiting
	return s, append(before, Wait{min(retryAfter, maxRetryAfter) + jitter})
}

// fail backs off after one more failure in a row.
func (s State) fail(retryAfter time.Duration, random float64, before ...Effect) (State, []Effect) {
	s.Failures++
	return s.wait(s.Failures-1, cmp.Or(s.Most, maxWait), retryAfter, random, before...)
}

func (s State) answered(in Answered) (State, []Effect) {
	s.Last = max(s.Last, in.Last)
	switch {
	case in.AckedThrough > s.Last:
		// Numbers of ours may have been taken for those of another life of this
		// spool. Under a new epoch everything that waits is new.
		s.Acked = 0
		return s.fail(0, in.Random, Renew{})
	case in.AckedThrough <= s.Acked:
		return s.fail(0, in.Random)
	}
	s.Acked, s.Failures, s.Max = in.AckedThrough, 0, min(2*s.Max, MaxItems)
	if in.Records > 0 {
		s.Refusals = 0
	}
	return s.next(Ack{Through: s.Acked})
}

func (s State) failed(in Failed) (State, []Effect) {
	if in.Class == Transient || in.Items == 1 && (in.Class == Oversize || in.First == 0) {
		return s.fail(in.RetryAfter, in.Random)
	}
	if in.Items > 1 {
		s.Max = in.Items / 2
		return s.next()
	}
	s.Refusals++
	aside := SetAside{Seq: in.First, Reason: ReasonRefused}
	if s.Refusals == 1 {
		return s.next(aside)
	}
	return s.wait(s.Refusals, maxAside, in.RetryAfter, in.Random, aside)
}
