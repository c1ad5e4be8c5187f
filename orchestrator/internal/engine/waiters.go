package engine

import (
	"context"
	"slices"
	"sync"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// agentKey names an agent of any organisation.
type agentKey struct {
	org   api.OrgID
	agent api.AgentID
}

// requests are the requests in flight of every agent, so that revoking an agent can
// end them. An entry lives as long as its request.
type requests struct {
	mu      sync.Mutex // guards byAgent
	byAgent map[agentKey]map[*request]struct{}
}

type request struct{ cancel context.CancelCauseFunc }

// enter adds a request. The context it returns ends with leave, or with the cause
// given to end.
func (r *requests) enter(ctx context.Context, key agentKey) (watched context.Context, leave func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	q := &request{cancel}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byAgent[key] == nil {
		r.byAgent[key] = map[*request]struct{}{}
	}
	r.byAgent[key][q] = struct{}{}
	return ctx, func() {
		cancel(nil)
		r.mu.Lock()
		defer r.mu.Unlock()
		if delete(r.byAgent[key], q); len(r.byAgent[key]) == 0 {
			delete(r.byAgent, key)
		}
	}
}

// end cancels every request of the agent with cause.
func (r *requests) end(key agentKey, cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for q := range r.byAgent[key] {
		q.cancel(cause)
	}
}

// polls are the long polls that wait for work.
type polls struct {
	mu    sync.Mutex // guards byOrg
	byOrg map[api.OrgID]map[*poll]struct{}
}

// poll is one waiting agent, as it was enrolled. woken has room for one signal, so
// that waking never blocks and none is lost between two looks at the store.
type poll struct {
	agent store.Agent
	woken chan struct{}
}

// enter adds a poll. Enter before the first look at the store, so that work that is
// committed after the look wakes it.
func (p *polls) enter(org api.OrgID, agent store.Agent) (w *poll, leave func()) {
	w = &poll{agent: agent, woken: make(chan struct{}, 1)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byOrg[org] == nil {
		p.byOrg[org] = map[*poll]struct{}{}
	}
	p.byOrg[org][w] = struct{}{}
	return w, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if delete(p.byOrg[org], w); len(p.byOrg[org]) == 0 {
			delete(p.byOrg, org)
		}
	}
}

// wake signals the polls of org whose agent fits: usually one, of thousands that wait.
func (p *polls) wake(org api.OrgID, fits func(store.Agent) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for w := range p.byOrg[org] {
		if !fits(w.agent) {
			continue
		}
		select {
		case w.woken <- struct{}{}:
		default: // it is about to look anyway
		}
	}
}

// fits reports whether an instruction with this target could be for the agent. It is
// the cheap half of [store.InstructionReader.Offerable], which decides.
func fits(t instruction.Target, a store.Agent) bool {
	hasTag := func(tag string) bool { return slices.Contains(a.Tags, tag) }
	return a.Type == api.Action &&
		(len(t.Agents) == 0 || slices.Contains(t.Agents, a.ID)) &&
		(t.Host == "" || t.Host == a.Hostname) &&
		!slices.ContainsFunc(t.Tags, func(tag string) bool { return !hasTag(tag) })
}
