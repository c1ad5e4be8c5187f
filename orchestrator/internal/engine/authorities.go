package engine

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stavily/agents/orchestrator/internal/ca"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// Bounds of what an agent says about the CAs that it trusts.
const (
	maxAuthorities = 64
	maxFingerprint = 80 // "sha256:" and 64 digits
)

// maxBehind is how many agents a status names.
const maxBehind = 20

// Authorities is how far a rotation of the CA is.
type Authorities struct {
	List []ca.CA // the active one first
	Next string  // the step that is next
	// Agents are those that are let in at this time, of all organisations; Behind those of them
	// because of which Next waits, and Named the first of these, as organisation/agent.
	Agents, Behind int
	Named          []string
}

// why says what the agents that are behind have not done.
func (a Authorities) why() string {
	what := "do not trust the next authority yet"
	if a.Next == ca.StepRevoke {
		what = "still have a certificate of the authority that would be revoked"
	}
	return fmt.Sprintf("%d of %d agents %s, for example %s", a.Behind, a.Agents, what, strings.Join(a.Named[:min(3, len(a.Named))], ", "))
}

// Authorities tells how far a rotation of the CA is.
func (e *Engine) Authorities(ctx context.Context) (a Authorities, err error) {
	a = Authorities{List: e.ca.CAs(), Next: e.ca.NextStep()}
	err = e.eachAgent(ctx, func(org api.OrgID, agent store.Agent) {
		if agent.State == store.Revoked || e.now().After(agent.NotAfter) {
			return
		}
		if a.Agents++; e.holdsUp(agent, a) {
			if a.Behind++; len(a.Named) < maxBehind {
				a.Named = append(a.Named, string(org)+"/"+string(agent.ID))
			}
		}
	})
	return a, err
}

func (e *Engine) eachAgent(ctx context.Context, f func(api.OrgID, store.Agent)) error {
	orgs, err := e.store.Orgs(ctx)
	if err != nil {
		return err
	}
	for _, org := range orgs {
		err := e.View(ctx, org, func(r store.Reader) error {
			agents, err := r.Agents()
			for _, agent := range agents {
				f(org, agent)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// holdsUp reports whether the next step would cut the agent off.
func (e *Engine) holdsUp(agent store.Agent, a Authorities) bool {
	switch a.Next {
	case ca.StepActivate:
		return !trusts(agent, a.List[1])
	case ca.StepRevoke:
		return e.signedBy(agent.CertificatePEM, a.List[1])
	}
	return false
}

// trusts reports whether an agent has a CA in its bundle: it said so, or, of an earlier
// version, its certificate came with it.
func trusts(agent store.Agent, authority ca.CA) bool {
	if agent.Authorities != nil {
		return slices.Contains(agent.Authorities, authority.Fingerprint)
	}
	cert := parsed(agent.CertificatePEM)
	return cert != nil && cert.NotBefore.After(authority.Since)
}

func (e *Engine) signedBy(certificatePEM string, authority ca.CA) bool {
	cert := parsed(certificatePEM)
	if cert == nil {
		return false
	}
	by, known := e.ca.Issuer(cert)
	return known && by.Fingerprint == authority.Fingerprint
}

// parsed is a certificate that was issued here; nil of an agent that comes with tokens.
func parsed(certificatePEM string) *x509.Certificate {
	certs, err := pki.ParseCertificates([]byte(certificatePEM))
	if err != nil {
		return nil
	}
	return certs[0]
}

// RotateCA takes the next step of replacing the CA. step says which one is meant, empty for
// whichever it is. Without force it is refused while agents would be cut off by it. org is that
// of who asks, whose audit has it.
func (e *Engine) RotateCA(ctx context.Context, org api.OrgID, step string, force bool) (Authorities, error) {
	unlock, err := e.lockCA(ctx)
	if err != nil {
		return Authorities{}, err
	}
	defer unlock()
	if _, err := e.ca.Refresh(); err != nil {
		return Authorities{}, err
	}
	before, err := e.Authorities(ctx)
	switch {
	case err != nil:
		return before, err
	case step != "" && !slices.Contains(ca.Steps(), step):
		return before, api.Errorf(api.CodeInvalid, "step %.40q: must be one of %s.", step, strings.Join(ca.Steps(), ", "))
	case step != "" && step != before.Next:
		return before, api.Errorf(api.CodeConflict, "The next step is %s, and not %s; see `stavily ca status`.", before.Next, step)
	case before.Behind > 0 && !force:
		return before, api.Errorf(api.CodeConflict, "%s would cut agents off: %s. `stavily ca status` names them; wait, or mend them; --force goes on without them, and they must be enrolled again.", before.Next, before.why())
	}
	// The record first: a step that is on none must not be taken.
	err = e.update(ctx, org, func(t *tx) error {
		return t.audit(t.actor, "ca."+before.Next, before.List[len(before.List)-1].Fingerprint, fmt.Sprintf("%d agents, %d of them behind", before.Agents, before.Behind))
	})
	if err == nil {
		err = e.ca.Take(before.Next)
	}
	if err == nil && before.Next == ca.StepRevoke {
		err = e.endSigned(ctx)
	}
	if err != nil {
		return before, err
	}
	e.log.InfoContext(ctx, "certificate authority", "step", before.Next, "active", e.ca.Fingerprint(), "behind", before.Behind)
	return e.Authorities(ctx)
}

// lockCA lets one server of a database take a step at a time.
func (e *Engine) lockCA(ctx context.Context) (unlock func(), err error) {
	if shared, ok := e.store.(store.Shared); ok {
		return shared.Lock(ctx, "ca")
	}
	e.rotating.Lock()
	return e.rotating.Unlock, nil
}

// errOtherCA answers a certificate of an authority that was revoked.
var errOtherCA = api.Errorf(api.CodeBadCertificate, "This certificate is of a certificate authority that the orchestrator has revoked; enrol the agent again with a token for its id.")

// endSigned ends what is in flight of agents whose certificate no authority vouches for.
func (e *Engine) endSigned(ctx context.Context) error {
	gone := map[api.OrgID][]api.AgentID{}
	err := e.eachAgent(ctx, func(org api.OrgID, agent store.Agent) {
		if cert := parsed(agent.CertificatePEM); cert != nil {
			if _, known := e.ca.Issuer(cert); !known {
				gone[org] = append(gone[org], agent.ID)
			}
		}
	})
	for org, ids := range gone {
		err = errors.Join(err, e.update(ctx, org, func(t *tx) error {
			for _, id := range ids {
				t.end(id, errOtherCA)
			}
			return nil
		}))
	}
	return err
}

// advise completes the answer to a heartbeat with what the agent is to do about the CA.
func (e *Engine) advise(ctx context.Context, answer *api.HeartbeatResponse, id pki.Identity, h api.Heartbeat) error {
	if len(h.Authorities) > 0 && e.ca.Wants(h.Authorities) {
		answer.CAPEM = e.ca.PEM()
	}
	list := e.ca.CAs()
	if len(list) > 1 {
		answer.HeartbeatSeconds = 0 // so that the next step reaches the agent soon
	}
	if len(list) < 2 || list[1].State != ca.StateTainted {
		return nil
	}
	return e.View(ctx, id.Org, func(r store.Reader) error {
		agent, err := r.Agent(id.Agent) // the roster has no certificates
		answer.RenewCertificate = err == nil && e.signedBy(agent.CertificatePEM, list[1])
		return err
	})
}

func checkAuthorities(list []string) error {
	if len(list) > maxAuthorities {
		return api.Errorf(api.CodeInvalid, "authorities has %d entries and may have %d.", len(list), maxAuthorities)
	}
	for _, one := range list {
		if len(one) > maxFingerprint {
			return api.Errorf(api.CodeInvalid, "An entry of authorities has %d bytes and may have %d: %.40q….", len(one), maxFingerprint, one)
		}
	}
	return nil
}

// stillGood reports whether a certificate that waits to be used first may still be handed
// out: it is not due for renewal itself, and the active authority signed it.
func (e *Engine) stillGood(certificatePEM string, notAfter, now time.Time) bool {
	return notAfter.Sub(now) > e.ca.Lifetime()/3 && e.signedBy(certificatePEM, e.ca.CAs()[0])
}
