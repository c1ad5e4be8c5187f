package engine

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/stavily/agents/orchestrator/internal/ca"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// AdmitLate reports whether cert has ended and is good for a renewal all the same: within the
// grace, of a CA that still vouches, and the one that its agent holds, which is not revoked. One
// that is in its time is for [Engine.Admit] to look at.
func (e *Engine) AdmitLate(ctx context.Context, cert *x509.Certificate) (late bool, id pki.Identity, err error) {
	if id, err = pki.ParseIdentity(cert); err != nil {
		return false, id, api.Errorf(api.CodeBadCertificate, "%v.", err)
	}
	now := e.now()
	if !now.After(cert.NotAfter) {
		return false, id, nil
	}
	// Again, whatever the handshake has seen to.
	if err := pki.VerifyLate([]*x509.Certificate{cert}, e.ca.Pool(), e.grace, now); err != nil || id.TrustDomain != e.ca.TrustDomain() {
		return true, id, endedAt(id, cert.NotAfter)
	}
	if by, known := e.ca.Issuer(cert); !known || by.State == ca.StateTainted {
		return true, id, errOtherCA
	}
	agent, err := e.holder(ctx, id, ca.Serial(cert))
	if err == nil && !agent.TokensFrom.IsZero() { // it works by them, and would be kept from it
		err = api.Errorf(api.CodeBadCertificate, "Agent %s comes with tokens by now; enrol it again to let it have a certificate.", id.Agent)
	}
	return true, id, err
}

func endedAt(id pki.Identity, at time.Time) *api.Error {
	return api.Errorf(api.CodeBadCertificate, "The certificate ended at %s; enrol the agent again: `stavily tokens create --type %s --agent-id %s` prints the command.", at.UTC().Format(time.RFC3339), id.Type, id.Agent)
}

// RenewLate issues a certificate over one that has ended, and puts the agent into quarantine:
// for all that is known its disk was somebody else's meanwhile.
func (e *Engine) RenewLate(ctx context.Context, id pki.Identity, serial string, r api.CertificateRequest) (api.EnrollResponse, error) {
	answer, err := e.renew(ctx, id, r, func(t *tx, a *store.Agent) error {
		if serial == a.NextSerial { // it was stored, and not used before it ended
			if err := t.takeUp(a); err != nil {
				return err
			}
		}
		if serial != a.Serial {
			return api.Errorf(api.CodeBadCertificate, "This certificate was replaced by a newer one meanwhile.")
		}
		if a.State == store.Quarantined {
			return nil
		}
		a.State, a.QuarantinedAt = store.Quarantined, t.now
		a.QuarantineReason = fmt.Sprintf("it renewed certificate %s, which had ended at %s", serial, a.NotAfter.UTC().Format(time.RFC3339))
		t.end(id.Agent, quarantined(*a))
		return t.audit(actor(id), "agent.quarantine", string(id.Agent), a.QuarantineReason)
	})
	if err == nil {
		e.log.WarnContext(ctx, "an agent renewed a certificate that had ended; it waits for an admin to approve it", "org", id.Org, "agent", id.Agent, "certificate", serial)
	}
	return answer, err
}

func quarantined(a store.Agent) *api.Error {
	return api.Errorf(api.CodeQuarantined, "Agent %s is in quarantine since %s: %s. An admin lets it in with `stavily agents approve %s`, or refuses it with `stavily agents revoke %s`.",
		a.ID, a.QuarantinedAt.UTC().Format(time.RFC3339), a.QuarantineReason, a.ID, a.ID)
}

// LetIn ends the quarantine of an agent. serial is the certificate that whoever approves
// has seen that it is about: another one may have been asked for since, by somebody else.
func (e *Engine) LetIn(ctx context.Context, org api.OrgID, id api.AgentID, serial string) error {
	return e.update(ctx, org, func(t *tx) error {
		a, err := t.Agent(id)
		switch {
		case err != nil:
			return err
		case a.State != store.Quarantined:
			return api.Errorf(api.CodeConflict, "Agent %s is not in quarantine: it is %s.", id, a.State)
		}
		applied, keyHash := Applied(a)
		if serial != applied {
			return api.Errorf(api.CodeConflict, "Agent %s waits to be let in with certificate %s, and not with %.80q: it may have asked for another one since; look at it again, and see on its host whether that was the agent.", id, applied, serial)
		}
		detail := "certificate " + serial + ", key " + keyHash + "; " + a.QuarantineReason
		a.State, a.QuarantinedAt, a.QuarantineReason = store.Active, time.Time{}, ""
		return errors.Join(t.PutAgent(a), t.audit(t.actor, "agent.approve", string(id), detail))
	})
}

// Applied is the certificate with which an agent in quarantine would be let in: it has used that
// one, or not yet.
func Applied(a store.Agent) (serial, keyHash string) {
	if a.NextSerial != "" {
		return a.NextSerial, a.NextKeyHash
	}
	return a.Serial, a.KeyHash
}
