package engine

import (
	"context"
	"crypto/x509"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/stavily/agents/orchestrator/internal/ca"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// retireGrace is how long calls that were under way when the new certificate was first
// used may still arrive with the old one. They are refused, and nobody is alarmed.
const retireGrace = 10 * time.Second

// Admit says whose certificate cert is and that it is good at this moment: in its
// time, of an agent that is enrolled and not revoked, and the one issued last (or the
// one before it, while the last has not been used). The TLS handshake has verified
// the chain. The context it returns ends with an [*api.Error] as its cause when the
// agent is revoked; release must be called when the request is done.
func (e *Engine) Admit(ctx context.Context, cert *x509.Certificate) (admitted context.Context, id pki.Identity, release func(), err error) {
	id, err = pki.ParseIdentity(cert)
	if err != nil {
		return nil, id, nil, api.Errorf(api.CodeBadCertificate, "%v.", err)
	}
	now := e.now()
	switch {
	case id.TrustDomain != e.ca.TrustDomain():
		return nil, id, nil, api.Errorf(api.CodeBadCertificate, "The certificate is of trust domain %q, this orchestrator's is %q; enrol the agent here.", id.TrustDomain, e.ca.TrustDomain())
	case now.After(cert.NotAfter):
		return nil, id, nil, endedAt(id, cert.NotAfter)
	}
	return e.admit(ctx, id, func(ctx context.Context) error {
		if _, known := e.ca.Issuer(cert); !known { // revoked since the handshake
			return errOtherCA
		}
		return e.checkCurrent(ctx, id, ca.Serial(cert))
	})
}

// admit watches the agent from before the look at its state, so that a revocation in
// between is not missed.
func (e *Engine) admit(ctx context.Context, id pki.Identity, check func(context.Context) error) (context.Context, pki.Identity, func(), error) {
	admitted, release := e.watch(ctx, agentKey{id.Org, id.Agent})
	if err := check(admitted); err != nil {
		release()
		if errors.Is(err, context.Canceled) { // the revocation ended the look itself
			err = context.Cause(admitted)
		}
		return nil, id, nil, err
	}
	return admitted, id, release, nil
}

// checkCurrent admits a certificate that its agent holds. The first use of one that was renewed
// counts while the agent is in quarantine too, and so does when it was seen; nothing else.
func (e *Engine) checkCurrent(ctx context.Context, id pki.Identity, serial string) error {
	agent, err := e.holder(ctx, id, serial)
	switch {
	case err != nil:
		return err
	case serial == agent.NextSerial:
		err = e.activate(ctx, id, serial)
	default:
		err = e.hearOf(ctx, id, agent, e.now())
	}
	if err == nil && agent.State == store.Quarantined {
		return quarantined(*agent)
	}
	return err
}

// holder holds a certificate against the agent's record: it is the one issued last, or the one
// before it.
func (e *Engine) holder(ctx context.Context, id pki.Identity, serial string) (*store.Agent, error) {
	agent, err := e.agent(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return agent, e.namesNobody(ctx, id, serial, api.Errorf(api.CodeBadCertificate, "No agent %s is enrolled in organisation %s; enrol it again.", id.Agent, id.Org))
	case err != nil:
		return agent, err
	case agent.State == store.Revoked:
		return agent, revoked(*agent)
	case agent.Type != id.Type:
		return agent, e.namesNobody(ctx, id, serial, api.Errorf(api.CodeBadCertificate, "Agent %s is enrolled as a %s agent by now; enrol this one under another id.", id.Agent, agent.Type))
	case serial != agent.Serial && serial != agent.NextSerial:
		return agent, e.superseded(ctx, id, agent, serial)
	}
	return agent, nil
}

// namesNobody records a certificate of our CA that no agent of ours has: the database is an
// older one, or somebody else has the CA's key. An organisation is not made by it.
func (e *Engine) namesNobody(ctx context.Context, id pki.Identity, serial string, refusal *api.Error) error {
	orgs, err := e.store.Orgs(ctx)
	if err == nil && slices.Contains(orgs, id.Org) {
		e.Refused(ctx, id, "certificate "+serial+" of nobody", refusal)
	}
	e.log.WarnContext(ctx, "a certificate of this authority that no agent has", "org", id.Org, "agent", id.Agent, "certificate", serial)
	return refusal
}

func revoked(a store.Agent) *api.Error {
	return api.Errorf(api.CodeRevoked, "Agent %s was revoked at %s; to let it in again, enrol it with a token made for its id.", a.ID, a.RevokedAt.UTC().Format(time.RFC3339))
}

// activate makes the renewed certificate the only good one: it has been used, so the
// agent has it.
func (e *Engine) activate(ctx context.Context, id pki.Identity, serial string) error {
	return e.update(ctx, id.Org, func(t *tx) error {
		a, err := t.Agent(id.Agent)
		if err != nil {
			return err
		}
		if a.NextSerial != serial {
			return nil // a request beside this one was first
		}
		return errors.Join(t.takeUp(&a), t.PutAgent(a))
	})
}

// takeUp has the agent's next certificate count, which it has shown.
func (t *tx) takeUp(a *store.Agent) error {
	a.RetiredSerial, a.ActivatedAt = a.Serial, t.now
	a.Serial, a.KeyHash, a.CertificatePEM, a.NotAfter = a.NextSerial, a.NextKeyHash, a.NextCertificatePEM, a.NextNotAfter
	a.NextSerial, a.NextKeyHash, a.NextCertificatePEM, a.NextNotAfter = "", "", "", time.Time{}
	a.LastSeen = t.now
	return t.audit("agent "+string(a.ID), "certificate.activate", string(a.ID), "serial "+a.Serial)
}

// Revoke refuses the agent from now on: its requests in flight end with that answer
// once the revocation is durable. Revoking it again changes nothing.
func (e *Engine) Revoke(ctx context.Context, org api.OrgID, id api.AgentID, reason string) error {
	if len(reason) > maxText {
		return api.Errorf(api.CodeInvalid, "The reason has %d bytes and may have %d.", len(reason), maxText)
	}
	return e.update(ctx, org, func(t *tx) error {
		a, err := t.Agent(id)
		if err != nil || a.State == store.Revoked {
			return err
		}
		a.State, a.RevokedAt, a.RevokedReason = store.Revoked, t.now, reason
		t.end(id, revoked(a))
		return errors.Join(t.PutAgent(a), t.audit(t.actor, "agent.revoke", string(id), reason))
	})
}

func (e *Engine) seen(ctx context.Context, id pki.Identity) error {
	return e.update(ctx, id.Org, func(t *tx) error {
		err := t.seen(id.Agent, t.now)
		t.agents = append(t.agents, id.Agent)
		return err
	})
}

// Refused audits that an agent tried what it may not, once a minute for each agent and
// thing. That the record could not be written is logged: the refusal stands either way.
func (e *Engine) Refused(ctx context.Context, id pki.Identity, what string, reason *api.Error) {
	if !e.refusals.first(actor(id)+" "+what, e.now()) {
		return
	}
	// A caller that hangs up at once is audited as well.
	err := e.update(context.WithoutCancel(ctx), id.Org, func(t *tx) error {
		return t.audit(actor(id), "refused", what, string(reason.Code)+": "+reason.Message)
	})
	if err != nil {
		e.log.ErrorContext(ctx, "audit of a refusal", "agent", id.Agent, "what", what, "error", err)
	}
}

// RecordStrangers audits in an organisation who was refused at a listener before it was known
// whose the connection or request was.
func (e *Engine) RecordStrangers(ctx context.Context, org api.OrgID, listener, detail string) error {
	return e.update(ctx, org, func(t *tx) error { return t.audit("strangers", "strangers.refused", listener, detail) })
}

// Bounds on records of refusals, so that one that is repeated at full speed does not
// fill the disk.
const (
	refusalPause = time.Minute
	maxRefusals  = 4096 // that are remembered, some 100 bytes each
)

// refusals are those of the last minute.
type refusals struct {
	mu   sync.Mutex // guards last
	last map[string]time.Time
}

// first reports whether what was not refused within the last minute.
func (r *refusals) first(what string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if since := now.Sub(r.last[what]); since >= 0 && since < refusalPause {
		return false
	}
	if len(r.last) >= maxRefusals {
		maps.DeleteFunc(r.last, func(_ string, t time.Time) bool { return now.Sub(t) >= refusalPause || now.Before(t) })
	}
	if r.last == nil || len(r.last) >= maxRefusals {
		r.last = map[string]time.Time{}
	}
	r.last[what] = now
	return true
}

// actor is how audit records name an agent.
func actor(id pki.Identity) string { return "agent " + string(id.Agent) }
