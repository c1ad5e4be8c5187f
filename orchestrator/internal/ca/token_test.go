package ca

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

func TestTokens(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	dir := t.TempDir()
	a, err := Open(dir, Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	open := func(dir string) *Tokens {
		t.Helper()
		tokens, err := OpenTokens(dir, a)
		if err != nil {
			t.Fatal(err)
		}
		return tokens
	}
	tokens := open(dir)
	id := pki.Identity{TrustDomain: DefaultTrustDomain, Org: "acme", Type: api.Sensor, Agent: "web-01"}
	made, err := tokens.Issue(id, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	got, err := open(dir).Verify(made.Text) // the key is the same after a restart
	if err != nil || got.Agent != id || !got.NotAfter.Equal(made.NotAfter) || !got.Issued.Equal(now) || got.ID != made.ID {
		t.Errorf("Verify = %+v, %v; want %+v", got, err, made)
	}

	part := strings.Split(made.Text, ".")
	sign := func(method jwt.SigningMethod, key any, change func(*jwt.RegisteredClaims)) string {
		t.Helper()
		claims := jwt.RegisteredClaims{Issuer: tokenIssuer, Audience: jwt.ClaimStrings{tokenAudience}, Subject: id.String(), ID: "x",
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(time.Hour))}
		if change != nil {
			change(&claims)
		}
		text, err := jwt.NewWithClaims(method, claims).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	public, err := pki.KeyHash(tokens.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	other := open(t.TempDir())
	for name, text := range map[string]string{
		"empty":             "",
		"cut":               made.Text[:len(made.Text)-2],
		"other claims":      part[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"spiffe://stavily/org/evil/action/root"}`)) + "." + part[2],
		"no signature":      sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil),
		"the public key":    sign(jwt.SigningMethodHS384, []byte(public), nil),
		"another server's":  sign(jwt.SigningMethodES384, other.key, nil),
		"another issuer":    sign(jwt.SigningMethodES384, tokens.key, func(c *jwt.RegisteredClaims) { c.Issuer = "x" }),
		"another audience":  sign(jwt.SigningMethodES384, tokens.key, func(c *jwt.RegisteredClaims) { c.Audience = jwt.ClaimStrings{"people"} }),
		"ended":             sign(jwt.SigningMethodES384, tokens.key, func(c *jwt.RegisteredClaims) { c.ExpiresAt = jwt.NewNumericDate(now.Add(-time.Second)) }),
		"without an end":    sign(jwt.SigningMethodES384, tokens.key, func(c *jwt.RegisteredClaims) { c.ExpiresAt = nil }),
		"without beginning": sign(jwt.SigningMethodES384, tokens.key, func(c *jwt.RegisteredClaims) { c.IssuedAt = nil }),
		"from the future":   sign(jwt.SigningMethodES384, tokens.key, func(c *jwt.RegisteredClaims) { c.IssuedAt = jwt.NewNumericDate(now.Add(time.Minute)) }),
		"another domain":    sign(jwt.SigningMethodES384, tokens.key, func(c *jwt.RegisteredClaims) { c.Subject = "spiffe://other/org/acme/sensor/web-01" }),
		"nobody":            sign(jwt.SigningMethodES384, tokens.key, func(c *jwt.RegisteredClaims) { c.Subject = "web-01" }),
	} {
		if got, err := tokens.Verify(text); err == nil {
			t.Errorf("%s: taken for %+v", name, got)
		}
	}
}
