package agentapi_test

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// forge makes a certificate for a new key, changed by change, that the server's own
// CA signs, or signer when it is set.
func forge(t *testing.T, s *servertest.Server, change func(*x509.Certificate), signer crypto.Signer) *servertest.Agent {
	t.Helper()
	key, err := pki.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(4711),
		Subject:      pkix.Name{CommonName: "sensor-1"},
		URIs:         []*url.URL{uri("sensor-1")},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	ca, caKey := authority(t, s)
	parent, by := *ca, caKey
	if signer != nil {
		parent.PublicKey, by = signer.Public(), signer
	}
	der, err := x509.CreateCertificate(rand.Reader, template, &parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	return &servertest.Agent{ID: "sensor-1", Cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}
}

func uri(agent string) *url.URL {
	return pki.Identity{TrustDomain: "stavily", Org: "default", Type: api.Sensor, Agent: api.AgentID(agent)}.URI()
}

// authority reads the CA from the server's data directory, as a thief would.
func authority(t *testing.T, s *servertest.Server) (*x509.Certificate, crypto.Signer) {
	t.Helper()
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(s.DataDir, "ca", name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	certs, err := pki.ParseCertificates(read("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.ParseKey(read("ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	return certs[0], key
}

// TestAttacks presents certificates that must not be let in. Those that the CA did
// not sign for this purpose fail in the handshake; the rest are refused by what the
// server knows.
func TestAttacks(t *testing.T) {
	s := servertest.Start(t)
	real := s.Enrol(api.Sensor, "sensor-1", "a")
	stranger, err := pki.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	const handshake = api.Code("handshake")
	for name, c := range map[string]struct {
		agent *servertest.Agent
		want  api.Code
	}{
		"no certificate":            {nil, api.CodeNoCertificate},
		"signed by another key":     {forge(t, s, nil, stranger), handshake},
		"self-signed":               {selfSigned(t), handshake},
		"expired":                   {forge(t, s, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, nil), handshake},
		"not yet valid":             {forge(t, s, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour / 2) }, nil), handshake},
		"for servers":               {forge(t, s, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, nil), handshake},
		"two URI names":             {forge(t, s, func(c *x509.Certificate) { c.URIs = append(c.URIs, uri("sensor-2")) }, nil), api.CodeBadCertificate},
		"no URI name":               {forge(t, s, func(c *x509.Certificate) { c.URIs = nil }, nil), api.CodeBadCertificate},
		"another trust domain":      {forge(t, s, func(c *x509.Certificate) { c.URIs[0].Host = "other" }, nil), api.CodeBadCertificate},
		"another kind of agent":     {forge(t, s, func(c *x509.Certificate) { c.URIs[0].Path = "/org/default/action/sensor-1" }, nil), api.CodeBadCertificate},
		"an agent nobody enrolled":  {forge(t, s, func(c *x509.Certificate) { c.URIs[0] = uri("ghost") }, nil), api.CodeBadCertificate},
		"an organisation of nobody": {forge(t, s, func(c *x509.Certificate) { c.URIs[0].Path = "/org/ghost/sensor/sensor-1" }, nil), api.CodeBadCertificate},
		"another serial":            {forge(t, s, nil, nil), api.CodeBadCertificate},
	} {
		client := s.HTTP(c.agent)
		resp, err := client.Post(s.URL()+"/agents/v1/sensor-1/heartbeat", "application/json", nil)
		if c.want == handshake {
			if err == nil {
				resp.Body.Close()
				t.Errorf("%s: the server answered %s, want a failed handshake", name, resp.Status)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		resp.Body.Close()
		client.CloseIdleConnections()
		status, code := call(t, s, caller{name: name, agent: c.agent}, http.MethodPost, "/agents/v1/sensor-1/heartbeat")
		if code != c.want || status != http.StatusUnauthorized {
			t.Errorf("%s: %d %q, want 401 %q", name, status, code, c.want)
		}
	}
	if _, err := real.Heartbeat(t.Context(), api.Heartbeat{Status: "online"}); err != nil {
		t.Errorf("the real agent after all that: %v", err)
	}
	var onRecord []string
	for _, row := range s.Audit() {
		if row.Action == "refused" {
			onRecord = append(onRecord, row.Actor+" "+row.Object)
		}
	}
	// One that names nobody we know of is not put on record in an organisation of its own.
	for _, want := range []string{"agent ghost certificate 1267 of nobody", "agent sensor-1 certificate 1267 of nobody", "agent sensor-1 superseded certificate 1267"} {
		if !slices.Contains(onRecord, want) {
			t.Errorf("%q is not on record, which has %q", want, onRecord)
		}
	}
}

// selfSigned is a certificate that vouches for itself.
func selfSigned(t *testing.T) *servertest.Agent {
	t.Helper()
	key, err := pki.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), URIs: []*url.URL{uri("sensor-1")}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &servertest.Agent{ID: "sensor-1", Cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}
}

func TestOldTLSIsRefused(t *testing.T) {
	s := servertest.Start(t)
	agent := s.Enrol(api.Sensor, "sensor-1", "a")
	conf := &tls.Config{RootCAs: agent.Roots, Certificates: []tls.Certificate{agent.Cert}, MaxVersion: tls.VersionTLS12}
	conn, err := tls.Dial("tcp", s.Addr, conf)
	if err == nil {
		conn.Close()
		t.Error("the server speaks TLS 1.2")
	}
}

// TestSessionsAreNotResumed holds that every connection verifies its certificate: a
// resumed session would skip some of it.
func TestSessionsAreNotResumed(t *testing.T) {
	s := servertest.Start(t)
	agent := s.Enrol(api.Sensor, "sensor-1", "a")
	conf := &tls.Config{RootCAs: agent.Roots, Certificates: []tls.Certificate{agent.Cert}, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	for n := range 3 {
		conn, err := tls.Dial("tcp", s.Addr, conf)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 64)); err != nil { // tickets would have come by now
			t.Fatal(err)
		}
		if conn.ConnectionState().DidResume {
			t.Errorf("connection %d resumed a session", n)
		}
		conn.Close()
	}
}
