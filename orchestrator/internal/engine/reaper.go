package engine

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

const (
	// longestSleep bounds how long it goes unnoticed that the clock was set: a process that ends
	// before leaves the next one nothing to tell it from time that passed. Waking costs a look at
	// the clock, not at the store.
	longestSleep = 5 * time.Second

	// reapRetry is the pause after a failure of the store, or when a look changed nothing.
	reapRetry = time.Second

	// reapPage is how many due instructions are read at once.
	reapPage = 100
)

// alarm is when the reaper must look next.
type alarm struct {
	moved chan struct{} // holds a signal when at was moved forward

	mu sync.Mutex // guards at
	at time.Time  // zero: nothing is due, ever
}

func newAlarm() *alarm { return &alarm{moved: make(chan struct{}, 1)} }

// set makes the alarm ring at t, unless it rings earlier. The zero time is never.
func (a *alarm) set(t time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t.IsZero() || !a.at.IsZero() && !t.Before(a.at) {
		return
	}
	a.at = t
	select {
	case a.moved <- struct{}{}:
	default:
	}
}

// due reports whether the alarm rings at now, and clears it if so: what is set from
// then on counts for the next look. Otherwise it returns how long to sleep.
func (a *alarm) due(now time.Time) (bool, time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.at.IsZero() {
		return false, longestSleep
	}
	if left := a.at.Sub(now); left > 0 {
		return false, min(left, longestSleep)
	}
	a.at = time.Time{}
	return true, 0
}

// Run reaps until ctx is done: it ends offers and executions whose lease ran out and
// instructions that expired, rings the alarms of runs, closes windows, looks at roll-outs when they are
// due, and at agents that fall silent. It returns nil when ctx is done, and an error when a commit had an unknown outcome and
// the process must exit. Of several servers the one that leads reaps.
func (e *Engine) Run(ctx context.Context) error {
	defer e.meetPeers(ctx)()
	hearing, deaf := context.WithCancel(ctx)
	var writing sync.WaitGroup
	writing.Go(func() { e.writeHeard(hearing) })
	defer writing.Wait()
	defer deaf()
	if err := e.recoverClock(ctx); err != nil && ctx.Err() == nil {
		e.log.ErrorContext(ctx, "looking for what would wait for too long", "error", err)
	}
	e.alarm.set(e.now()) // what ran out while nobody looked
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		rings, sleep := e.alarm.due(e.now())
		if rings && !e.leads.Load() {
			continue // who leads has been told; who comes to lead looks at everything
		}
		if rings {
			e.alarm.set(e.reap(ctx))
			continue
		}
		timer.Reset(sleep)
		select {
		case <-timer.C:
		case <-e.alarm.moved:
		case <-e.clock.jumped:
			if err := e.followClock(ctx); err != nil && ctx.Err() == nil {
				e.log.ErrorContext(ctx, "following the clock, which was set: it is tried again", "error", err)
			}
			e.alarm.set(e.now()) // rings by another clock now
		case <-e.fatal:
			return e.fatalErr
		case <-ctx.Done():
			return nil
		}
	}
}

// reap ends all that is due and returns when the next is.
func (e *Engine) reap(ctx context.Context) time.Time {
	orgs, err := e.store.Orgs(ctx)
	var next time.Time
	for _, org := range orgs {
		for _, look := range []func(context.Context, api.OrgID) (time.Time, error){e.reapOrg, e.ring, e.tickRollouts, e.lookAtAgents} {
			at, failure := look(ctx, org)
			err = errors.Join(err, failure)
			next = earlier(next, at)
		}
	}
	if err == nil {
		return next
	}
	if ctx.Err() == nil {
		e.log.ErrorContext(ctx, "reaping", "error", err, "again_in", reapRetry)
	}
	return e.now().Add(reapRetry)
}

// reapOrg ends what is due in one organisation, each in its own transaction, so that
// one that fails holds up no other.
func (e *Engine) reapOrg(ctx context.Context, org api.OrgID) (next time.Time, err error) {
	var due []instruction.Instruction
	err = e.View(ctx, org, func(r store.Reader) (err error) {
		due, err = r.Due(e.now(), reapPage)
		return err
	})
	for _, i := range due {
		err = errors.Join(err, e.update(ctx, org, func(t *tx) error {
			i, err := t.Instruction(i.ID) // it may have moved since
			if err != nil {
				return err
			}
			tick := instruction.Tick{Now: t.now}
			if i.Status == api.Pending {
				if tick.Why, err = WhyNobody(t, i.Plugin, i.Target); err != nil {
					return err
				}
			}
			_, err = t.step(i, tick)
			return err
		}))
	}
	if err != nil {
		return time.Time{}, err
	}
	err = e.View(ctx, org, func(r store.Reader) (err error) {
		next, _, err = r.NextDue()
		return err
	})
	// What is still due after it was ticked, because the clock was set back in between,
	// is looked at again, but not at once.
	if now := e.now(); len(due) < reapPage && !next.IsZero() && !next.After(now) {
		next = now.Add(reapRetry)
	}
	return next, err
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
