package execution

import (
	"fmt"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// Phase is how far an attempt has come on this agent.
type Phase string

// The phases, in their order.
const (
	Accepted Phase = "accepted"
	Started  Phase = "started"
	Ended    Phase = "ended"
	Reported Phase = "reported"
)

// Key names one attempt of one instruction.
type Key struct {
	ID      api.InstructionID `json:"id"`
	Attempt int               `json:"attempt"`
}

// Entry is what is known of one attempt. The instruction and its result are kept
// until the attempt is reported.
type Entry struct {
	Key
	Phase       Phase            `json:"phase"`
	Ran         bool             `json:"ran,omitempty"`   // the plugin may have been started
	At          time.Time        `json:"at"`              // of the latest change
	Lived       time.Duration    `json:"lived,omitempty"` // how long the journal had been open at it
	Instruction *api.Instruction `json:"instruction,omitempty"`
	Result      *api.Result      `json:"result,omitempty"`
}

// Input is something that happens to an attempt.
type Input interface{ input() }

type (
	// Accept takes an offer.
	Accept struct{ Instruction api.Instruction }
	// Start says that the plugin is about to be started.
	Start struct{}
	// End says how the attempt ended.
	End struct{ Result api.Result }
	// Report says that the orchestrator has had its last word.
	Report struct{}
	// Again is a new offer of what was reported and may have run.
	Again struct{ Instruction api.Instruction }
	// Restart says that the agent's process is a new one. Damaged says that records
	// are missing, among which that of the Start may have been.
	Restart struct{ Damaged bool }
)

func (Accept) input()  {}
func (Start) input()   {}
func (End) input()     {}
func (Report) input()  {}
func (Again) input()   {}
func (Restart) input() {}

// Step takes one transition. The zero Entry is an attempt that is not known. An input
// that does not fit the phase is an error, and the entry stays.
func Step(e Entry, in Input, now time.Time) (Entry, error) {
	next := e
	next.At = now
	switch in := in.(type) {
	case Accept:
		if e.Seen() {
			return e, fmt.Errorf("accept attempt %d of instruction %s: it is %s", e.Attempt, e.ID, e.Phase)
		}
		next.Key, next.Phase, next.Instruction = Key{in.Instruction.ID, in.Instruction.Attempt}, Accepted, &in.Instruction
		return next, nil
	case Start:
		next.Phase, next.Ran = Started, true
		return e.from(next, Accepted)
	case End:
		next.Phase, next.Result = Ended, &in.Result
		return e.from(next, Accepted, Started)
	case Report:
		next.Phase, next.Instruction, next.Result = Reported, nil, nil
		return e.from(next, Accepted, Ended)
	case Again:
		if !e.Ran {
			return e, fmt.Errorf("attempt %d of instruction %s has not run and can be accepted", e.Attempt, e.ID)
		}
		next.Phase, next.Instruction, next.Result = Ended, &in.Instruction, &api.Result{
			Status: api.Interrupted, ErrorMessage: "this agent has had the attempt before, and it may have run", ErrorDetails: StartedDetails(true),
			Attempt: e.Attempt, Lease: in.Instruction.Lease, StartedAt: api.At(e.At), FinishedAt: api.At(now),
		}
		return e.from(next, Reported)
	case Restart:
		return e.restart(in.Damaged, now)
	}
	return e, fmt.Errorf("no input of an execution: %T", in)
}

// from is next where the phase is one of those, and an error elsewhere.
func (e Entry) from(next Entry, phases ...Phase) (Entry, error) {
	for _, p := range phases {
		if e.Phase == p {
			return next, nil
		}
	}
	if e.Phase == "" {
		return e, fmt.Errorf("attempt %d of instruction %s is not known here", e.Attempt, e.ID)
	}
	return e, fmt.Errorf("attempt %d of instruction %s is %s and cannot become %s", e.Attempt, e.ID, e.Phase, next.Phase)
}

// Seen reports whether the attempt must not be accepted (again). One that has not run
// and was reported may: its lease had run out, and the offer is a new one.
func (e Entry) Seen() bool { return e.Phase != "" && (e.Phase != Reported || e.Ran) }

// restart ends what a former process left open. Whether the plugin may have run is
// what the orchestrator needs to know to decide about another attempt; in doubt it may.
func (e Entry) restart(damaged bool, now time.Time) (Entry, error) {
	var why string
	switch {
	case e.Phase == Started:
		why = "the agent ended while the plugin may have been running"
	case e.Phase == Accepted && damaged:
		e.Ran, why = true, "the agent ended, and its journal is damaged where it would say whether the plugin was started"
	case e.Phase == Accepted:
		why = "the agent ended before it started the plugin"
	default:
		return e, nil
	}
	return Step(e, End{api.Result{
		Status: api.Interrupted, ErrorMessage: why, ErrorDetails: StartedDetails(e.Ran),
		Attempt: e.Attempt, Lease: e.Instruction.Lease, StartedAt: api.At(e.At), FinishedAt: api.At(now),
	}}, now)
}

// StartedDetails are the error_details of an interrupted attempt: whether the plugin
// may have had effects.
func StartedDetails(started bool) []byte { return fmt.Appendf(nil, `{"started":%t}`, started) }
