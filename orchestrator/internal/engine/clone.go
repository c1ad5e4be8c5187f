package engine

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// superseded answers a certificate of the agent that is not the current one. One that was
// renewed away and goes on being used means that two have the agent's keys, and nothing
// tells which of them is the agent: both are shut out (G5 of the guarantees).
func (e *Engine) superseded(ctx context.Context, id pki.Identity, agent *store.Agent, serial string) error {
	refusal := api.Errorf(api.CodeBadCertificate, "This certificate was replaced by a newer one that is in use; if the agent has not got that one, somebody else has: enrol it again with a token for its id.")
	now := e.now()
	retired := serial == agent.RetiredSerial
	switch {
	case retired && now.Sub(agent.ActivatedAt) < retireGrace:
		return refusal // its own call, which the first one with the new certificate overtook: it asks again
	case retired && e.strays.goesOn(serial, now):
		return e.shutOutClones(ctx, id, serial)
	}
	e.Refused(ctx, id, "superseded certificate "+serial, refusal)
	return refusal
}

// shutOutClones revokes the agent, unless it has other certificates by now.
func (e *Engine) shutOutClones(ctx context.Context, id pki.Identity, serial string) error {
	var a store.Agent
	err := e.update(context.WithoutCancel(ctx), id.Org, func(t *tx) (err error) {
		a, err = t.Agent(id.Agent)
		if err != nil || a.State == store.Revoked || a.RetiredSerial != serial {
			return err
		}
		a.State, a.RevokedAt = store.Revoked, t.now
		a.RevokedReason = "certificate " + serial + " was renewed away and is used beside the new one: its keys were copied, or an old copy of its files was started"
		t.end(id.Agent, revoked(a))
		t.count(e.counts.clones.Inc)
		return errors.Join(t.PutAgent(a), t.audit(orchestrator, "agent.revoke", string(id.Agent), a.RevokedReason))
	})
	switch {
	case err != nil:
		return err
	case a.State != store.Revoked:
		return api.Errorf(api.CodeBadCertificate, "Agent %s was enrolled again with another key.", id.Agent)
	}
	e.log.ErrorContext(ctx, "an agent's keys are in two places; it was revoked", "org", id.Org, "agent", id.Agent, "certificate", serial)
	return revoked(a)
}

// strays are certificates that were used after they had been renewed away, by serial, and
// since when. A server that restarts sees them again.
type strays struct {
	mu    sync.Mutex // guards since
	since map[string]time.Time
}

// goesOn reports whether this is not the first use: one alone may have been held up on
// its way, by a host that slept.
func (s *strays) goesOn(serial string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if first, seen := s.since[serial]; seen {
		return now.Sub(first) >= retireGrace
	}
	if s.since == nil || len(s.since) >= maxRefusals {
		s.since = map[string]time.Time{}
	}
	s.since[serial] = now
	return false
}
