package pki

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/limits"
)

// maxToken is far above what a token of ours takes: 600 bytes.
const maxToken = 16 << 10

// token is what stands for a certificate: a JSON Web Token, of which the agent reads who
// it is and for how long. Whether it is true, the orchestrator says.
type token struct {
	text       string
	identity   Identity
	begin, end time.Time
}

// parseToken reads the claims. It verifies nothing: this agent has no key to do so, and
// nothing is allowed by what they say.
func parseToken(text string) (*token, error) {
	if len(text) > maxToken {
		return nil, fmt.Errorf("has %d bytes and may have %d", len(text), maxToken)
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("is not a JSON Web Token in one line; `stavily tokens create --jwt` prints one")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, errors.New("is damaged: its claims are not base64url")
	}
	var claims struct {
		Subject  string `json:"sub"`
		IssuedAt int64  `json:"iat"`
		Expires  int64  `json:"exp"`
	}
	if err := limits.UnmarshalJSON(payload, &claims); err != nil {
		return nil, fmt.Errorf("is damaged: its claims are no JSON: %w", err)
	}
	is, err := ParseURI(claims.Subject)
	if err != nil {
		return nil, fmt.Errorf("names nobody: its subject %.200q %w", claims.Subject, err)
	}
	if claims.Expires <= claims.IssuedAt {
		return nil, errors.New("does not say from when to when it is good")
	}
	return &token{text: text, identity: is, begin: time.Unix(claims.IssuedAt, 0), end: time.Unix(claims.Expires, 0)}, nil
}

// loadToken reads the token and the CA instead of a certificate and its key.
func loadToken(f Files) (*material, error) {
	m := &material{roots: x509.NewCertPool()}
	text, err := readFile("token", "api.auth.token_file", f.Token)
	if err != nil {
		return nil, err
	}
	if m.token, err = parseToken(strings.TrimSpace(string(text))); err != nil {
		return nil, fmt.Errorf("token %s: %w", f.Token, err)
	}
	m.identity, m.certPEM = m.token.identity, text
	cas, text, err := readCertificates("CA certificate", "api.auth.ca_file", f.CA)
	if err != nil {
		return nil, err
	}
	m.caPEM = text
	m.trust(cas)
	m.warnings = guardKey(f.Token)
	return m, nil
}

// Bearer is the token that stands for a certificate; empty where there is one.
func (c *Credentials) Bearer() string {
	if t := c.now().token; t != nil {
		return t.text
	}
	return ""
}

// Life is from when to when the certificate, or the token, is good.
func (c *Credentials) Life() (begin, end time.Time) {
	m := c.now()
	if m.token != nil {
		return m.token.begin, m.token.end
	}
	return m.certificate.Leaf.NotBefore, m.certificate.Leaf.NotAfter
}

// Refreshed stores the next token and takes it into use.
func (c *Credentials) Refreshed(text string) error {
	next, err := parseToken(text)
	if err != nil {
		return fmt.Errorf("the next token %w", err)
	}
	if next.identity != c.Identity() {
		return fmt.Errorf("the next token is for %s and this agent is %s: it is not stored", next.identity, c.Identity())
	}
	if err := atomicfile.Write(c.files.Token, []byte(text+"\n"), 0o600); err != nil {
		return fmt.Errorf("store the next token: %w", err)
	}
	return c.Reload()
}
