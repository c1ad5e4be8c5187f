package engine

import (
	"context"
	"crypto/x509"
	"errors"
	"strings"
	"time"

	"github.com/stavily/agents/orchestrator/internal/ca"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// Bounds of what an agent says about itself.
const (
	maxText = 255 // a name, host name, version, tag, sandbox level or note
	maxTags = 64
)

// application is an enrolment request that was checked.
type application struct {
	api.EnrollRequest
	csr       *x509.CertificateRequest
	keyHash   string
	tokenHash string
}

// Enroll redeems a token for an agent's first certificate. A token is bound to the
// key that first used it: the same request again, after a lost answer, gets the same
// certificate; anybody else is refused.
func (e *Engine) Enroll(ctx context.Context, token string, r api.EnrollRequest) (api.EnrollResponse, error) {
	org, err := e.findToken(ctx, token)
	if err != nil {
		return api.EnrollResponse{}, err
	}
	a, err := newApplication(token, r)
	if err != nil {
		return api.EnrollResponse{}, err
	}
	var certificate string
	err = e.update(ctx, org, func(t *tx) (err error) {
		certificate, err = t.enroll(a)
		return err
	})
	var refusal *api.Error
	if errors.As(err, &refusal) { // somebody has a token that was not meant for them
		e.Refused(ctx, pki.Identity{Org: org, Type: r.AgentType, Agent: r.AgentID}, "enrolment", refusal)
	}
	if err != nil {
		return api.EnrollResponse{}, err
	}
	return api.EnrollResponse{AgentID: r.AgentID, OrganizationID: org, CertificatePEM: certificate, CAPEM: e.ca.PEM()}, nil
}

// findToken looks before anything is parsed or written: whoever guesses tokens costs
// one read.
func (e *Engine) findToken(ctx context.Context, token string) (api.OrgID, error) {
	org, ok := tokenOrg(token)
	if !ok {
		return "", badToken("is not one that this orchestrator makes; copy it whole")
	}
	err := e.View(ctx, org, func(r store.Reader) error {
		_, err := r.Token(tokenHash(token))
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return "", badToken("is unknown")
	}
	return org, err
}

func badToken(what string) *api.Error {
	return api.Errorf(api.CodeBadToken, "The enrolment token %s. `stavily tokens create` makes a new one.", what)
}

func newApplication(token string, r api.EnrollRequest) (application, error) {
	if err := r.AgentID.Validate(); err != nil {
		return application{}, api.Errorf(api.CodeInvalid, "%v.", err)
	}
	if err := r.AgentType.Validate(); err != nil {
		return application{}, api.Errorf(api.CodeInvalid, "%v.", err)
	}
	if err := checkTexts(append([]string{r.Name, r.Hostname, r.Version}, r.Tags...)); err != nil {
		return application{}, err
	}
	if err := checkTexts(postureTexts(r.Sandbox)); err != nil {
		return application{}, err
	}
	csr, keyHash, err := parseCSR(r.CSRPEM)
	return application{r, csr, keyHash, tokenHash(token)}, err
}

func checkTexts(texts []string) error {
	if len(texts) > maxTags+3 {
		return api.Errorf(api.CodeInvalid, "More than %d tags or words about the sandbox.", maxTags)
	}
	for _, s := range texts {
		if len(s) > maxText {
			return api.Errorf(api.CodeInvalid, "A name, host name, version, tag or sandbox level has %d bytes and may have %d: %.40q….", len(s), maxText, s)
		}
	}
	return nil
}

func parseCSR(pem string) (*x509.CertificateRequest, string, error) {
	csr, err := pki.ParseCSR([]byte(pem))
	if err != nil {
		return nil, "", api.Errorf(api.CodeInvalid, "The certificate request is not usable: %v.", err)
	}
	keyHash, err := pki.KeyHash(csr.PublicKey)
	if err != nil {
		return nil, "", api.Errorf(api.CodeInvalid, "The certificate request is not usable: %v.", err)
	}
	return csr, keyHash, nil
}

// enroll decides on an application. An agent of that id with another key, or with a
// later certificate, is locked out by it.
func (t *tx) enroll(a application) (certificate string, err error) {
	token, err := t.Token(a.tokenHash)
	if err != nil {
		return "", err
	}
	if err := matches(token, a); err != nil {
		return "", err
	}
	existing, err := t.Agent(a.AgentID)
	enrolled := err == nil
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", err
	}
	if !token.UsedAt.IsZero() {
		return repeated(token, existing, a)
	}
	if t.now.After(token.ExpiresAt) {
		return "", badToken("expired at " + token.ExpiresAt.UTC().Format(time.RFC3339))
	}
	if enrolled && token.AgentID == "" && (existing.State != store.Active || existing.Type != a.AgentType || existing.KeyHash != a.keyHash) {
		return "", api.Errorf(api.CodeConflict, "Agent %s is enrolled already, with another key; choose another id, or replace it with a token made for it: stavily tokens create --type %s --agent-id %s.", a.AgentID, a.AgentType, a.AgentID)
	}
	if enrolled {
		t.end(a.AgentID, api.Errorf(api.CodeBadCertificate, "Agent %s was enrolled again with another key.", a.AgentID))
	}
	issued, err := t.admitAgent(token, existing, a)
	return issued.PEM, err
}

// matches holds an application against what its token was made for.
func matches(token store.Token, a application) error {
	switch {
	case token.Type != a.AgentType:
		return badToken("is for agents of type " + string(token.Type) + " and this one is of type " + string(a.AgentType))
	case token.AgentID != "" && token.AgentID != a.AgentID:
		return badToken("was made for agent " + string(token.AgentID) + " and not for " + string(a.AgentID))
	case !token.UsedAt.IsZero() && (token.KeyHash != a.keyHash || token.UsedBy != a.AgentID):
		return badToken("was used already, by agent " + string(token.UsedBy))
	}
	return nil
}

// repeated answers a token's second use by its own key: the answer was lost.
func repeated(token store.Token, existing store.Agent, a application) (string, error) {
	switch {
	case existing.State == store.Revoked:
		return "", revoked(existing)
	case existing.KeyHash != a.keyHash:
		return "", badToken("was used already, and agent " + string(token.UsedBy) + " has another key by now")
	}
	return existing.CertificatePEM, nil
}

// admitAgent issues the certificate and records agent, token and audit.
func (t *tx) admitAgent(token store.Token, existing store.Agent, a application) (ca.Certificate, error) {
	id := pki.Identity{Org: t.org, Type: a.AgentType, Agent: a.AgentID}
	issued, err := t.engine.ca.Issue(id, a.csr.PublicKey)
	if err != nil {
		return issued, err
	}
	token.UsedAt, token.UsedBy, token.KeyHash = t.now, a.AgentID, a.keyHash
	agent := store.Agent{
		ID: a.AgentID, Type: a.AgentType, Name: a.Name, Hostname: strings.ToLower(a.Hostname), Version: a.Version, Tags: a.Tags,
		Status: StatusOffline, State: store.Active, KeyHash: a.keyHash, Serial: issued.Serial, CertificatePEM: issued.PEM,
		NotAfter: issued.NotAfter, EnrolledAt: t.now, LastSeen: existing.LastSeen, Lost: existing.Lost, Sandbox: a.Sandbox,
	}
	return issued, errors.Join(
		t.PutToken(token),
		t.PutAgent(agent),
		t.audit(actor(id), "agent.enroll", string(a.AgentID), "token "+token.Hash[:12]+", key "+a.keyHash+", serial "+issued.Serial+", sandbox "+a.Sandbox.String()),
	)
}

// Renew issues another certificate for the agent that asks, over the one it asked
// with. Both are good until the new one is used; asking again with the same key before
// that gets the same certificate.
func (e *Engine) Renew(ctx context.Context, id pki.Identity, r api.CertificateRequest) (api.EnrollResponse, error) {
	return e.renew(ctx, id, r, func(t *tx, a *store.Agent) error {
		if a.State == store.Quarantined {
			return quarantined(*a)
		}
		return nil
	})
}

// renew issues the next certificate of an agent that before lets have one.
func (e *Engine) renew(ctx context.Context, id pki.Identity, r api.CertificateRequest, before func(*tx, *store.Agent) error) (api.EnrollResponse, error) {
	csr, keyHash, err := parseCSR(r.CSRPEM)
	if err != nil {
		return api.EnrollResponse{}, err
	}
	var certificate string
	err = e.update(ctx, id.Org, func(t *tx) error {
		a, err := t.Agent(id.Agent)
		if err != nil {
			return err
		}
		if a.State == store.Revoked {
			return revoked(a)
		}
		if a.NextSerial != "" && a.NextKeyHash == keyHash && e.stillGood(a.NextCertificatePEM, a.NextNotAfter, t.now) {
			certificate = a.NextCertificatePEM
			return nil
		}
		if err := before(t, &a); err != nil {
			return err
		}
		issued, err := e.ca.Issue(id, csr.PublicKey)
		if err != nil {
			return err
		}
		certificate = issued.PEM
		a.NextSerial, a.NextKeyHash, a.NextCertificatePEM, a.NextNotAfter = issued.Serial, keyHash, issued.PEM, issued.NotAfter
		return errors.Join(t.PutAgent(a), t.audit(actor(id), "certificate.renew", string(id.Agent), "key "+keyHash+", serial "+issued.Serial))
	})
	if err != nil {
		return api.EnrollResponse{}, err
	}
	return api.EnrollResponse{AgentID: id.Agent, OrganizationID: id.Org, CertificatePEM: certificate, CAPEM: e.ca.PEM()}, nil
}
