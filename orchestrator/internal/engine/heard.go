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
	// seenResolution is how stale an agent's last-seen time may be: a write for every
	// poll would cost more than it tells.
	seenResolution = time.Minute

	// seenPause is how long those wait to be written together whose time is that stale, and
	// seenTogether how many there are in one transaction: others wait behind it.
	seenPause    = 10 * time.Second
	seenTogether = 200

	// restfulHeartbeat is how often agents are to say what is known: that they live is known
	// by their polls.
	restfulHeartbeat = 5 * time.Minute
)

// heard is which agents called when, until that is written. What a crash forgets of it the
// next calls tell again.
type heard struct {
	mu sync.Mutex // guards at
	at map[api.OrgID]map[api.AgentID]time.Time
}

func (h *heard) note(key agentKey, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.at == nil {
		h.at = map[api.OrgID]map[api.AgentID]time.Time{}
	}
	if h.at[key.org] == nil {
		h.at[key.org] = map[api.AgentID]time.Time{}
	}
	h.at[key.org][key.agent] = now
}

// take gives what is noted, and forgets it.
func (h *heard) take() map[api.OrgID]map[api.AgentID]time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := h.at
	h.at = nil
	return at
}

// hearOf notes that an agent lives. That one is back which was lost is news, and is written at
// once.
func (e *Engine) hearOf(ctx context.Context, id pki.Identity, a store.Agent) error {
	now := e.now()
	since := now.Sub(a.LastSeen)
	switch {
	case a.Lost, a.LastSeen.IsZero():
		return e.seen(ctx, id)
	case since > seenResolution, since < 0:
		key := agentKey{id.Org, id.Agent}
		e.heard.note(key, now)
		e.roster.seen(key, now)
	}
	return nil
}

// seen has the roster's record say when an agent called last.
func (r *roster) seen(key agentKey, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a, known := r.known[key]; known {
		a.LastSeen = now
		r.known[key] = a
	}
}

// writeHeard writes who was heard of until ctx is done, and then once more.
func (e *Engine) writeHeard(ctx context.Context) {
	tick := time.NewTicker(seenPause)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		if err := e.flushHeard(context.WithoutCancel(ctx)); err != nil {
			e.log.WarnContext(ctx, "when agents were seen is not written", "error", err)
		}
	}
}

func (e *Engine) flushHeard(ctx context.Context) (err error) {
	for org, agents := range e.heard.take() {
		for some := range slices.Chunk(slices.Collect(maps.Keys(agents)), seenTogether) {
			err = errors.Join(err, e.update(ctx, org, func(t *tx) error {
				for _, id := range some {
					if err := t.seen(id, agents[id]); err != nil {
						return err
					}
				}
				return nil
			}))
		}
	}
	return err
}

// seen writes when an agent was heard of. The roster has that already, and keeps its record.
func (t *tx) seen(id api.AgentID, at time.Time) error {
	a, err := t.Agent(id)
	if errors.Is(err, store.ErrNotFound) || err == nil && !a.Lost && a.LastSeen.Equal(at) {
		return nil
	}
	if err != nil {
		return err
	}
	before := a
	a.LastSeen, a.Lost = at, false
	if !before.Lost {
		return t.Tx.PutAgent(a)
	}
	return errors.Join(t.PutAgent(a), t.heard(before, a))
}
