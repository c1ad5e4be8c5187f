package ca

import (
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/stavily/agents/shared/pkg/pki"
)

const (
	// TokenLifetime is the life of a token that a refresh gives: a stolen one is good for
	// an hour at most, unless it is refreshed, which is on record and ends with a revocation.
	TokenLifetime = time.Hour

	tokenIssuer   = "stavily"
	tokenAudience = "stavily-agents"
)

// Tokens signs and verifies the JSON Web Tokens (RFC 7519) that stand for a certificate
// where a network breaks mutual TLS. Their key is their own, <data>/ca/jwt.key, and
// their only algorithm ES384.
type Tokens struct {
	key         crypto.Signer
	trustDomain string
	now         func() time.Time
}

// Token is one that was issued or verified.
type Token struct {
	Text     string // empty for one that was verified
	ID       string
	Agent    pki.Identity
	Issued   time.Time
	NotAfter time.Time
}

// OpenTokens reads the key in the CA's directory dir, and makes it when there is none.
func OpenTokens(dir string, a *Authority) (*Tokens, error) {
	file := filepath.Join(dir, "jwt.key")
	key, err := openKey(file, file, nil)
	if err != nil {
		return nil, fmt.Errorf("open the key of tokens: %w", err)
	}
	return &Tokens{key: key, trustDomain: a.trustDomain, now: a.now}, nil
}

// Issue makes a token for an agent that lives as long as life.
func (t *Tokens) Issue(id pki.Identity, life time.Duration) (Token, error) {
	id.TrustDomain = t.trustDomain
	if err := id.Validate(); err != nil {
		return Token{}, fmt.Errorf("issue token: %w", err)
	}
	now := t.now().Truncate(time.Second) // which is what it can say
	out := Token{ID: rand.Text(), Agent: id, Issued: now, NotAfter: now.Add(life)}
	text, err := jwt.NewWithClaims(jwt.SigningMethodES384, jwt.RegisteredClaims{
		Issuer: tokenIssuer, Audience: jwt.ClaimStrings{tokenAudience}, Subject: id.String(), ID: out.ID,
		IssuedAt: jwt.NewNumericDate(out.Issued), NotBefore: jwt.NewNumericDate(out.Issued), ExpiresAt: jwt.NewNumericDate(out.NotAfter),
	}).SignedString(t.key)
	if err != nil {
		return Token{}, fmt.Errorf("sign token for agent %s: %w", id.Agent, err)
	}
	out.Text = text
	return out, nil
}

// Verify returns what a token says if this server signed it and it is in its time.
func (t *Tokens) Verify(text string) (Token, error) {
	var claims jwt.RegisteredClaims
	_, err := jwt.ParseWithClaims(text, &claims, func(*jwt.Token) (any, error) { return t.key.Public(), nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodES384.Alg()}), jwt.WithIssuer(tokenIssuer), jwt.WithAudience(tokenAudience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithTimeFunc(t.now), jwt.WithStrictDecoding())
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return Token{}, errors.New("has ended; `stavily tokens create --jwt` makes another one")
	case err != nil:
		return Token{}, errors.New("was not signed by this orchestrator for its agents, or is damaged; `stavily tokens create --jwt` makes one")
	case claims.IssuedAt == nil || claims.ID == "":
		return Token{}, errors.New("lacks iat or jti")
	}
	id, err := pki.ParseURI(claims.Subject)
	if err == nil && id.TrustDomain != t.trustDomain {
		err = fmt.Errorf("trust domain %q is not this orchestrator's", id.TrustDomain)
	}
	if err != nil {
		return Token{}, fmt.Errorf("names nobody: %w", err)
	}
	return Token{ID: claims.ID, Agent: id, Issued: claims.IssuedAt.Time, NotAfter: claims.ExpiresAt.Time}, nil
}
