package workflow

import (
	"slices"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// Retry says how often a step is tried again, and after which pauses. The zero value is
// never. Each try is an instruction of its own, with its own idempotency key.
type Retry struct {
	Attempts int                     // tries in all
	First    time.Duration           // before the second try
	Max      time.Duration           // the longest pause
	Constant bool                    // all pauses are First; else each is twice the one before
	On       []api.InstructionStatus // ends that are tried again
}

const (
	maxTries         = 20
	defaultTries     = 3
	defaultFirstWait = 5 * time.Second
	defaultMaxWait   = 5 * time.Minute
)

// retried are the ends after which a step is tried again where it does not say. An expired or
// rejected instruction found no agent that would take it: waiting is the engine's.
var retried = []api.InstructionStatus{api.Failed, api.TimedOut}

// pause is how long to wait after a number of tries, and false when there is none any more.
func (r Retry) pause(tries int, end api.InstructionStatus) (time.Duration, bool) {
	if tries >= r.Attempts || !slices.Contains(r.On, end) {
		return 0, false
	}
	wait := r.First
	for range tries - 1 {
		if r.Constant || wait >= r.Max {
			break
		}
		wait *= 2
	}
	return min(wait, r.Max), true
}

func (c *checker) retry(path []any, r retrying, idempotent bool) Retry {
	if !c.doc.Has(path) {
		return Retry{}
	}
	out := Retry{Attempts: defaultTries, On: retried}
	if c.doc.Has(at(path, "attempts")) {
		if out.Attempts = r.Attempts; r.Attempts < 2 || r.Attempts > maxTries {
			c.fail(at(path, "attempts"), "attempts %d: must be from 2 to %d, the first included", r.Attempts, maxTries)
		}
	}
	switch r.Backoff {
	case "", "exponential":
	case "constant":
		out.Constant = true
	default:
		c.fail(at(path, "backoff"), "backoff %q: must be exponential or constant", r.Backoff)
	}
	out.First = c.duration(at(path, "first"), r.First, defaultFirstWait, time.Second, maxTimeout)
	out.Max = c.duration(at(path, "max"), r.Max, max(defaultMaxWait, out.First), time.Second, maxTimeout)
	if out.Max < out.First {
		c.fail(at(path, "max"), "max %s: must not be shorter than first, %s", out.Max, out.First)
	}
	if c.doc.Has(at(path, "on")) {
		out.On = c.retriedOn(at(path, "on"), r.On, idempotent)
	}
	return out
}

func (c *checker) retriedOn(path []any, on []string, idempotent bool) []api.InstructionStatus {
	var out []api.InstructionStatus
	for i, name := range on {
		status := api.InstructionStatus(name)
		switch {
		case !slices.Contains([]api.InstructionStatus{api.Failed, api.TimedOut, api.Interrupted, api.Expired, api.Rejected}, status):
			c.fail(at(path, i), "%q: must be failed, timeout, interrupted, expired or rejected", name)
		case status == api.Interrupted && !idempotent:
			c.fail(at(path, i), "interrupted: nobody knows how far it had come: say idempotent: true where a second time does no harm")
		}
		out = append(out, status)
	}
	if len(on) == 0 {
		c.fail(path, "on is empty: name failed, timeout, interrupted, expired or rejected, or leave it out for failed and timeout")
	}
	return out
}
