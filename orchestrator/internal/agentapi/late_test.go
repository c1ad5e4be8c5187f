package agentapi_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/server"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// withGrace is a server that renews certificates until ten minutes after their end.
func withGrace(t *testing.T) *servertest.Server {
	t.Helper()
	return servertest.StartWith(t, func(o *server.Options) { o.RenewalGrace = 10 * time.Minute })
}

// ended is the agent with a certificate that ended some time ago: of the serial that the server
// knows, as if that much time had passed.
func ended(t *testing.T, s *servertest.Server, a *servertest.Agent, ago time.Duration, change ...func(*x509.Certificate)) *servertest.Agent {
	t.Helper()
	f := forge(t, s, func(c *x509.Certificate) {
		c.SerialNumber, c.URIs = a.Cert.Leaf.SerialNumber, a.Cert.Leaf.URIs
		c.NotBefore, c.NotAfter = time.Now().Add(-ago-time.Minute), time.Now().Add(-ago)
		for _, f := range change {
			f(c)
		}
	}, nil)
	f.ID, f.Late = a.ID, true
	return f
}

// renewLate asks for a certificate as an agent whose own has ended.
func renewLate(t *testing.T, s *servertest.Server, a *servertest.Agent, csr string) (answer api.EnrollResponse, code api.Code) {
	t.Helper()
	client := s.HTTP(a)
	defer client.CloseIdleConnections()
	body, err := json.Marshal(api.CertificateRequest{CSRPEM: csr})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Post(s.URL()+strings.Replace(api.PathCertificate, "{agent_id}", string(a.ID), 1), "application/json", bytes.NewReader(body))
	if err != nil {
		return answer, "handshake"
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
			t.Fatal(err)
		}
		return answer, ""
	}
	var e api.ErrorBody
	if err := json.NewDecoder(resp.Body).Decode(&e); err != nil || e.Error == nil {
		t.Fatalf("%s without an error: %v", resp.Status, err)
	}
	return answer, e.Error.Code
}

func csrOf(t *testing.T) string {
	t.Helper()
	text, err := pki.NewCSR(newKey(t), "sensor-1")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A certificate that has ended opens the renewal and nothing else, and what it brings opens
// nothing at all until somebody approves it.
func TestEndedCertificatesAndQuarantine(t *testing.T) {
	s := withGrace(t)
	sensor, action := s.Enrol(api.Sensor, "sensor-1", "a"), s.Enrol(api.Action, "action-1", "a")
	lateSensor, lateAction := ended(t, s, sensor, time.Minute), ended(t, s, action, time.Minute)
	quarantined := map[api.AgentID]*servertest.Agent{}
	for _, a := range []*servertest.Agent{lateSensor, lateAction} {
		key := newKey(t)
		csr, err := pki.NewCSR(key, a.ID)
		if err != nil {
			t.Fatal(err)
		}
		answer, code := renewLate(t, s, a, string(csr))
		if code != "" {
			t.Fatalf("%s: %s", a.ID, code)
		}
		quarantined[a.ID] = s.Connect(a.ID, key, answer)
	}
	onEveryRoute(t, s, func(row route.Row, a *servertest.Agent) api.Code {
		switch {
		case row.ID == route.Renew:
			return api.CodeInvalid // let in, with a body that is no request
		case !row.Allows(kindOf(a)):
			return api.CodeForbidden
		}
		return api.CodeBadCertificate
	}, lateSensor, lateAction)
	onEveryRoute(t, s, func(route.Row, *servertest.Agent) api.Code { return api.CodeQuarantined }, quarantined["sensor-1"], quarantined["action-1"])
	found := ""
	for _, row := range s.Audit() {
		found += fmt.Sprintln(row.Actor, row.Action, row.Object, row.Detail)
	}
	for _, want := range []string{"agent sensor-1 agent.quarantine sensor-1 it renewed certificate", "agent sensor-1 refused heartbeat bad_certificate: The certificate has ended"} {
		if !strings.Contains(found, want) {
			t.Errorf("%q is not on record, which has\n%s", want, found)
		}
	}

	s.Restart()
	var shown operatorapi.Agent
	s.Do("GET", "/api/v1/agents/sensor-1", nil, &shown)
	if shown.Status != "quarantined" || shown.Quarantine == nil || shown.Quarantine.Serial != quarantined["sensor-1"].Cert.Leaf.SerialNumber.Text(16) {
		t.Fatalf("shown as %s, %+v", shown.Status, shown.Quarantine)
	}
	s.Do("POST", "/api/v1/agents/sensor-1/approve", operatorapi.ApproveRequest{Serial: shown.Quarantine.Serial}, nil)
	for id, want := range map[api.AgentID]api.Code{"sensor-1": "", "action-1": api.CodeQuarantined} {
		if _, err := quarantined[id].Heartbeat(t.Context(), api.Heartbeat{Status: "online"}); api.CodeOf(err) != want || want == "" && err != nil {
			t.Errorf("%s after the approval of the one: %v, want %q", id, err, want)
		}
	}
}

// onEveryRoute calls each route of agents, as agents of which want says what each gets. Those for
// a token want one.
func onEveryRoute(t *testing.T, s *servertest.Server, want func(route.Row, *servertest.Agent) api.Code, agents ...*servertest.Agent) {
	t.Helper()
	for _, row := range route.Table() {
		if row.Listener != route.Agents {
			continue
		}
		for _, a := range agents {
			code := want(row, a)
			if row.Allows(route.EnrolmentToken) {
				code = api.CodeBadToken
			}
			path := strings.NewReplacer("{agent_id}", string(a.ID), "{id}", "01J00000000000000000000000", "{plugin_id}", "p", "{version}", "1.0.0", "{file}", "ca.pem").Replace(row.Pattern)
			if status, got := call(t, s, caller{"", a, a.ID, ""}, row.Method, path); got != code {
				t.Errorf("%s by %s = %d %q, want %q", row.ID, a.ID, status, got, code)
			}
		}
	}
}

func kindOf(a *servertest.Agent) route.Kind {
	if strings.HasPrefix(string(a.ID), "sensor") {
		return route.SensorAgent
	}
	return route.ActionAgent
}

// TestAttacksAfterTheEnd asks for late renewals that nobody must get.
func TestAttacksAfterTheEnd(t *testing.T) {
	s := withGrace(t)
	sensor, other, gone := s.Enrol(api.Sensor, "sensor-1", "a"), s.Enrol(api.Sensor, "sensor-2", "a"), s.Enrol(api.Sensor, "sensor-3", "a")
	old := s.Enrol(api.Sensor, "sensor-4", "a")
	s.Do("POST", "/api/v1/agents/sensor-3/revoke", operatorapi.RevokeRequest{}, nil)
	key := newKey(t)
	csr, err := pki.NewCSR(key, "sensor-4")
	if err != nil {
		t.Fatal(err)
	}
	answer, err := old.Renew(t.Context(), api.CertificateRequest{CSRPEM: string(csr)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Connect("sensor-4", key, answer).Heartbeat(t.Context(), api.Heartbeat{Status: "online"}); err != nil {
		t.Fatal(err)
	}
	elsewhere := ended(t, s, sensor, time.Minute)
	elsewhere.ID = "sensor-2"
	late := ended(t, s, sensor, time.Minute)
	stolen := *late
	stolen.Cert.PrivateKey = newKey(t)
	const handshake = api.Code("handshake")
	for name, c := range map[string]struct {
		agent *servertest.Agent
		csr   string
		want  api.Code
	}{
		"after the grace":                 {ended(t, s, sensor, 11*time.Minute), csrOf(t), handshake},
		"not yet valid":                   {ended(t, s, sensor, -time.Hour), csrOf(t), handshake},
		"no certificate":                  {nil, csrOf(t), handshake},
		"without its key":                 {&stolen, csrOf(t), handshake},
		"self-signed":                     {selfSigned(t), csrOf(t), handshake},
		"for servers":                     {ended(t, s, sensor, time.Minute, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), csrOf(t), handshake},
		"revoked":                         {ended(t, s, gone, time.Minute), csrOf(t), api.CodeRevoked},
		"replaced":                        {ended(t, s, old, time.Minute), csrOf(t), api.CodeBadCertificate},
		"never issued":                    {ended(t, s, sensor, time.Minute, func(c *x509.Certificate) { c.SerialNumber = big.NewInt(4711) }), csrOf(t), api.CodeBadCertificate},
		"another agent's serial":          {ended(t, s, sensor, time.Minute, func(c *x509.Certificate) { c.SerialNumber = other.Cert.Leaf.SerialNumber }), csrOf(t), api.CodeBadCertificate},
		"another kind of agent":           {ended(t, s, sensor, time.Minute, func(c *x509.Certificate) { c.URIs = actionURI(c) }), csrOf(t), api.CodeBadCertificate},
		"two identities":                  {ended(t, s, sensor, time.Minute, func(c *x509.Certificate) { c.URIs = append(c.URIs, uri("sensor-2")) }), csrOf(t), api.CodeBadCertificate},
		"another agent's path":            {elsewhere, csrOf(t), api.CodeIdentityMismatch},
		"no request":                      {late, "", api.CodeInvalid},
		"a request without its own key":   {late, forgedCSR(t), api.CodeInvalid},
		"as it may":                       {late, csrOf(t), ""},
		"as it may, with another request": {late, csrOf(t), ""},
	} {
		if c.agent == nil {
			c.agent = &servertest.Agent{ID: "sensor-1", Late: true}
		}
		if _, code := renewLate(t, s, c.agent, c.csr); code != c.want {
			t.Errorf("%s: %q, want %q", name, code, c.want)
		}
		if c.want == "" || len(c.agent.Cert.Certificate) == 0 {
			continue
		}
		plain := *c.agent
		plain.Late = false
		client := s.HTTP(&plain)
		if resp, err := client.Post(s.URL()+"/agents/v1/sensor-1/certificate", "application/json", nil); err == nil {
			resp.Body.Close()
			t.Errorf("%s, not asked for: the server answered %s, want a failed handshake", name, resp.Status)
		}
		client.CloseIdleConnections()
	}
	for id, want := range map[string]string{"sensor-1": "quarantined", "sensor-2": "offline", "sensor-3": "revoked", "sensor-4": "online"} {
		var shown operatorapi.Agent
		if s.Do("GET", "/api/v1/agents/"+id, nil, &shown); shown.Status != want {
			t.Errorf("%s is %s after that, want %s", id, shown.Status, want)
		}
	}
}

func actionURI(c *x509.Certificate) []*url.URL {
	u := *c.URIs[0]
	u.Path = strings.Replace(u.Path, "/sensor/", "/action/", 1)
	return []*url.URL{&u}
}

// forgedCSR is a request for a key that its maker does not have.
func forgedCSR(t *testing.T) string {
	t.Helper()
	block, _ := pem.Decode([]byte(csrOf(t)))
	own, _ := pem.Decode([]byte(csrOf(t)))
	mine, err := x509.ParseCertificateRequest(own.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: bytes.Replace(own.Bytes, mine.RawSubjectPublicKeyInfo, theirs.RawSubjectPublicKeyInfo, 1)}))
}

// Without a grace nothing of this is there.
func TestEndedCertificatesWithoutAGrace(t *testing.T) {
	s := servertest.Start(t)
	sensor := s.Enrol(api.Sensor, "sensor-1", "a")
	if _, code := renewLate(t, s, ended(t, s, sensor, time.Second), csrOf(t)); code != "handshake" {
		t.Errorf("%q, want a failed handshake", code)
	}
}
