package agentapi_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
)

// impostor is somebody with a certificate that must not be let in, and what the agents'
// listener has to answer; handshake: nothing, the connection is refused.
type impostor struct {
	name  string
	agent *servertest.Agent
	want  api.Code
}

const handshake = api.Code("handshake")

// impostors are those beside the ones of TestAttacks.
func impostors(t *testing.T, s *servertest.Server) []impostor {
	t.Helper()
	authorityCert, authorityKey := authority(t, s)
	thief := s.Enrol(api.Sensor, "thief", "t")
	retired := s.Enrol(api.Sensor, "retired", "r")
	renewed(t, s, retired)
	revoked := s.Enrol(api.Sensor, "revoked", "r")
	s.Do(http.MethodPost, "/api/v1/agents/revoked/revoke", operatorapi.RevokeRequest{}, nil)
	replaced := s.Enrol(api.Sensor, "replaced", "r")
	s.Enrol(api.Sensor, "replaced", "r")
	ours := func(change func(*x509.Certificate)) *servertest.Agent { return forge(t, s, change, nil) }
	return []impostor{
		{"the CA's own certificate", &servertest.Agent{ID: "sensor-1", Cert: tls.Certificate{Certificate: [][]byte{authorityCert.Raw}, PrivateKey: authorityKey}}, api.CodeBadCertificate},
		{"a CA among the agents", ours(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), api.CodeBadCertificate},
		{"signed by an agent", signedBy(t, thief), handshake},
		{"signed with SHA-1", ours(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 }), handshake},
		{"a key of RSA 1024", weak(t, s), api.CodeBadCertificate},
		{"no usage at all", ours(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), api.CodeBadCertificate},
		{"a name instead of a URI", ours(func(c *x509.Certificate) { c.URIs, c.DNSNames = nil, []string{"sensor-1"} }), api.CodeBadCertificate},
		{"a URI with another path behind it", ours(func(c *x509.Certificate) { c.URIs[0].Path += "/admin" }), api.CodeBadCertificate},
		{"a URI with dots", ours(func(c *x509.Certificate) { c.URIs[0].Path = "/org/default/sensor/../action/sensor-1" }), api.CodeBadCertificate},
		{"a URI that is escaped", ours(func(c *x509.Certificate) {
			c.URIs[0].RawPath, c.URIs[0].Path = "/org/default/sensor/sensor%2d1", "/org/default/sensor/sensor-1"
		}), api.CodeBadCertificate},
		{"a URI with a query", ours(func(c *x509.Certificate) { c.URIs[0].RawQuery = "type=action" }), api.CodeBadCertificate},
		{"of https instead of spiffe", ours(func(c *x509.Certificate) { c.URIs[0].Scheme = "https" }), api.CodeBadCertificate},
		{"renewed away", retired, api.CodeBadCertificate},
		{"enrolled again elsewhere", replaced, api.CodeBadCertificate},
		{"revoked", revoked, api.CodeRevoked},
	}
}

// signedBy is a certificate that an agent signed with its own key.
func signedBy(t *testing.T, by *servertest.Agent) *servertest.Agent {
	t.Helper()
	key := newKey(t)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(7), URIs: []*url.URL{uri("sensor-1")}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by.Cert.Leaf, key.Public(), by.Key)
	if err != nil {
		t.Fatal(err)
	}
	return &servertest.Agent{ID: "sensor-1", Cert: tls.Certificate{Certificate: [][]byte{der, by.Cert.Leaf.Raw}, PrivateKey: key}}
}

// weak is a certificate that the CA would not make: of a key that can be broken.
func weak(t *testing.T, s *servertest.Server) *servertest.Agent {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skip(err)
	}
	parent, by := authority(t, s)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(8), URIs: []*url.URL{uri("sensor-1")}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	return &servertest.Agent{ID: "sensor-1", Cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}
}

// TestImpostors shows each to both listeners: agents' refuses it by name or in the handshake,
// people's does not ask for certificates and takes it for nobody.
func TestImpostors(t *testing.T) {
	s := servertest.Start(t)
	real := s.Enrol(api.Sensor, "sensor-1", "a")
	for _, c := range impostors(t, s) {
		path := "/agents/v1/" + string(c.agent.ID) + "/heartbeat"
		client := s.HTTP(c.agent)
		resp, err := client.Post(s.URL()+path, "application/json", strings.NewReader("{}"))
		if err == nil {
			resp.Body.Close()
		}
		switch {
		case c.want == handshake && err == nil:
			t.Errorf("%s: answered %s, want a failed handshake", c.name, resp.Status)
		case c.want != handshake && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != handshake:
			if status, code := call(t, s, caller{name: c.name, agent: c.agent}, http.MethodPost, path); code != c.want || status < 401 || status > 403 {
				t.Errorf("%s: %d %q, want %q", c.name, status, code, c.want)
			}
		}
		resp, err = client.Get(s.WebURL() + "/api/v1/agents")
		if err != nil {
			t.Errorf("%s, people's listener: %v", c.name, err)
			continue
		}
		resp.Body.Close()
		client.CloseIdleConnections()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s, people's listener: %s, want 401", c.name, resp.Status)
		}
	}
	beat(t, real)
}

// TestIdentityIsInNoHeader holds that what a proxy would say about a certificate counts for
// nothing, whoever says it.
func TestIdentityIsInNoHeader(t *testing.T) {
	s := servertest.Start(t)
	victim, thief := s.Enrol(api.Sensor, "victim", "a"), s.Enrol(api.Sensor, "thief", "b")
	for name, c := range map[string]struct {
		agent *servertest.Agent
		want  api.Code
	}{"nobody": {nil, api.CodeNoCertificate}, "another agent": {thief, api.CodeIdentityMismatch}} {
		for header, value := range map[string]string{
			"X-Forwarded-Client-Cert": "URI=" + victim.Cert.Leaf.URIs[0].String(), "X-SSL-Client-S-DN": "CN=victim", "X-Agent-ID": "victim",
			"X-SSL-Client-Verify": "SUCCESS", "X-Forwarded-For": "127.0.0.1", "X-Original-URL": "/agents/v1/thief/heartbeat", "X-HTTP-Method-Override": "GET",
		} {
			client := s.HTTP(c.agent)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL()+"/agents/v1/victim/heartbeat", strings.NewReader(`{"status":"online","agent_id":"victim"}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set(header, value)
			req.Header.Set("Content-Type", "application/json")
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := limits.ReadAll(resp.Body, 1<<16)
			resp.Body.Close()
			client.CloseIdleConnections()
			if err != nil || !strings.Contains(string(body), string(c.want)) || resp.StatusCode < 401 || resp.StatusCode > 403 {
				t.Errorf("%s with %s: %s %s, want %s", name, header, resp.Status, body, c.want)
			}
		}
	}
}

// TestOtherProtocols speaks what is not TLS 1.3 with HTTP to the agents' listener, and what is
// not TLS 1.2 or later to people's.
func TestOtherProtocols(t *testing.T) {
	s := servertest.Start(t)
	agent := s.Enrol(api.Sensor, "sensor-1", "a")
	web, err := url.Parse(s.WebURL())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		most      uint16
		protocols []string
		web       bool // refused there too
	}{
		"TLS 1.0": {tls.VersionTLS10, nil, true}, "TLS 1.1": {tls.VersionTLS11, nil, true}, "TLS 1.2": {tls.VersionTLS12, nil, false},
		"another protocol": {tls.VersionTLS13, []string{"smtp"}, true},
	} {
		for _, addr := range []string{s.Addr, web.Host} {
			if addr == web.Host && !c.web {
				continue
			}
			conf := &tls.Config{RootCAs: agent.Roots, Certificates: []tls.Certificate{agent.Cert}, MinVersion: tls.VersionTLS10, MaxVersion: c.most, NextProtos: c.protocols}
			if conn, err := tls.Dial("tcp", addr, conf); err == nil {
				conn.Close()
				t.Errorf("%s at %s: the handshake succeeded", name, addr)
			}
		}
	}
	for name, text := range map[string]string{
		"plain HTTP":                "POST /agents/v1/sensor-1/heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
		"SSL 3.0":                   "\x16\x03\x00\x00\x2d\x01\x00\x00\x29\x03\x00" + strings.Repeat("a", 32) + "\x00\x00\x02\x00\x0a\x01\x00",
		"SSL 2.0":                   "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + strings.Repeat("a", 37),
		"SSH":                       "SSH-2.0-x\r\n",
		"HTTP/2":                    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
		"a record that is too long": "\x16\x03\x01\xff\xff" + strings.Repeat("a", 1<<12),
	} {
		for _, addr := range []string{s.Addr, web.Host} {
			if answer := reply(t, addr, text); strings.Contains(answer, " 200 ") || strings.Contains(answer, "server_time") {
				t.Errorf("%s at %s: %q", name, addr, answer)
			}
		}
	}
	beat(t, agent)
}

// reply sends bytes and returns what comes back until the server closes, which it must.
func reply(t *testing.T, addr, text string) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, _ = conn.Write([]byte(text)) // it may be closed before all is written
	answer, err := limits.ReadAll(conn, 1<<16)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("%s: open 10 s after %.20q", addr, text)
	}
	return string(answer)
}
