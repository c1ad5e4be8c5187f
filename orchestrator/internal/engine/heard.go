package engine

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

const (
	// seenResolution is how stale it may be when an agent was seen last. With HeardWithin and until
	// it is written that has to be less than SilentAfter.
	seenResolution = 20 * time.Second

	// seenPause is between two looks at whose time is to be written, and seenTogether how many
	// are in one transaction: others wait behind it.
	seenPause    = 10 * time.Second
	seenTogether = 200

	// seenWritten is how stale the store's time may be where nobody else reads the store: a
	// write for every poll would cost as much as all the rest of ten thousand agents that wait.
	seenWritten = 10 * time.Minute

	// lastWords bounds the writing at the end of the server: what is left agents tell anew when
	// they are back.
	lastWords = 2 * time.Second

	// restfulHeartbeat is how often agents are to say what is known: that they live is known by
	// their polls. It is how long a new CA takes to reach them all.
	restfulHeartbeat = 10 * time.Minute
)

// heard is which agents called when, until that is written; whoever reads a record before
// is told ([hearing]). What a crash forgets of it the next calls tell again.
type heard struct {
	mu sync.Mutex // guards of
	of map[agentKey]calls
}

// calls are the first and the last of an agent that are not written.
type calls struct{ first, last time.Time }

func (h *heard) note(key agentKey, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of == nil {
		h.of = map[agentKey]calls{}
	}
	first := at
	if noted, found := h.of[key]; found {
		first = noted.first
	}
	h.of[key] = calls{first, at}
}

// due gives the last calls of agents that wait to be written for so long.
func (h *heard) due(now time.Time, after time.Duration) map[api.OrgID]map[api.AgentID]time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	due := map[api.OrgID]map[api.AgentID]time.Time{}
	for key, c := range h.of {
		if since := now.Sub(c.first); since >= 0 && since < after {
			continue
		}
		if due[key.org] == nil {
			due[key.org] = map[api.AgentID]time.Time{}
		}
		due[key.org][key.agent] = c.last
	}
	return due
}

// written forgets what was noted of an agent until a time.
func (h *heard) written(key agentKey, until time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch noted, found := h.of[key]; {
	case found && noted.last.Equal(until):
		delete(h.of, key)
	case found:
		h.of[key] = calls{noted.last, noted.last}
	}
}

// forget is for an agent whose record was written, with when it was seen.
func (h *heard) forget(key agentKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.of, key)
}

// tell puts into records of agents what is not written of them.
func (h *heard) tell(org api.OrgID, agents ...*store.Agent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range agents {
		if noted, found := h.of[agentKey{org, a.ID}]; found {
			a.LastSeen = noted.last
		}
	}
}

// hearing reads agents as they were heard of.
type hearing struct {
	store.Reader
	org   api.OrgID
	heard *heard
}

func (r hearing) Agent(id api.AgentID) (store.Agent, error) {
	a, err := r.Reader.Agent(id)
	r.heard.tell(r.org, &a)
	return a, err
}

func (r hearing) Agents() ([]store.Agent, error) {
	agents, err := r.Reader.Agents()
	r.heard.tell(r.org, pointers(agents)...)
	return agents, err
}

func pointers(agents []store.Agent) []*store.Agent {
	out := make([]*store.Agent, len(agents))
	for n := range agents {
		out[n] = &agents[n]
	}
	return out
}

// Agent is the record with what is not written of it, unless this transition wrote it.
func (t *tx) Agent(id api.AgentID) (store.Agent, error) {
	a, err := t.Tx.Agent(id)
	t.hear(&a)
	return a, err
}

func (t *tx) Agents() ([]store.Agent, error) {
	agents, err := t.Tx.Agents()
	t.hear(pointers(agents)...)
	return agents, err
}

func (t *tx) hear(agents ...*store.Agent) {
	wrote := func(a *store.Agent) bool { return slices.Contains(t.agents, a.ID) }
	t.engine.heard.tell(t.org, slices.DeleteFunc(agents, wrote)...)
}

// hearOf notes that an agent lived at a time. That one is back which was lost is news, and is written
// at once.
func (e *Engine) hearOf(ctx context.Context, id pki.Identity, a *store.Agent, at time.Time) error {
	since := at.Sub(a.LastSeen)
	switch {
	case returns(a), a.LastSeen.IsZero():
		return e.seen(ctx, id)
	case since > seenResolution, since < -seenResolution: // the clock was set
		key := agentKey{id.Org, id.Agent}
		e.heard.note(key, at)
		e.roster.seen(key, at)
	}
	return nil
}

// seen has the roster's record say when an agent called last.
func (r *roster) seen(key agentKey, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a, known := r.known[key]; known {
		seen := *a
		seen.LastSeen = at
		r.known[key] = &seen
	}
}

// writeHeard writes who was heard of until ctx is done, and then once more.
func (e *Engine) writeHeard(ctx context.Context) {
	tick := time.NewTicker(seenPause)
	defer tick.Stop()
	after := seenWritten
	if _, shared := e.store.(store.Shared); shared {
		after = 0 // others read what is written
	}
	for ctx.Err() == nil {
		select {
		case <-tick.C:
			e.logHeard(ctx, e.flushHeard(context.WithoutCancel(ctx), after))
		case <-ctx.Done():
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	e.logHeard(ctx, e.flushHeard(ctx, 0))
}

func (e *Engine) logHeard(ctx context.Context, err error) {
	if err != nil {
		e.log.WarnContext(ctx, "when agents were seen is not written", "error", err)
	}
}

// flushHeard writes of whom it waits to be written for so long.
func (e *Engine) flushHeard(ctx context.Context, after time.Duration) (err error) {
	for org, agents := range e.heard.due(e.now(), after) {
		for some := range slices.Chunk(slices.Collect(maps.Keys(agents)), seenTogether) {
			failed := e.update(ctx, org, func(t *tx) error {
				for _, id := range some {
					if err := t.seen(id, agents[id]); err != nil {
						return err
					}
				}
				return nil
			})
			if failed != nil {
				err = errors.Join(err, failed)
				continue
			}
			for _, id := range some {
				e.heard.written(agentKey{org, id}, agents[id])
			}
		}
	}
	return err
}

// seen writes when an agent was heard of. The roster has that already, and keeps its record.
func (t *tx) seen(id api.AgentID, at time.Time) error {
	a, err := t.Tx.Agent(id) // as it is written
	if errors.Is(err, store.ErrNotFound) || err == nil && !returns(&a) && a.LastSeen.Equal(at) {
		return nil
	}
	if err != nil {
		return err
	}
	before := a
	a.LastSeen = at
	if !returns(&a) {
		return t.Tx.PutAgent(a)
	}
	a.Lost = false
	return errors.Join(t.PutAgent(a), t.heard(before, a))
}

// returns reports whether an agent that is heard of is back: one in quarantine is only seen.
func returns(a *store.Agent) bool { return a.Lost && a.State == store.Active }
