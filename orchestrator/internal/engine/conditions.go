package engine

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

const (
	// lookEvery is how often agents are looked at where a workflow asks for what becomes of
	// them: reading and decoding ten thousand records takes half a second of a core.
	lookEvery = time.Minute

	// lostAfter is without a word for how long an agent is lost.
	lostAfter = onlineWithin

	// expiringPart of a certificate's life is left when it is told of: agents renew theirs
	// when a third is left.
	expiringPart = 5
)

// look is when the agents of an organisation were looked at last, and since when they have
// been without a gap: while nobody listened, all were silent.
type look struct{ from, last time.Time }

// triggersBy reports whether a workflow starts at one of some conditions.
func triggersBy(d *workflow.Definition, of ...workflow.Condition) bool {
	return slices.ContainsFunc(d.Triggers, func(tr workflow.Trigger) bool { return slices.Contains(of, tr.Agent) })
}

// conditionsCount reports whether a workflow in effect starts at a condition that time brings,
// or ends.
func (e *Engine) conditionsCount(ctx context.Context, org api.OrgID) (bool, error) {
	list, err := e.inEffect(ctx, org)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(list, func(p program) bool {
		return p.Mode != workflow.Off && triggersBy(p.Definition, workflow.Lost, workflow.Returned, workflow.Expiring)
	}), nil
}

// lookAtAgents tells workflows of agents that fell silent and of certificates that end, where
// any ask, and returns when to look again.
func (e *Engine) lookAtAgents(ctx context.Context, org api.OrgID) (next time.Time, err error) {
	if count, err := e.conditionsCount(ctx, org); err != nil || !count {
		return next, err
	}
	now := e.now()
	l := e.looks[org]
	switch since := now.Sub(l.last); {
	case l.last.IsZero() || since < 0 || since > 2*lookEvery: // the clock, or nobody was there
		l.from = now
	case since < lookEvery:
		return l.last.Add(lookEvery), nil
	}
	l.last = now
	e.looks[org] = l
	var agents []store.Agent
	err = e.View(ctx, org, func(r store.Reader) (err error) {
		agents, err = r.Agents()
		return err
	})
	for _, a := range agents {
		if e.isLost(a, l.from, now) || e.expires(a, now) {
			err = errors.Join(err, e.update(ctx, org, func(t *tx) error { return t.lookAt(a.ID, l.from) }))
		}
	}
	return now.Add(lookEvery), err
}

// isLost reports whether an agent has fallen silent that had not said that it goes.
func (e *Engine) isLost(a store.Agent, from, now time.Time) bool {
	heard := later(later(a.LastSeen, a.EnrolledAt), from)
	return !a.Lost && a.State == store.Active && a.Status != StatusOffline && now.Sub(heard) >= lostAfter
}

func (e *Engine) expires(a store.Agent, now time.Time) bool {
	return a.State == store.Active && a.NextSerial == "" && !a.NotAfter.IsZero() && !a.NotAfter.Equal(a.ExpiryTold) &&
		a.NotAfter.Sub(now) < e.ca.Lifetime()/expiringPart
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// lookAt notes and tells what time has made of an agent, unless it was heard of meanwhile.
func (t *tx) lookAt(id api.AgentID, from time.Time) error {
	a, err := t.Agent(id)
	if err != nil {
		return err
	}
	lost, expires := t.engine.isLost(a, from, t.now), t.engine.expires(a, t.now)
	if lost {
		a.Lost = true
	}
	if expires {
		a.ExpiryTold = a.NotAfter
	}
	if !lost && !expires {
		return nil
	}
	err = t.PutAgent(a)
	if lost {
		err = errors.Join(err, t.happened(a, workflow.Lost, map[string]any{"last_seen": a.LastSeen}))
	}
	if expires {
		err = errors.Join(err, t.happened(a, workflow.Expiring, map[string]any{"not_after": a.NotAfter}))
	}
	return err
}

// heard tells workflows what is new of an agent that is heard of.
func (t *tx) heard(before, now store.Agent) (err error) {
	if before.Lost {
		err = t.happened(now, workflow.Returned, map[string]any{"last_seen": before.LastSeen})
	}
	was, is := before.Sandbox, now.Sandbox
	if was != nil && was.String() != is.String() && direction(was, is) == "degraded" {
		err = errors.Join(err, t.happened(now, workflow.Degraded, map[string]any{"was": was.String(), "now": described(is)}))
	}
	return err
}

// happened raises the event of a condition, if a workflow starts by it.
func (t *tx) happened(a store.Agent, c workflow.Condition, values map[string]any) error {
	programs, err := t.inEffect()
	if err != nil || !slices.ContainsFunc(programs, func(p program) bool { return triggersBy(p.Definition, c) }) {
		return err
	}
	made, err := c.Happened(a.Type, values)
	if err != nil {
		return err
	}
	ev, err := t.raise(made, sensorOf(a))
	if err != nil {
		return err
	}
	return t.trigger(ev)
}
