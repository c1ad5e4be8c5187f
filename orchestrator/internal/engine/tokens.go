package engine

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// Lives of enrolment tokens.
const (
	defaultTokenTTL = time.Hour
	MaxTokenTTL     = 24 * time.Hour
)

// tokenPrefix makes a leaked token recognisable, for people and for scanners.
const tokenPrefix = "svt_"

// newToken makes a token of org with 130 random bits. It names the organisation so
// that it can be looked up in that one alone.
func newToken(org api.OrgID) string {
	return tokenPrefix + string(org) + "_" + strings.ToLower(rand.Text())
}

// tokenOrg is the organisation that a token claims, and whether it has a token's form.
func tokenOrg(token string) (api.OrgID, bool) {
	rest, ok := strings.CutPrefix(token, tokenPrefix)
	end := strings.LastIndexByte(rest, '_')
	if !ok || end < 0 {
		return "", false
	}
	org := api.OrgID(rest[:end])
	return org, org.Validate() == nil
}

// tokenHash is how a token is stored. It has 130 random bits, so it needs no salt
// and no slow hash.
func tokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// TokenSpec says what a token is for.
type TokenSpec struct {
	Type  api.AgentType
	Agent api.AgentID   // "": any agent that is not enrolled yet
	TTL   time.Duration // 0: one hour; at most 24
	Note  string
}

// CreateToken makes an enrolment token and returns it; only its hash is kept.
func (e *Engine) CreateToken(ctx context.Context, org api.OrgID, spec TokenSpec) (token string, record store.Token, err error) {
	if err := spec.check(); err != nil {
		return "", store.Token{}, err
	}
	token = newToken(org)
	err = e.update(ctx, org, func(t *tx) error {
		record = store.Token{
			Hash: tokenHash(token), Type: spec.Type, AgentID: spec.Agent,
			CreatedAt: t.now, ExpiresAt: t.now.Add(spec.TTL), Note: spec.Note,
		}
		if err := t.audit(t.actor, "token.create", record.Hash[:12], string(spec.Type)+" "+string(spec.Agent)); err != nil {
			return err
		}
		return t.PutToken(record)
	})
	return token, record, err
}

func (s *TokenSpec) check() error {
	if err := s.Type.Validate(); err != nil {
		return api.Errorf(api.CodeInvalid, "%v.", err)
	}
	if s.Agent != "" && s.Agent.Validate() != nil {
		return api.Errorf(api.CodeInvalid, "%v.", s.Agent.Validate())
	}
	if s.TTL == 0 {
		s.TTL = defaultTokenTTL
	}
	if s.TTL < time.Second || s.TTL > MaxTokenTTL {
		return api.Errorf(api.CodeInvalid, "A token lives from 1s to %s, and not %s.", MaxTokenTTL, s.TTL)
	}
	if len(s.Note) > maxText {
		return api.Errorf(api.CodeInvalid, "The note has %d bytes and may have %d.", len(s.Note), maxText)
	}
	return nil
}
