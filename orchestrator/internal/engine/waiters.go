package engine

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

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

// each calls f, which must not block, for all that are there under key.
func (c *crowd[K, V]) each(key K, f func(*V)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for v := range c.present[key] {
		f(v)
	}
}

// all calls f, which must not block, for all that are there.
func (c *crowd[K, V]) all(f func(K, *V)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, places := range c.present {
		for v := range places {
			f(key, v)
		}
	}
}

// agentKey names an agent of any organisation.
type agentKey struct {
	org   api.OrgID
	agent api.AgentID
}

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
type poll struct {
	agent workflow.Agent
	woken chan struct{}
	since time.Time
	load  atomic.Int64 // instructions that the agent had in hand when it looked last
}

// wake signals the polls of agents that fit: usually one, of thousands that wait.
func (e *Engine) wake(org api.OrgID, fits func(workflow.Agent) bool) {
	e.polls.each(org, func(p *poll) {
		if fits(p.agent) {
			p.wake()
		}
	})
}

func (p *poll) wake() {
	select {
	case p.woken <- struct{}{}:
	default: // it is about to look anyway
	}
}
