package openid

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
)

const (
	// PathLogin and PathCallback are those of the web listener.
	PathLogin    = "/oidc/login"
	PathCallback = "/oidc/callback"

	answerLimit = 10 * time.Second
	maxAnswer   = 1 << 20 // of the provider: its keys take some KiB
	maxFile     = 1 << 20
	flowLife    = 10 * time.Minute
	maxFlow     = 2 << 10

	// flowCookie has the prefix that binds it to this host. It is Lax, since it is the
	// provider's page that leads back here.
	flowCookie = "__Host-stavily-oidc"
)

// Options name a provider.
type Options struct {
	Issuer     string // URL
	ClientID   string
	SecretFile string // file with the client's secret; empty: a public client
	CAFile     string // file with the CA of the provider's certificate, PEM; empty: those of the system
}

// Provider is one provider. Make it with [New].
type Provider struct {
	issuer, client, secret string
	http                   *http.Client

	mu    sync.Mutex // guards known
	known *oidc.Provider
}

// Check says whether the options can be those of a provider, without a look at their files.
func (o Options) Check() error {
	u, err := url.Parse(o.Issuer)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("--oidc-issuer %q: must be the https:// URL of an OpenID provider", o.Issuer)
	}
	if o.ClientID == "" {
		return errors.New("--oidc-client-id is missing: the provider gives one to each client")
	}
	return nil
}

// New checks options, and asks nobody.
func New(o Options) (*Provider, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	p := &Provider{issuer: o.Issuer, client: o.ClientID}
	if o.SecretFile != "" {
		text, err := limits.ReadFile(o.SecretFile, maxFile)
		if err != nil {
			return nil, fmt.Errorf("--oidc-client-secret-file: %w", err)
		}
		p.secret = strings.TrimSpace(string(text))
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		text, err := limits.ReadFile(o.CAFile, maxFile)
		if err != nil {
			return nil, fmt.Errorf("--oidc-ca-file: %w", err)
		}
		if conf.RootCAs = x509.NewCertPool(); !conf.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("--oidc-ca-file %s has no certificate in PEM", o.CAFile)
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = conf
	p.http = &http.Client{Transport: bounded{transport}, Timeout: answerLimit}
	return p, nil
}

// bounded bounds the answers that are read.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, maxAnswer)
	}
	return resp, err
}

// flow is a login that has begun. The browser keeps it.
type flow struct {
	State    string    `json:"state"`
	Nonce    string    `json:"nonce"`
	Verifier string    `json:"verifier"`
	Org      api.OrgID `json:"org"`
	Next     string    `json:"next"`
}

// Begin is where a browser goes to log in, and what it keeps until it comes back. host is the
// name by which it called the server.
func (p *Provider) Begin(ctx context.Context, host string, org api.OrgID, next string) (to string, keep *http.Cookie, err error) {
	if len(next) > maxFlow/2 {
		next = "/"
	}
	f := flow{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Org: org, Next: next}
	conf, _, err := p.config(ctx, host)
	if err != nil {
		return "", nil, err
	}
	text, err := json.Marshal(f)
	if err != nil {
		return "", nil, err
	}
	keep = cookie(base64.RawURLEncoding.EncodeToString(text))
	keep.MaxAge = int(flowLife / time.Second)
	return conf.AuthCodeURL(f.State, oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier)), keep, nil
}

// Done lets the browser forget a login that has ended.
func Done() *http.Cookie {
	c := cookie("")
	c.MaxAge = -1
	return c
}

func cookie(value string) *http.Cookie {
	return &http.Cookie{Name: flowCookie, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
}

// errFlow is the answer to who comes back without having been sent.
var errFlow = api.Errorf(api.CodeUnauthenticated, "This login was not begun in this browser, or has taken too long; log in again.")

// Return is a browser that has come back.
type Return struct {
	Org  api.OrgID
	Next string

	flow flow
	code string
	host string
}

// Back reads with what a browser came back, and holds it against what it kept.
func Back(header http.Header, query url.Values, host string) (Return, error) {
	r := http.Request{Header: header}
	kept, err := r.Cookie(flowCookie)
	if err != nil || len(kept.Value) > maxFlow {
		return Return{}, errFlow
	}
	var f flow
	text, err := base64.RawURLEncoding.DecodeString(kept.Value)
	if err != nil || limits.UnmarshalJSON(text, &f) != nil || f.State == "" || f.Nonce == "" ||
		subtle.ConstantTimeCompare([]byte(f.State), []byte(query.Get("state"))) != 1 || f.Org.Validate() != nil {
		return Return{}, errFlow
	}
	if why := query.Get("error"); why != "" {
		return Return{}, api.Errorf(api.CodeUnauthenticated, "The OpenID provider has not let you in: %.200q.", why)
	}
	return Return{Org: f.Org, Next: f.Next, flow: f, code: query.Get("code"), host: host}, nil
}

// Subject redeems the code of a browser that has come back, and is whom the provider vouches
// for: its issuer and its subject.
func (p *Provider) Subject(ctx context.Context, r Return) (string, error) {
	conf, known, err := p.config(ctx, r.host)
	if err != nil {
		return "", err
	}
	ctx = oidc.ClientContext(ctx, p.http)
	token, err := conf.Exchange(ctx, r.code, oauth2.VerifierOption(r.flow.Verifier))
	if err != nil {
		return "", fmt.Errorf("%w: redeem the code: %w", errFlow, err)
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := known.VerifierContext(ctx, &oidc.Config{ClientID: p.client}).Verify(ctx, raw)
	if err != nil {
		return "", fmt.Errorf("%w: ID token: %w", errFlow, err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(r.flow.Nonce)) != 1 {
		return "", fmt.Errorf("%w: the ID token is of another login", errFlow)
	}
	if id.Subject == "" {
		return "", fmt.Errorf("%w: the ID token is of nobody", errFlow)
	}
	return id.Issuer + " " + id.Subject, nil
}

// config asks the provider for its addresses, once.
func (p *Provider) config(ctx context.Context, host string) (*oauth2.Config, *oidc.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		// The provider keeps the context for its keys: one that does not end with the request.
		known, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), p.http), p.issuer)
		if err != nil {
			away := api.Errorf(api.CodeUnavailable, "The OpenID provider %s does not answer as one; try again, or log in with a password.", p.issuer)
			return nil, nil, errors.Join(away, err)
		}
		p.known = known
	}
	return &oauth2.Config{
		ClientID: p.client, ClientSecret: p.secret, Endpoint: p.known.Endpoint(), RedirectURL: "https://" + host + PathCallback, Scopes: []string{oidc.ScopeOpenID},
	}, p.known, nil
}
