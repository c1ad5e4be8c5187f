package engine

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// crowd is who is there under each key. A place lives as long as the request that
// takes it, so a crowd is as large as the number of requests in flight at most.
type crowd[K comparable, V any] struct {
	mu      sync.Mutex // guards present
	present map[K]map[*V]struct{}
}

// enter takes a place and returns the function that gives it back.
func (c *crowd[K, V]) enter(key K, v *V) (leave func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.present == nil {
		c.present = map[K]map[*V]struct{}{}
	}
	if c.present[key] == nil {
		c.present[key] = map[*V]struct{}{}
	}
	c.present[key][v] = struct{}{}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if delete(c.present[key], v); len(c.present[key]) == 0 {
			delete(c.present, key)
		}
	}
}

// enterAll takes a place under each key.
func (c *crowd[K, V]) enterAll(v *V, keys ...K) (leave func()) {
	leaves := make([]func(), len(keys))
	for n, key := range keys {
		leaves[n] = c.enter(key, v)
	}
	return func() {
		for _, leave := range leaves {
			leave()
		}
	}
}

// each calls f, which must not block, for all that are there under key.
func (c *crowd[K, V]) each(key K, f func(*V)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for v := range c.present[key] {
		f(v)
	}
}

// all calls f, which must not block, for all that are there.
func (c *crowd[K, V]) all(f func(*V)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, places := range c.present {
		for v := range places {
			f(v)
		}
	}
}

// agentKey names an agent of any organisation.
type agentKey struct {
	org   api.OrgID
	agent api.AgentID
}

func (k agentKey) String() string { return string(k.org) + " " + string(k.agent) }

// watch adds a request to those in flight of an agent. The context it returns ends
// with leave, or with the cause given to [Engine.end].
func (e *Engine) watch(ctx context.Context, key agentKey) (watched context.Context, leave func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	gone := e.requests.enter(key, &cancel)
	return ctx, func() {
		gone()
		cancel(nil)
	}
}

// end cancels every request of the agent, with the answer it gets.
func (e *Engine) end(key agentKey, answer *api.Error) {
	e.requests.each(key, func(cancel *context.CancelCauseFunc) { (*cancel)(answer) })
}

// poll is one agent that waits for work, as it was enrolled. woken has room for one
// signal, so that waking never blocks and none is lost between two looks at the store.
// handed has room for the offers of the one transition that asked it; see [tx.handOut].
type poll struct {
	agent  workflow.Agent
	woken  chan struct{}
	handed chan []api.Instruction // nil: it is handed nothing
	asked  atomic.Bool            // from its next look on, or until handed has an answer, it cannot be asked
	since  time.Time
	load   atomic.Int64 // instructions that the agent had in hand when it looked last
}

// place is what a poll is found by: its organisation and, of that, its agent or its host.
// Of thousands that wait most work is for one.
type place struct {
	org   api.OrgID
	agent api.AgentID
	host  string
}

// placesOf is where a poll of an agent waits.
func placesOf(org api.OrgID, a workflow.Agent) []place {
	return []place{{org: org}, {org: org, agent: a.ID}, {org: org, host: a.Host}}
}

// placeFor is where all polls wait that may fit a target.
func placeFor(org api.OrgID, t instruction.Target) place {
	switch {
	case len(t.Agents) == 1:
		return place{org: org, agent: t.Agents[0]}
	case t.Host != "":
		return place{org: org, host: t.Host}
	}
	return place{org: org}
}

// wake signals the polls of agents that fit a target, the one that waits longest first.
func (e *Engine) wake(org api.OrgID, target instruction.Target) {
	var found []*poll
	e.polls.each(placeFor(org, target), func(p *poll) {
		if p.fits(target) {
			found = append(found, p)
		}
	})
	slices.SortFunc(found, func(a, b *poll) int { return a.since.Compare(b.since) })
	for _, p := range found {
		p.wake()
	}
}

func (p *poll) fits(t instruction.Target) bool {
	return t.Fits(p.agent.ID, p.agent.Host, p.agent.Tags)
}

func (p *poll) wake() {
	select {
	case p.woken <- struct{}{}:
	default: // it is about to look anyway
	}
}
