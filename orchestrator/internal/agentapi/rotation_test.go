package agentapi_test

import (
	"context"
	"crypto/x509"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/internal/pgtest"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// rotate asks for a step.
func rotate(t *testing.T, s *servertest.Server, step string, force bool) (operatorapi.Authorities, error) {
	t.Helper()
	var a operatorapi.Authorities
	err := s.Operator.Do(t.Context(), http.MethodPost, "/api/v1/ca/rotate", url.Values{}, operatorapi.RotateCARequest{Step: step, Force: force}, &a)
	return a, err
}

func step(t *testing.T, s *servertest.Server, name string) operatorapi.Authorities {
	t.Helper()
	a, err := rotate(t, s, name, false)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return a
}

// beat sends a heartbeat of an agent that trusts CAs with these fingerprints.
func beat(t *testing.T, a *servertest.Agent, trusted ...string) api.HeartbeatResponse {
	t.Helper()
	var r api.HeartbeatResponse
	err := again(func() (err error) { // a server that just started may not see the others yet
		r, err = a.Heartbeat(t.Context(), api.Heartbeat{Status: "online", Authorities: trusted})
		return err
	})
	if err != nil {
		t.Fatalf("heartbeat of %s: %v", a.ID, err)
	}
	return r
}

// renewed is an agent after a renewal, with the CAs that this brought.
func renewed(t *testing.T, s *servertest.Server, a *servertest.Agent) *servertest.Agent {
	t.Helper()
	key := newKey(t)
	csr, err := pki.NewCSR(key, a.ID)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := a.Renew(t.Context(), api.CertificateRequest{CSRPEM: string(csr)})
	if err != nil {
		t.Fatal(err)
	}
	next := s.Connect(a.ID, key, answer)
	beat(t, next)
	return next
}

// TestRotationOfTheCA goes through the four steps with two agents, one of which does nothing
// for it: nobody is cut off before force says so, and then within a second.
func TestRotationOfTheCA(t *testing.T) {
	s := servertest.Start(t)
	good, lazy := s.Enrol(api.Action, "good", "a"), s.Enrol(api.Action, "lazy", "b")
	first := step(t, s, "prepare")
	one, two := first.Authorities[0].Fingerprint, first.Authorities[1].Fingerprint
	if first.Behind != 2 || first.NextStep != "activate" {
		t.Errorf("after prepare: %+v, want both agents behind", first)
	}
	answer := beat(t, good, one)
	certs, err := pki.ParseCertificates([]byte(answer.CAPEM))
	if err != nil || len(certs) != 2 || answer.RenewCertificate {
		t.Fatalf("the heartbeat brought %d CAs, %v; renew %v", len(certs), err, answer.RenewCertificate)
	}
	if answer = beat(t, good, one, two); answer.CAPEM != "" {
		t.Error("an agent that trusts both is given CAs again")
	}
	if _, err := rotate(t, s, "activate", false); api.CodeOf(err) != api.CodeConflict || !strings.Contains(err.Error(), "default/lazy") || strings.Contains(err.Error(), "default/good") {
		t.Fatalf("activate while one agent is behind: %v", err)
	}
	if _, err := rotate(t, s, "revoke", true); api.CodeOf(err) != api.CodeConflict {
		t.Fatalf("a step that is not next, by force: %v", err)
	}
	beat(t, lazy, one, two)
	step(t, s, "activate")
	good.Roots = pool(t, certs)
	good = s.Reconnect(good)
	beat(t, good, one, two) // over a new connection, of the server's new certificate, with the old one of its own
	good = renewed(t, s, good)
	if by := good.Cert.Leaf.AuthorityKeyId; string(by) == string(lazy.Cert.Leaf.AuthorityKeyId) {
		t.Error("the renewed certificate is of the old CA")
	}
	step(t, s, "taint")
	if answer = beat(t, good, one, two); answer.CAPEM == "" || answer.RenewCertificate {
		t.Errorf("an agent that still trusts the tainted CA is told %+v", answer)
	}
	if answer = beat(t, good, two); answer.CAPEM != "" {
		t.Error("an agent that trusts the new CA alone is told to trust others")
	}
	if !beat(t, lazy, one, two).RenewCertificate {
		t.Error("an agent with a certificate of the tainted CA is not told to renew it")
	}
	revokeCA(t, s, good, lazy)
}

// revokeCA takes the last step while an agent waits in a poll with a certificate of the CA.
func revokeCA(t *testing.T, s *servertest.Server, good, lazy *servertest.Agent) {
	t.Helper()
	if _, err := rotate(t, s, "revoke", false); api.CodeOf(err) != api.CodeConflict || !strings.Contains(err.Error(), "default/lazy") {
		t.Fatalf("revoke while an agent has a certificate of it: %v", err)
	}
	polled := make(chan error, 1)
	go func() {
		_, err := lazy.Poll(context.WithoutCancel(t.Context()), 20*time.Second, 1)
		polled <- err
	}()
	time.Sleep(100 * time.Millisecond) // so that it waits, most likely
	begin := time.Now()
	if _, err := rotate(t, s, "revoke", true); err != nil {
		t.Fatal(err)
	}
	if err := <-polled; api.CodeOf(err) != api.CodeBadCertificate || time.Since(begin) > time.Second {
		t.Errorf("the open poll ended after %s with %v", time.Since(begin), err)
	}
	if _, err := lazy.Heartbeat(t.Context(), api.Heartbeat{Status: "online"}); api.CodeOf(err) != api.CodeBadCertificate {
		t.Errorf("over the open connection: %v", err)
	}
	lazy.Roots = good.Roots
	if _, err := s.Reconnect(lazy).Heartbeat(t.Context(), api.Heartbeat{Status: "online"}); err == nil {
		t.Error("a new connection with a certificate of the revoked CA is let in")
	}
	beat(t, good)
	again := s.Enrol(api.Action, "lazy", "b") // nothing about it was deleted
	beat(t, again)
	var actions []string
	for _, row := range s.Audit() {
		if strings.HasPrefix(row.Action, "ca.") {
			actions = append(actions, row.Action)
		}
	}
	if got := strings.Join(actions, " "); got != "ca.prepare ca.activate ca.taint ca.revoke" {
		t.Errorf("on record: %s", got)
	}
}

func pool(t *testing.T, certs []*x509.Certificate) *x509.CertPool {
	t.Helper()
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}

// TestRotationOutlivesARestart holds that each step is where it was after a restart, and that
// a renewal whose answer was lost before a step is not answered with the CA of before.
func TestRotationOutlivesARestart(t *testing.T) {
	s := servertest.Start(t)
	agent := s.Enrol(api.Sensor, "web-01", "a")
	key := newKey(t)
	csr, err := pki.NewCSR(key, agent.ID)
	if err != nil {
		t.Fatal(err)
	}
	renew := func() api.EnrollResponse {
		answer, err := agent.Renew(t.Context(), api.CertificateRequest{CSRPEM: string(csr)})
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	lost := renew()
	a := step(t, s, "prepare")
	s.Restart()
	answer := beat(t, agent, a.Authorities[0].Fingerprint)
	certs, err := pki.ParseCertificates([]byte(answer.CAPEM))
	if err != nil {
		t.Fatal(err)
	}
	beat(t, agent, a.Authorities[0].Fingerprint, a.Authorities[1].Fingerprint)
	step(t, s, "activate")
	s.Restart()
	agent.Roots = pool(t, certs)
	agent = s.Reconnect(agent)
	again := renew()
	if again.CertificatePEM == lost.CertificatePEM {
		t.Fatal("the renewal after the activation has the certificate of the old CA")
	}
	agent = s.Connect(agent.ID, key, again)
	beat(t, agent)
	step(t, s, "taint")
	s.Restart()
	step(t, s, "revoke")
	s.Restart()
	beat(t, agent)
}

// TestRotationOfSeveralServers takes the steps at one server: the other follows by itself.
func TestRotationOfSeveralServers(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for servers to look")
	}
	t.Parallel()
	database, shared := pgtest.Start(t).NewDatabase(t), t.TempDir()
	start := func() *servertest.Server {
		return servertest.StartWith(t, func(o *server.Options) { o.Database, o.SharedDir = database, shared })
	}
	a, b := start(), start()
	token := a.Token(api.Sensor, "web-01")
	key := newKey(t)
	answer, err := a.EnrolWith(token, "web-01", key, "h")
	if err != nil {
		t.Fatal(err)
	}
	state := step(t, a, "prepare")
	for _, name := range []string{"activate", "taint"} {
		eventually(t, b, state.NextStep)
		if _, err := rotate(t, a, name, true); err != nil {
			t.Fatal(err)
		}
		state.NextStep = map[string]string{"activate": "taint", "taint": "revoke"}[name]
	}
	eventually(t, b, "revoke")
	text, err := pki.ParseCertificates(readFile(t, filepath.Join(shared, "ca", "ca.crt")))
	if err != nil {
		t.Fatal(err)
	}
	agent := b.Connect("web-01", key, answer)
	agent.Roots = pool(t, text)
	agent = renewed(t, b, b.Reconnect(agent)) // at b, of the CA that a made
	step(t, b, "revoke")
	eventually(t, a, "prepare")
	agent = a.Reconnect(agent)
	beat(t, agent)
	b.Restart()
	beat(t, b.Reconnect(agent))
}

// eventually waits until a server is at a step.
func eventually(t *testing.T, s *servertest.Server, next string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		var a operatorapi.Authorities
		s.Do(http.MethodGet, "/api/v1/ca", nil, &a)
		if a.NextStep == next {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server is at %s, want %s", a.NextStep, next)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
