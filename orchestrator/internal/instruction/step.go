package instruction

import (
	"encoding/json"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// Input is something that happens to an instruction: [Offer], [Claim], [Report],
// [Finish], [Refuse], [Cancel], [Tick],
// [ClockSet] or [ServerStarted].
type Input interface {
	step(Instruction) (Instruction, []Effect, *api.Error)
}

// Offer lends the instruction to an agent until the lease ends. It is no right to run.
type Offer struct {
	Agent api.AgentID
	Lease string // fresh and unguessable: at least 128 random bits
	Now   time.Time
	TTL   time.Duration
}

// Claim starts the attempt that was offered. Attempt 0 and Lease "", here and below,
// are of a client that knows neither.
type Claim struct {
	Agent   api.AgentID
	Attempt int
	Lease   string
	BootID  string // of the agent's process, which alone may repeat the claim
	Lines   int    // number of the last line of the execution log that comes with it; 0: without numbers
	Now     time.Time
	TTL     time.Duration
}

// Report says that the attempt still runs, and renews its lease.
type Report struct {
	Agent   api.AgentID
	Attempt int
	Lease   string
	Percent *float64 // nil: not told
	Lines   int      // as in Claim
	Now     time.Time
	TTL     time.Duration
}

// Finish says how the attempt ended. The attempt and lease inside Result do not count.
type Finish struct {
	Agent   api.AgentID
	Attempt int
	Lease   string
	Result  api.Result
	Now     time.Time
}

// Refuse ends an instruction that was offered and cannot be started as it is: its agent does
// not get what it needs. Why is for people.
type Refuse struct {
	Why string
	Now time.Time
}

// Cancel asks that the instruction does not run, or stops. Asking again, or when it
// has ended, changes nothing.
type Cancel struct{ Now time.Time }

// Tick lets leases run out and expires what has waited too long. Why is what the caller
// knows about why nobody took it, for people; it may be empty.
type Tick struct {
	Now time.Time
	Why string
}

// ClockSet says that the clock of the host was set while the server ran: what is to run out goes
// by the time that passes.
type ClockSet struct{ By time.Duration }

// ServerStarted says that a server begins, whose clock may have been set back meanwhile: no lease
// is longer than its length, and nothing waits from now on for longer than its whole life. That
// changes nothing where no clock was set, however often servers start.
type ServerStarted struct {
	Now time.Time
	TTL time.Duration
}

// Effect is what the caller does in the same transaction, or after it: [Wake],
// [Ended] or [Late].
type Effect interface{ effect() }

type (
	// Wake: the instruction waits for an agent again; after the commit, wake polls.
	Wake struct{}
	// Ended: the instruction is terminal; tell its run. At most once per instruction.
	Ended struct{}
	// Late: an agent given up as lost has said how it ended, after Ended. The run has
	// gone on without it; record it, and nothing else.
	Late struct{}
)

func (Wake) effect()  {}
func (Ended) effect() {}
func (Late) effect()  {}

// Step is the machine. On a refusal the instruction is returned as it was.
func Step(i Instruction, in Input) (Instruction, []Effect, *api.Error) {
	next, effects, refusal := in.step(i)
	if refusal != nil {
		return i, nil, refusal
	}
	return next, effects, nil
}

func (o Offer) step(i Instruction) (Instruction, []Effect, *api.Error) {
	if i.Status != api.Pending || !o.Now.Before(i.ExpiresAt) {
		return i, nil, api.Errorf(api.CodeConflict, "Instruction %s is %s until %s and cannot be offered.", i.ID, i.Status, clock(i.Due()))
	}
	if i.Spent {
		i.Attempt++
	}
	i.Status, i.Agent, i.Lease, i.BootID = api.Offered, o.Agent, o.Lease, ""
	i.LeaseUntil = earlier(o.Now.Add(o.TTL), i.ExpiresAt)
	i.OfferedAt, i.StartedAt, i.FinishedAt = o.Now, time.Time{}, time.Time{}
	i.Spent, i.LostAgent, i.Percent, i.Lines, i.Message, i.Result = false, false, nil, 0, "", nil
	return i, nil, nil
}

func (c Claim) step(i Instruction) (Instruction, []Effect, *api.Error) {
	mine := i.heldBy(c.Agent, c.Attempt, c.Lease)
	switch {
	case mine && i.Status == api.Executing && i.BootID == c.BootID:
		return i, nil, nil // the answer was lost
	case !mine || i.Status != api.Offered:
		return i, nil, i.conflict("Do not run it")
	case !c.Now.Before(i.LeaseUntil):
		return i, nil, api.Errorf(api.CodeConflict, "The offer of instruction %s ended at %s. Do not run it.", i.ID, clock(i.LeaseUntil))
	}
	i.Status, i.BootID, i.StartedAt, i.LeaseUntil = api.Executing, c.BootID, c.Now, c.Now.Add(c.TTL)
	i.Lines = c.Lines
	return i, nil, nil
}

func (r Report) step(i Instruction) (Instruction, []Effect, *api.Error) {
	switch {
	case !i.heldBy(r.Agent, r.Attempt, r.Lease), i.Status == api.Offered, i.Status == api.Pending:
		return i, nil, i.conflict("Stop it")
	case i.Status.Terminal():
		return i, nil, i.gone()
	}
	// A lease that ran out but was not reaped is renewed: nobody else has the attempt.
	i.LeaseUntil = r.Now.Add(r.TTL)
	if r.Percent != nil {
		i.Percent = r.Percent
	}
	i.Lines = max(i.Lines, r.Lines)
	return i, nil, nil
}

func (f Finish) step(i Instruction) (Instruction, []Effect, *api.Error) {
	switch {
	case !f.Result.Status.Terminal():
		return i, nil, api.Errorf(api.CodeInvalid, "status %.40q: a result is final; while it runs, send progress.", f.Result.Status)
	case !i.heldBy(f.Agent, f.Attempt, f.Lease), i.Status == api.Pending && !i.Spent:
		return i, nil, i.conflict("The result is not taken")
	case i.Status == api.Offered, i.Status == api.Executing, i.lost():
		return f.end(i)
	case f.Result.Status == i.outcome():
		return i, nil, nil // the answer was lost
	}
	return i, nil, i.gone()
}

// end takes the first result of an attempt.
func (f Finish) end(i Instruction) (Instruction, []Effect, *api.Error) {
	told := i.Status == api.Interrupted // Ended was an effect before: the agent was lost
	retried := i.Spent                  // another attempt was granted already
	interrupted := f.Result.Status == api.Interrupted

	i.Result, i.Message, i.FinishedAt = &f.Result, f.Result.ErrorMessage, f.Now
	switch {
	case told:
		i.Status = f.Result.Status
		return i, []Effect{Late{}}, nil
	case interrupted && retried:
		return i, nil, nil
	case interrupted && i.mayRetry(f.Now, startedNothing(f.Result)):
		return i.retry()
	}
	i.Status, i.Spent = f.Result.Status, false
	return i, []Effect{Ended{}}, nil
}

func (r Refuse) step(i Instruction) (Instruction, []Effect, *api.Error) {
	if i.Status != api.Offered {
		return i, nil, i.conflict("It cannot be refused")
	}
	return i.close(api.Rejected, r.Now, r.Why)
}

func (c Cancel) step(i Instruction) (Instruction, []Effect, *api.Error) {
	switch {
	case i.Status.Terminal():
		return i, nil, nil
	case i.Status == api.Executing:
		i.CancelRequested = true
		return i, nil, nil
	}
	i.CancelRequested = true
	return i.close(api.Cancelled, c.Now, "Cancelled before it started.")
}

func (t Tick) step(i Instruction) (Instruction, []Effect, *api.Error) {
	due := i.Due()
	switch {
	case due.IsZero() || t.Now.Before(due):
		return i, nil, nil
	case i.Status == api.Executing:
		i.LostAgent = true
		if i.mayRetry(t.Now, false) {
			i.FinishedAt, i.Message = t.Now, "Agent "+string(i.Agent)+" fell silent; another attempt follows."
			return i.retry()
		}
		return i.close(api.Interrupted, t.Now, "Agent "+string(i.Agent)+" fell silent while it ran; what it has done is unknown.")
	case t.Now.Before(i.ExpiresAt):
		i.Status, i.Message = api.Pending, "Agent "+string(i.Agent)+" did not take the offer in time."
		return i, []Effect{Wake{}}, nil
	case i.Attempt > 1 || i.Spent:
		return i.close(api.Interrupted, t.Now, "Expired before another attempt could start.")
	}
	message := "No agent started it before it expired."
	if t.Why != "" {
		message = "No agent started it before it expired: " + t.Why
	}
	return i.close(api.Expired, t.Now, message)
}

// retry makes the instruction wait for its next attempt.
func (i Instruction) retry() (Instruction, []Effect, *api.Error) {
	i.Status, i.Spent = api.Pending, true
	return i, []Effect{Wake{}}, nil
}

func (c ClockSet) step(i Instruction) (Instruction, []Effect, *api.Error) {
	i.ExpiresAt = i.ExpiresAt.Add(c.By)
	if !i.LeaseUntil.IsZero() {
		i.LeaseUntil = i.LeaseUntil.Add(c.By)
	}
	return i, nil, nil
}

func (s ServerStarted) step(i Instruction) (Instruction, []Effect, *api.Error) {
	i.LeaseUntil = earlier(i.LeaseUntil, s.Now.Add(s.TTL))
	if i.Life > 0 {
		i.ExpiresAt = earlier(i.ExpiresAt, s.Now.Add(i.Life))
	}
	return i, nil, nil
}

// close ends the instruction without a result.
func (i Instruction) close(s api.InstructionStatus, now time.Time, message string) (Instruction, []Effect, *api.Error) {
	i.Status, i.FinishedAt, i.Message, i.Spent = s, now, message, false
	return i, []Effect{Ended{}}, nil
}

// mayRetry decides after an interruption: what ran nothing may always run again, what
// may have run something only when that does no harm.
func (i Instruction) mayRetry(now time.Time, ranNothing bool) bool {
	return now.Before(i.ExpiresAt) && !i.CancelRequested &&
		(ranNothing || i.Idempotent && i.Attempt < i.MaxAttempts)
}

// outcome is how the newest attempt ended.
func (i Instruction) outcome() api.InstructionStatus {
	if i.Result != nil {
		return i.Result.Status
	}
	return i.Status
}

// startedNothing reads error_details.started of an interrupted result. Only an
// explicit false counts: what is not said may have run.
func startedNothing(r api.Result) bool {
	var details struct {
		Started *bool `json:"started"`
	}
	return json.Unmarshal(r.ErrorDetails, &details) == nil && details.Started != nil && !*details.Started
}

func (i Instruction) conflict(then string) *api.Error {
	return api.Errorf(api.CodeConflict, "Instruction %s is %s, attempt %d, and not under this lease. %s.", i.ID, i.Status, i.Attempt, then)
}

func (i Instruction) gone() *api.Error {
	return api.Errorf(api.CodeGone, "Attempt %d of instruction %s ended already, as %s.", i.Attempt, i.ID, i.outcome())
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func clock(t time.Time) string { return t.UTC().Format(api.TimeLayout) }
