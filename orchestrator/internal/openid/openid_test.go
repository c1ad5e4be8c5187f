package openid_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/openid"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
)

const clientID, clientSecret = "stavily", "the client's secret"

// idp is a small OpenID provider over TLS that signs tokens with its key, and says of everybody
// that they are whom subject names.
type idp struct {
	*httptest.Server
	t       *testing.T
	key     *ecdsa.PrivateKey
	subject string
	redeem  int                   // how often it was asked to redeem a code
	codes   map[string]url.Values // what was asked for with each code that was not redeemed
	// What the next token says otherwise than it should.
	lie func(claims map[string]any) (key any, alg jose.SignatureAlgorithm)
}

func newIDP(t *testing.T) *idp {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &idp{t: t, key: key, subject: "ann-7", codes: map[string]url.Values{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		p.answer(w, map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"ES256", "HS256", "none"},
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		p.answer(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.key.Public(), KeyID: "1", Algorithm: "ES256", Use: "sig"}}})
	})
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.token)
	p.Server = httptest.NewTLSServer(mux)
	t.Cleanup(p.Close)
	return p
}

func (p *idp) answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		p.t.Error(err)
	}
}

func (p *idp) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("client_id") != clientID || q.Get("code_challenge_method") != "S256" || q.Get("response_type") != "code" || q.Get("nonce") == "" {
		p.t.Errorf("asked for %v", q)
	}
	code := rand.Text()
	p.codes[code] = q
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {q.Get("state")}}.Encode(), http.StatusFound)
}

func (p *idp) token(w http.ResponseWriter, r *http.Request) {
	p.redeem++
	id, secret, _ := r.BasicAuth()
	secret, _ = url.QueryUnescape(secret)
	asked, known := p.codes[r.FormValue("code")]
	delete(p.codes, r.FormValue("code"))
	sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	if id != clientID || secret != clientSecret || !known || base64.RawURLEncoding.EncodeToString(sum[:]) != asked.Get("code_challenge") || r.FormValue("redirect_uri") != asked.Get("redirect_uri") {
		w.WriteHeader(http.StatusBadRequest)
		p.answer(w, map[string]string{"error": "invalid_grant"})
		return
	}
	claims := map[string]any{"iss": p.URL, "sub": p.subject, "aud": clientID, "exp": time.Now().Add(time.Minute).Unix(), "iat": time.Now().Unix(), "nonce": asked.Get("nonce")}
	var key any = p.key
	alg := jose.ES256
	if p.lie != nil {
		if k, a := p.lie(claims); k != nil {
			key, alg = k, a
		}
	}
	p.answer(w, map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": p.sign(key, alg, claims)})
}

func (p *idp) sign(key any, alg jose.SignatureAlgorithm, claims map[string]any) string {
	text, err := json.Marshal(claims)
	if err != nil {
		p.t.Fatal(err)
	}
	if alg == "none" {
		e := base64.RawURLEncoding
		return e.EncodeToString([]byte(`{"alg":"none"}`)) + "." + e.EncodeToString(text) + "."
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "1"))
	if err != nil {
		p.t.Fatal(err)
	}
	signed, err := signer.Sign(text)
	if err != nil {
		p.t.Fatal(err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		p.t.Fatal(err)
	}
	return compact
}

// start is a server whose users log in with the provider. ann is a user of it.
func start(t *testing.T, p *idp) *servertest.Server {
	t.Helper()
	dir := t.TempDir()
	ca, secret := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "secret")
	for name, text := range map[string][]byte{ca: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw}), secret: []byte(clientSecret + "\n")} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := servertest.StartWith(t, func(o *server.Options) {
		o.OpenID = openid.Options{Issuer: p.URL, ClientID: clientID, SecretFile: secret, CAFile: ca}
	})
	s.Do("POST", "/api/v1/users", operatorapi.UserRequest{Name: "ann", Role: string(account.Operator), Subject: p.URL + " ann-7"}, nil)
	return s
}

// leads is where an answer leads.
func leads(t *testing.T, client *http.Client, at string) (to string, status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", at, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := limits.ReadAll(resp.Body, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.Get("Location"), resp.StatusCode, string(text)
}

// asks lets a browser go to the provider, and is where the provider leads it back to.
func (p *idp) asks(b *servertest.Browser, query string) string {
	p.t.Helper()
	to, status, body := leads(p.t, b.Client, b.URL+openid.PathLogin+query)
	if status != http.StatusSeeOther || !strings.HasPrefix(to, p.URL+"/authorize?") {
		p.t.Fatalf("the login leads to %q: %d %s", to, status, body)
	}
	client := *p.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	back, _, _ := leads(p.t, &client, to)
	return back
}

func TestLoginWithAProvider(t *testing.T) {
	p := newIDP(t)
	s := start(t, p)
	b := s.Stranger()
	back := p.asks(b, "?next=/runs%3Fstatus%3Dfailed")
	_, status, body := leads(t, b.Client, back)
	if status != http.StatusOK || !strings.Contains(body, `content="0; url=/runs?status=failed"`) {
		t.Fatalf("back: %d %s", status, body)
	}
	var session operatorapi.Session
	if status, e := b.Do("GET", "/api/v1/session", nil, &session); e != nil || session.User != "ann" || session.Role != "operator" {
		t.Fatalf("logged in: %d %v %+v", status, e, session)
	}
	audit := s.Audit()
	if last := audit[len(audit)-1]; last.Action != "login" || last.Actor != "user ann" || !strings.Contains(last.Detail, "OpenID") {
		t.Errorf("on record: %+v", last)
	}
	if _, status, _ := leads(t, b.Client, back); status != http.StatusUnauthorized {
		t.Errorf("the same answer of the provider again: %d", status)
	}
	s.Do("PUT", "/api/v1/users/ann", operatorapi.UserRequest{Role: "operator", Subject: p.URL + " ann-7", Disabled: true}, nil)
	if _, status, _ := leads(t, b.Client, p.asks(b, "")); status != http.StatusUnauthorized {
		t.Errorf("a user out of use: %d", status)
	}
}

// TestNobodyElseIsLetIn goes through what an attacker, another client of the provider or a
// provider with a mistake can make of an answer.
func TestNobodyElseIsLetIn(t *testing.T) {
	p := newIDP(t)
	s := start(t, p)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set := func(name string, value any) func(map[string]any) (any, jose.SignatureAlgorithm) {
		return func(claims map[string]any) (any, jose.SignatureAlgorithm) {
			claims[name] = value
			return nil, ""
		}
	}
	with := func(key any, alg jose.SignatureAlgorithm) func(map[string]any) (any, jose.SignatureAlgorithm) {
		return func(map[string]any) (any, jose.SignatureAlgorithm) { return key, alg }
	}
	for name, lie := range map[string]func(map[string]any) (any, jose.SignatureAlgorithm){
		"the nonce of another login":      set("nonce", "another"),
		"no nonce":                        set("nonce", ""),
		"for another client":              set("aud", "another"),
		"of another issuer":               set("iss", "https://evil.example"),
		"that has ended":                  set("exp", time.Now().Add(-time.Hour).Unix()),
		"of somebody unknown":             set("sub", "eve"),
		"of a subject with a space":       set("sub", "x ann-7"),
		"of nobody":                       set("sub", ""),
		"signed with another key":         with(other, jose.ES256),
		"signed with the client's secret": with([]byte(strings.Repeat(clientSecret, 2)), jose.HS256),
		"that is not signed":              with("", "none"),
	} {
		p.lie = lie
		b := s.Stranger()
		_, status, body := leads(t, b.Client, p.asks(b, ""))
		if status != http.StatusUnauthorized || b.Cookie() != "" {
			t.Errorf("a token %s: %d, cookie %q\n%s", name, status, b.Cookie(), body)
		}
	}
	p.lie = nil
	victim, attacker := s.Stranger(), s.Stranger()
	planted, before := p.asks(attacker, ""), p.redeem
	if _, status, _ := leads(t, victim.Client, planted); status != http.StatusUnauthorized {
		t.Errorf("an attacker's answer in a browser that was not sent: %d", status)
	}
	p.asks(victim, "")
	if _, status, _ := leads(t, victim.Client, planted); status != http.StatusUnauthorized {
		t.Errorf("an attacker's answer in a browser that was sent elsewhere: %d", status)
	}
	if p.redeem != before {
		t.Error("an attacker's code was redeemed: the state was not compared")
	}
	if _, status, _ := leads(t, victim.Client, p.asks(victim, "?org=other")); status != http.StatusUnauthorized {
		t.Errorf("a user of another organisation: %d", status)
	}
	for _, next := range []string{"https://evil.example/", "//evil.example", `/\evil.example`, "javascript:alert(1)"} {
		time.Sleep(3 * time.Second / 20)
		_, status, body := leads(t, victim.Client, p.asks(victim, "?next="+url.QueryEscape(next)))
		if status == http.StatusOK && !strings.Contains(body, `url=/"`) {
			t.Errorf("next=%s leads on: %s", next, body)
		}
	}
}

// TestAProviderThatIsAway lets the server start and says so at the login.
func TestAProviderThatIsAway(t *testing.T) {
	p := newIDP(t)
	s := start(t, p)
	p.Close()
	b := s.Stranger()
	if _, status, _ := leads(t, b.Client, b.URL+openid.PathLogin); status != http.StatusServiceUnavailable {
		t.Errorf("the login: %d, want 503", status)
	}
	for _, o := range []openid.Options{{}, {Issuer: "http://id.example"}, {Issuer: "https://id.example"}, {Issuer: "https://id.example", ClientID: "c", SecretFile: "/none"}, {Issuer: "https://id.example", ClientID: "c", CAFile: "openid_test.go"}} {
		if _, err := openid.New(o); err == nil || !strings.Contains(err.Error(), "--oidc-") {
			t.Errorf("New(%+v) = %v, want an error with its flag", o, err)
		}
	}
}
