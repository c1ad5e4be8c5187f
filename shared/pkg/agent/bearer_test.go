package agent

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

// token is one of an agent, as an orchestrator would sign it.
func token(identity string, from, to time.Time) string {
	part := base64.RawURLEncoding.EncodeToString
	claims := fmt.Sprintf(`{"sub":"spiffe://stavily/org/%s","iat":%d,"exp":%d}`, identity, from.Unix(), to.Unix())
	return part([]byte(`{"alg":"ES384"}`)) + "." + part([]byte(claims)) + "." + part([]byte("signature"))
}

// An agent with a token shows it at each call and no certificate, refreshes it in time,
// keeps it private, and says that it is less than a certificate.
func TestTokenInsteadOfCertificate(t *testing.T) {
	ca := pkitest.New(t, "ca")
	now := time.Now()
	first, second := token("acme/sensor/web-01", now.Add(-50*time.Minute), now.Add(4*time.Minute)), token("acme/sensor/web-01", now, now.Add(time.Hour))
	answer := second
	var refusal *api.Error
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) != 0 || !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer e") {
			t.Errorf("%s with %d certificates and %q", r.URL, len(r.TLS.PeerCertificates), r.Header.Get("Authorization"))
		}
		w.Header().Set("Content-Type", "application/json")
		if refusal != nil {
			w.WriteHeader(refusal.Status())
			_ = json.NewEncoder(w).Encode(api.ErrorBody{Error: refusal})
			return
		}
		_ = json.NewEncoder(w).Encode(api.TokenResponse{Token: answer, ExpiresAt: api.At(now.Add(time.Hour))})
	}))
	cert := ca.Issue(pkitest.Server())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	defer server.Close()

	rt, log := testRuntime(t, api.Sensor, "STAVILY_API_AUTH_TYPE=jwt", "STAVILY_API_BASE_URL="+server.URL, "STAVILY_API_RETRY_INITIAL_INTERVAL=10ms")
	auth := rt.Config().API.Auth
	if _, err := rt.loadIdentity(); err == nil || !strings.Contains(err.Error(), "no token yet") || !strings.Contains(rt.enrollHint(), "--jwt") {
		t.Errorf("without a token: %v, %s", err, rt.enrollHint())
	}
	write(t, auth.TokenFile, first+"\n")
	write(t, auth.CAFile, string(pkitest.PEM(ca.Cert)))
	if err := os.Chmod(auth.TokenFile, 0o644); err != nil {
		t.Fatal(err)
	}
	var err error
	if rt.identity, err = rt.loadIdentity(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(auth.TokenFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the token file has mode %v, %v", info.Mode(), err)
	}
	if rt.API, err = rt.connect(rt.identity); err != nil {
		t.Fatal(err)
	}
	defer rt.API.CloseIdle()
	f := newRefreshing(rt)
	f.early = 0
	if wait := f.step(t.Context()); wait != 0 || rt.identity.Bearer() != second {
		t.Fatalf("pause of %v, and the token is the new one: %v\n%s", wait, rt.identity.Bearer() == second, log)
	}
	if text := read(t, auth.TokenFile); strings.TrimSpace(text) != second {
		t.Error("the new token is not stored")
	}
	if wait := f.step(t.Context()); wait != renewalLook {
		t.Errorf("of a new token: looks again after %v", wait)
	}
	// One that is due as it comes, by a clock that is wrong, is not asked for without a pause.
	write(t, auth.TokenFile, first)
	answer = token("acme/sensor/web-01", now.Add(-58*time.Minute), now.Add(2*time.Minute))
	if wait, c := f.step(t.Context()), condition(rt, conditionRenewal); wait < renewalFloor || c == nil || !strings.Contains(c.Message, "clock") {
		t.Errorf("of a token that is due as it comes: looks again after %v, condition %+v", wait, c)
	}
	// One that somebody puts there is taken up, and one for somebody else is not.
	write(t, auth.TokenFile, first)
	answer = token("acme/sensor/web-02", now, now.Add(time.Hour))
	f.step(t.Context())
	if c := condition(rt, conditionRenewal); rt.identity.Bearer() != first || c == nil || !strings.Contains(c.Message, "not stored") {
		t.Errorf("a token for another agent: %+v", c)
	}
	// Nor is one stored that the next start could not read.
	answer = token("acme/sensor/web-01", now, now.Add(time.Hour)) + strings.Repeat("a", 20<<10)
	f.step(t.Context())
	if c := condition(rt, conditionRenewal); read(t, auth.TokenFile) != first || c == nil || !strings.Contains(c.Message, "may have") {
		t.Errorf("a token that is too long: %+v", c)
	}
	write(t, auth.TokenFile, token("acme/sensor/web-01", now.Add(-2*time.Hour), now.Add(-time.Hour)))
	refusal = api.Errorf(api.CodeBadToken, "The token has ended.")
	if wait := f.step(t.Context()); wait != renewalLook {
		t.Errorf("of an ended token: looks again after %v", wait)
	}
	c := condition(rt, conditionExpired)
	if ready, _ := rt.Health.Ready(); ready || c == nil || !strings.Contains(c.Remedy, "stavily tokens create --jwt --type sensor --agent-id web-01") {
		t.Errorf("ready %v, condition %+v", ready, c)
	}
}

func TestWhatIsNoToken(t *testing.T) {
	now := time.Now()
	rt, _ := testRuntime(t, api.Sensor, "STAVILY_API_AUTH_TYPE=jwt")
	auth := rt.Config().API.Auth
	write(t, auth.CAFile, string(pkitest.PEM(pkitest.New(t, "ca").Cert)))
	good := token("acme/sensor/web-01", now, now.Add(time.Hour))
	for name, c := range map[string]struct{ text, want string }{
		"empty":        {"", "not a JSON Web Token"},
		"two lines":    {good + "\n" + good, "in one line"},
		"not base64":   {"a.§.c", "JSON Web Token"},
		"not JSON":     {"a.YQ.c", "no JSON"},
		"nobody":       {token("acme", now, now), "names nobody"},
		"without time": {token("acme/sensor/web-01", now, now), "from when to when"},
		"other type":   {token("acme/action/web-01", now, now.Add(time.Hour)), "type action"},
		"other agent":  {token("acme/sensor/web-02", now, now.Add(time.Hour)), "web-02"},
		"long":         {strings.Repeat("a", 20<<10), "may have"},
	} {
		write(t, auth.TokenFile, c.text)
		if _, err := rt.loadIdentity(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if err := enroll(t.Context(), loadConfig(t, api.Sensor, "STAVILY_API_AUTH_TYPE=jwt"), sensorRole, enrollment{}, &strings.Builder{}); err == nil || !strings.Contains(err.Error(), "not enrolled") {
		t.Errorf("enrolment with type jwt: %v", err)
	}
}
