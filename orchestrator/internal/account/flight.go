package account

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// recheckAfter is how long a request goes on at most after its credential ended elsewhere.
const recheckAfter = 15 * time.Second

// flight are the requests in flight of users.
type flight struct {
	mu       sync.Mutex // guards requests and next
	requests map[uint64]request
	next     uint64
}

type request struct {
	caller Caller
	text   string // the credential
	end    context.CancelCauseFunc
}

func newFlight() *flight { return &flight{requests: map[uint64]request{}} }

func (f *flight) enter(ctx context.Context, caller Caller, text string) (context.Context, func()) {
	ctx, end := context.WithCancelCause(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next++
	n := f.next
	f.requests[n] = request{caller, text, end}
	return ctx, func() {
		f.mu.Lock()
		delete(f.requests, n)
		f.mu.Unlock()
		end(nil)
	}
}

// endWhere ends the requests that which picks.
func (f *flight) endWhere(which func(Caller) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.requests {
		if which(r.caller) {
			r.end(errNobody)
		}
	}
}

// endUser ends those of a user.
func (f *flight) endUser(org api.OrgID, user string) {
	f.endWhere(func(c Caller) bool { return c.Org == org && c.User == user })
}

// all is each of them, the requests of one credential once.
func (f *flight) all() map[string]request {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[string]request, len(f.requests))
	for _, r := range f.requests {
		out[r.text] = r
	}
	return out
}

// Run ends requests whose credential has ended, and records logins that were refused,
// until ctx is done.
func (a *Accounts) Run(ctx context.Context) error {
	tick := time.NewTicker(recheckAfter)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			a.recheck(ctx)
		case r := <-a.refused:
			a.record(ctx, r)
		}
	}
}

// recheck looks at the credential of each request in flight anew. One that lost some of
// its role ends as well: it was let in with more. A request that is open counts as use.
func (a *Accounts) recheck(ctx context.Context) {
	for text, r := range a.flight.all() {
		now, err := a.check(ctx, r.caller.Kind, text)
		if err == nil {
			err = a.used(ctx, now, "")
		}
		var refusal *api.Error
		switch {
		case errors.As(err, &refusal), err == nil && !now.Role.Includes(r.caller.Role):
			a.flight.endWhere(func(c Caller) bool { return c.kept.Hash == r.caller.kept.Hash })
		case err != nil && ctx.Err() == nil:
			a.log.ErrorContext(ctx, "recheck of a credential", "user", r.caller.User, "error", err)
		}
	}
}
