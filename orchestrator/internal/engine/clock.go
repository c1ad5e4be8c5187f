package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
)

// followed is by how much the clock of the host may move against the time that has passed, at
// once, without anybody's having set it. Leases bear that.
const followed = 5 * time.Second

// reckoning is the clock of the host until somebody sets it. From then on it goes by the time that
// passes, until what waits has been set by as much: nothing runs out because a clock was set.
type reckoning struct {
	wall   func() time.Time
	jumped chan struct{} // holds a signal when the wall's was set

	mu sync.Mutex // guards the fields below
	at time.Time  // when is was the time, by the time that passes
	is time.Time
}

func newReckoning(wall func() time.Time) *reckoning {
	return &reckoning{wall: wall, jumped: make(chan struct{}, 1), at: time.Now(), is: wall().Round(0)}
}

func (c *reckoning) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, by := c.look()
	if by == 0 {
		return now
	}
	select {
	case c.jumped <- struct{}{}:
	default:
	}
	return now
}

// look is what time it is, and by how much the wall's clock was set since. It needs mu.
func (c *reckoning) look() (now time.Time, by time.Duration) {
	passed := time.Now()
	now, wall := c.is.Add(passed.Sub(c.at)), c.wall().Round(0)
	if by = wall.Sub(now); by.Abs() > followed {
		return now, by
	}
	c.at, c.is = passed, wall
	return wall, 0
}

// set is by how much the wall's clock was set, and what time it is by that.
func (c *reckoning) set() (by time.Duration, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, by = c.look()
	return by, now.Add(by)
}

// follow goes by the wall's clock, which was set by that much.
func (c *reckoning) follow(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.is = c.is.Add(by)
}

// followClock sets leases and expiries by as much as the clock of the host was set, before the
// clock counts. No transition happens meanwhile. Several servers that share a store have clocks
// of their own, of which one says nothing of the others: there the clock counts as it is.
func (e *Engine) followClock(ctx context.Context) error {
	e.setting.Lock()
	defer e.setting.Unlock()
	by, now := e.clock.set()
	if by == 0 {
		return nil
	}
	e.log.WarnContext(ctx, "the clock of this host was set: leases and expiries are set by as much", "by", by)
	if _, shared := e.store.(store.Shared); !shared {
		detail := fmt.Sprintf("by %v; leases and expiries were set by as much", by.Round(time.Second))
		moved := func(since time.Time) time.Time { return since.Add(by) }
		if err := e.setOpen(ctx, now, detail, instruction.ClockSet{By: by}, moved); err != nil {
			return err
		}
	}
	e.clock.follow(by)
	return nil
}

// unlessSet makes a transition while the clock is not being followed.
func (e *Engine) unlessSet(f func() error) error {
	e.setting.RLock()
	defer e.setting.RUnlock()
	return f()
}

// recoverClock sees to what a clock that was set back while no server ran would have wait for
// longer than it may.
func (e *Engine) recoverClock(ctx context.Context) error {
	if _, shared := e.store.(store.Shared); shared {
		return nil
	}
	now := e.now()
	moved := func(since time.Time) time.Time { return earlier(since, now) }
	return e.setOpen(ctx, now, "", instruction.ServerStarted{Now: now, TTL: e.ttl}, moved)
}

// setOpen gives an input to each instruction that is open and moves what the time of each run
// that goes on counts from. With a detail it is audited.
func (e *Engine) setOpen(ctx context.Context, now time.Time, detail string, in instruction.Input, moved func(since time.Time) time.Time) error {
	orgs, err := e.store.Orgs(ctx)
	for _, org := range orgs {
		err = errors.Join(err, e.store.Org(org).Update(ctx, func(t store.Tx) error {
			open, err := t.Open()
			for _, i := range open {
				next, _, refusal := instruction.Step(i, in)
				if refusal != nil {
					return refusal
				}
				if next.LeaseUntil.Equal(i.LeaseUntil) && next.ExpiresAt.Equal(i.ExpiresAt) {
					continue
				}
				err = errors.Join(err, t.PutInstruction(next))
			}
			err = errors.Join(err, setRuns(t, workflow.Running, moved), setRuns(t, workflow.Queued, moved))
			if detail != "" {
				err = errors.Join(err, t.AddAudit(store.Audit{At: now, Actor: "server", Action: "clock.set", Object: string(org), Detail: detail}))
			}
			return err
		}))
	}
	return err
}

// setRuns moves what the time of each run of a status counts from.
func setRuns(t store.Tx, status workflow.Status, moved func(since time.Time) time.Time) error {
	for q := (store.RunQuery{Status: string(status)}); ; {
		page, err := t.Runs(q)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, run := range page {
			q.Before = run.ID
			was := since(run)
			if run.Since = moved(was); run.Since.Equal(was) {
				continue
			}
			if err := t.PutRun(run); err != nil {
				return err
			}
		}
	}
}
