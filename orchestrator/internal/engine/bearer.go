package engine

import (
	"context"
	"errors"
	"time"

	"github.com/stavily/agents/orchestrator/internal/ca"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// errNoTokens is the answer of a server that was not told to take them.
var errNoTokens = api.Errorf(api.CodeInvalid, "This orchestrator takes no tokens instead of certificates; start it with --allow-jwt if a network in between breaks mutual TLS.")

// TakesTokens reports whether agents may come with a token instead of a certificate.
func (e *Engine) TakesTokens() bool { return e.jwt != nil }

// AdmitToken does for the token of an agent what [Engine.Admit] does for a certificate:
// who it is comes from what is signed, and the same record decides.
func (e *Engine) AdmitToken(ctx context.Context, text string) (admitted context.Context, id pki.Identity, release func(), err error) {
	token, err := e.jwt.Verify(text)
	if err != nil {
		return nil, id, nil, api.Errorf(api.CodeBadToken, "The token %v.", err)
	}
	return e.admit(ctx, token.Agent, func(ctx context.Context) error { return e.checkToken(ctx, token) })
}

func (e *Engine) checkToken(ctx context.Context, token ca.Token) error {
	id := token.Agent
	agent, err := e.agent(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return api.Errorf(api.CodeBadToken, "No agent %s is known in organisation %s; make a token for it.", id.Agent, id.Org)
	case err != nil:
		return err
	case agent.State == store.Revoked:
		return revoked(*agent)
	case agent.State == store.Quarantined:
		return quarantined(*agent)
	case agent.Type != id.Type:
		return api.Errorf(api.CodeBadToken, "Agent %s is a %s agent by now; make a token for another id.", id.Agent, agent.Type)
	case agent.TokensFrom.IsZero() || token.Issued.Before(agent.TokensFrom):
		return api.Errorf(api.CodeBadToken, "Tokens of agent %s from before it was let in anew are not good any more.", id.Agent)
	}
	return e.hearOf(ctx, id, agent, e.now())
}

// CreateJWT makes a token with which the agent comes instead of a certificate. An agent
// that is not known, was revoked or is in quarantine is let in by it.
func (e *Engine) CreateJWT(ctx context.Context, org api.OrgID, spec TokenSpec) (ca.Token, error) {
	if e.jwt == nil {
		return ca.Token{}, errNoTokens
	}
	if err := spec.check(); err != nil {
		return ca.Token{}, err
	}
	if spec.Agent == "" {
		return ca.Token{}, api.Errorf(api.CodeInvalid, "A token instead of a certificate is for one agent: say which with --agent-id.")
	}
	id := pki.Identity{Org: org, Type: spec.Type, Agent: spec.Agent}
	token, err := e.jwt.Issue(id, spec.TTL)
	if err != nil {
		return token, err
	}
	err = e.update(ctx, org, func(t *tx) error {
		a, err := t.Agent(spec.Agent)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		known := err == nil && a.State == store.Active
		// One that was refreshed by a thief just before the revocation has the same second.
		if a.State == store.Revoked && token.Issued.Before(a.RevokedAt) {
			return api.Errorf(api.CodeConflict, "Agent %s was revoked within this second, and tokens count whole seconds; make the token again in a moment.", a.ID)
		}
		if known && a.Type != spec.Type {
			return api.Errorf(api.CodeConflict, "Agent %s is enrolled as a %s agent; choose another id.", a.ID, a.Type)
		}
		if !known {
			a = store.Agent{ID: spec.Agent, Type: spec.Type, Name: string(spec.Agent), Status: StatusOffline, State: store.Active, EnrolledAt: t.now, LastSeen: a.LastSeen}
		}
		if a.TokensFrom.IsZero() {
			a.TokensFrom = token.Issued
		}
		if a.Serial == "" { // nothing else says how long it is let in
			a.NotAfter = token.NotAfter
		}
		return errors.Join(t.PutAgent(a), t.audit(t.actor, "jwt.create", string(a.ID), "token "+token.ID+", until "+token.NotAfter.UTC().Format(time.RFC3339)+": less than a certificate, which cannot be stolen without its key"))
	})
	return token, err
}

// RefreshToken gives an agent that came with a token the next one.
func (e *Engine) RefreshToken(ctx context.Context, id pki.Identity) (api.TokenResponse, error) {
	if e.jwt == nil {
		return api.TokenResponse{}, errNoTokens
	}
	token, err := e.jwt.Issue(id, ca.TokenLifetime)
	if err != nil {
		return api.TokenResponse{}, err
	}
	err = e.update(ctx, id.Org, func(t *tx) error {
		a, err := t.Agent(id.Agent)
		if err != nil {
			return err
		}
		if a.Serial == "" {
			a.NotAfter = token.NotAfter
		}
		return errors.Join(t.PutAgent(a), t.audit(actor(id), "jwt.refresh", string(id.Agent), "token "+token.ID+", until "+token.NotAfter.UTC().Format(time.RFC3339)))
	})
	return api.TokenResponse{Token: token.Text, ExpiresAt: api.At(token.NotAfter)}, err
}
