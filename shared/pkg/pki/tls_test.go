package pki_test

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/pki"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

// outcome is what both ends of one connection saw.
type outcome struct {
	client, server       tls.ConnectionState
	clientErr, serverErr error
}

// err is the first failure: with TLS 1.3 a server's refusal of a client certificate
// reaches the client only when it reads.
func (o outcome) err() error { return errors.Join(o.clientErr, o.serverErr) }

// connect makes one real connection and carries one byte from server to client.
func connect(t *testing.T, server, client *tls.Config) outcome {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var o outcome
	done := make(chan struct{})
	go func() {
		defer close(done)
		raw, err := l.Accept()
		if err != nil {
			o.serverErr = err
			return
		}
		conn := tls.Server(raw, server)
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(time.Minute))
		if _, o.serverErr = conn.Write([]byte{1}); o.serverErr == nil {
			o.server = conn.ConnectionState()
			conn.Read(make([]byte, 1)) // until the client has read and closed
		}
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if client.ServerName == "" {
		client = client.Clone()
		client.ServerName = "127.0.0.1"
	}
	conn := tls.Client(raw, client)
	conn.SetDeadline(time.Now().Add(time.Minute))
	if _, o.clientErr = conn.Read(make([]byte, 1)); o.clientErr == nil {
		o.client = conn.ConnectionState()
	}
	conn.Close()
	<-done
	return o
}

func serverTLS(a *pkitest.Authority) *tls.Config { return a.ServerTLS(a.Issue(pkitest.Server())) }

func TestServerTLSVerifiesTheClient(t *testing.T) {
	ca := pkitest.New(t, "CA")
	cert := ca.Issue(pkitest.Agent(agentURI))
	o := connect(t, serverTLS(ca), ca.ClientTLS(cert))
	if o.err() != nil {
		t.Fatal(o.err())
	}
	if len(o.server.VerifiedChains) == 0 {
		t.Error("the server did not verify the client's certificate")
	}
	if o.client.Version != tls.VersionTLS13 {
		t.Errorf("version %s, want TLS 1.3", tls.VersionName(o.client.Version))
	}
	if o := connect(t, serverTLS(ca), ca.ClientTLS()); o.err() != nil || len(o.server.PeerCertificates) != 0 {
		t.Errorf("without a certificate: %v; enrolment needs it", o.err())
	}
}

func TestServerTLSRefuses(t *testing.T) {
	ca, other := pkitest.New(t, "CA"), pkitest.New(t, "CA") // the same name, another key
	past := pkitest.Valid(pkitest.Agent(agentURI), -2*time.Hour, -time.Hour)
	future := pkitest.Valid(pkitest.Agent(agentURI), time.Hour, 2*time.Hour)
	selfKey := pkitest.Key(t)
	self := (&pkitest.Authority{T: t, Key: selfKey, Cert: pkitest.Agent(agentURI)}).Sign(pkitest.Agent(agentURI), selfKey.Public())
	stolen := tls.Certificate{Certificate: [][]byte{ca.Sign(pkitest.Agent(agentURI), pkitest.Key(t).Public()).Raw}, PrivateKey: pkitest.Key(t)}
	viaAgent := ca.Issue(pkitest.Agent(agentURI))
	forged := (&pkitest.Authority{T: t, Key: viaAgent.PrivateKey.(crypto.Signer), Cert: viaAgent.Leaf}).Issue(pkitest.Agent("spiffe://stavily/org/evil/action/root"))

	for name, cert := range map[string]tls.Certificate{
		"another CA of the same name":   other.Issue(pkitest.Agent(agentURI)),
		"self-signed":                   {Certificate: [][]byte{self.Raw}, PrivateKey: selfKey},
		"expired":                       ca.Issue(past),
		"not yet valid":                 ca.Issue(future),
		"a server's certificate":        ca.Issue(pkitest.Server()),
		"a certificate without its key": stolen,
		"issued by an agent":            forged,
	} {
		t.Run(name, func(t *testing.T) {
			o := connect(t, serverTLS(ca), ca.ClientTLS(cert))
			if o.clientErr == nil || o.serverErr == nil {
				t.Errorf("accepted: client %v, server %v", o.clientErr, o.serverErr)
			}
		})
	}
}

func TestServerTLSRefusesOldVersions(t *testing.T) {
	ca := pkitest.New(t, "CA")
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12} {
		conf := ca.ClientTLS(ca.Issue(pkitest.Agent(agentURI)))
		conf.MinVersion, conf.MaxVersion = version, version
		if o := connect(t, serverTLS(ca), conf); o.clientErr == nil || !strings.Contains(o.clientErr.Error(), "protocol version") {
			t.Errorf("%s: %v, want a refusal of the version", tls.VersionName(version), o.clientErr)
		}
	}
}

// countingCache is a client that would resume sessions if it were let.
type countingCache struct {
	tls.ClientSessionCache
	tickets atomic.Int32
}

func (c *countingCache) Put(key string, s *tls.ClientSessionState) {
	if s != nil {
		c.tickets.Add(1)
	}
	c.ClientSessionCache.Put(key, s)
}

func TestServerTLSGivesNoTickets(t *testing.T) {
	ca := pkitest.New(t, "CA")
	server := serverTLS(ca)
	cache := &countingCache{ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	client := ca.ClientTLS(ca.Issue(pkitest.Agent(agentURI)))
	client.ClientSessionCache = cache
	for range 2 {
		o := connect(t, server, client)
		if o.err() != nil {
			t.Fatal(o.err())
		}
		if o.client.DidResume || o.server.DidResume {
			t.Error("a session was resumed: its certificates were not verified again")
		}
	}
	if n := cache.tickets.Load(); n != 0 {
		t.Errorf("the server gave %d session tickets, want none", n)
	}
}

// laxServer is a server with tickets and TLS 1.2, as other implementations have.
func laxServer(a *pkitest.Authority) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{a.Issue(pkitest.Server())}, ClientAuth: tls.RequireAnyClientCert}
}

func TestClientTLSResumesNothing(t *testing.T) {
	ca := pkitest.New(t, "CA")
	server, client := laxServer(ca), saved(t, ca, agentURI).ClientTLS(pki.ClientOptions{})
	for range 2 {
		if o := connect(t, server, client); o.err() != nil || o.client.DidResume {
			t.Errorf("err %v, resumed %v", o.err(), o.client.DidResume)
		}
	}
}

func TestClientTLSVersions(t *testing.T) {
	ca := pkitest.New(t, "CA")
	creds := saved(t, ca, agentURI)
	server := laxServer(ca)
	server.MinVersion, server.MaxVersion = tls.VersionTLS10, tls.VersionTLS12
	if o := connect(t, server, creds.ClientTLS(pki.ClientOptions{})); o.clientErr == nil {
		t.Error("the default accepts TLS 1.2")
	}
	if o := connect(t, server, creds.ClientTLS(pki.ClientOptions{MinVersion: tls.VersionTLS12})); o.err() != nil {
		t.Errorf("TLS 1.2 on request: %v", o.err())
	}
	server.MaxVersion = tls.VersionTLS11
	if o := connect(t, server, creds.ClientTLS(pki.ClientOptions{MinVersion: tls.VersionTLS10})); o.clientErr == nil {
		t.Error("TLS 1.1 is accepted")
	}
}

// Where an owner lets TLS 1.2 in, a server still cannot choose what is weak there.
func TestClientTLSOffersNothingWeak(t *testing.T) {
	ca := pkitest.New(t, "CA")
	client := saved(t, ca, agentURI).ClientTLS(pki.ClientOptions{MinVersion: tls.VersionTLS12})
	server := laxServer(ca)
	server.MaxVersion = tls.VersionTLS12
	for _, suite := range tls.InsecureCipherSuites() {
		server.CipherSuites = append(server.CipherSuites, suite.ID)
	}
	if o := connect(t, server, client); o.clientErr == nil {
		t.Errorf("%s is spoken", tls.CipherSuiteName(o.client.CipherSuite))
	}
	client.CipherSuites = server.CipherSuites
	if o := connect(t, server, client); o.err() != nil {
		t.Errorf("the server speaks none of them itself: %v", o.err())
	}
}

func TestClientTLSRefuses(t *testing.T) {
	ca := pkitest.New(t, "CA")
	expired, elsewhere, forClients := pkitest.Server(), pkitest.Server(), pkitest.Server()
	pkitest.Valid(expired, -2*time.Hour, -time.Hour)
	elsewhere.IPAddresses = nil
	forClients.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	client := saved(t, ca, agentURI).ClientTLS(pki.ClientOptions{})
	for name, cert := range map[string]tls.Certificate{
		"expired":                     ca.Issue(expired),
		"another name":                ca.Issue(elsewhere),
		"a client's certificate":      ca.Issue(forClients),
		"an agent's":                  ca.Issue(pkitest.Agent(agentURI)),
		"another CA of the same name": pkitest.New(t, "CA").Issue(pkitest.Server()),
	} {
		o := connect(t, ca.ServerTLS(cert), client)
		var verification *tls.CertificateVerificationError
		if !errors.As(o.clientErr, &verification) {
			t.Errorf("%s: %v, want a verification error", name, o.clientErr)
		}
	}
}

func TestPinnedTLS(t *testing.T) {
	ca, other := pkitest.New(t, "CA"), pkitest.New(t, "CA")
	good := ca.Issue(pkitest.Server())
	alone := good
	alone.Certificate = good.Certificate[:1]
	posing := other.Issue(pkitest.Server()) // signed by other, with the public certificate of ca in its chain
	posing.Certificate = [][]byte{posing.Leaf.Raw, ca.Cert.Raw}
	expired, forClients := pkitest.Server(), pkitest.Server()
	pkitest.Valid(expired, -2*time.Hour, -time.Hour)
	forClients.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}

	pin := pki.Fingerprint(ca.Cert)
	for name, c := range map[string]struct {
		cert      tls.Certificate
		pin, host string
		want      string // in the error; "" for none
	}{
		"good, by address":           {good, pin, "127.0.0.1", ""},
		"good, by name":              {good, pin, "stavily.test", ""},
		"good, upper-case":           {good, strings.ToUpper(pin), "127.0.0.1", ""},
		"fingerprint of another CA":  {good, pki.Fingerprint(other.Cert), "127.0.0.1", "none is the CA with the fingerprint"},
		"fingerprint of the leaf":    {good, pki.Fingerprint(good.Leaf), "127.0.0.1", "none is the CA with the fingerprint"},
		"CA not presented":           {alone, pin, "127.0.0.1", "none is the CA with the fingerprint"},
		"CA presented, not its leaf": {posing, pin, "127.0.0.1", "certificate signed by unknown authority"},
		"another address":            {good, pin, "127.0.0.2", "127.0.0.2"},
		"another name":               {good, pin, "evil.test", "evil.test"},
		"expired":                    {ca.Issue(expired), pin, "127.0.0.1", "expired"},
		"a client's certificate":     {ca.Issue(forClients), pin, "127.0.0.1", "usage"},
		"an agent's certificate":     {ca.Issue(pkitest.Agent(agentURI)), pin, "127.0.0.1", "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			conf, err := pki.PinnedTLS(c.pin, c.host)
			if err != nil {
				t.Fatal(err)
			}
			o := connect(t, ca.ServerTLS(c.cert), conf)
			var verification *tls.CertificateVerificationError
			switch {
			case c.want == "" && o.err() != nil:
				t.Error(o.err())
			case c.want != "" && (!errors.As(o.clientErr, &verification) || !strings.Contains(o.clientErr.Error(), c.want)):
				t.Errorf("%v, want a verification error with %q", o.clientErr, c.want)
			}
		})
	}
}

func TestPinnedTLSRefusesBadPins(t *testing.T) {
	digits := strings.Repeat("ab", 32)
	for _, pin := range []string{"", "sha256:", digits, "sha1:" + digits, "sha256:" + digits[2:], "sha256:" + digits + "ab", "sha256:" + strings.Repeat("zz", 32)} {
		if _, err := pki.PinnedTLS(pin, "127.0.0.1"); err == nil || !strings.Contains(err.Error(), "stavily tokens create") {
			t.Errorf("PinnedTLS(%q) = %v, want an error that says where to find it", pin, err)
		}
	}
	if _, err := pki.PinnedTLS("sha256:"+digits, ""); err == nil {
		t.Error("PinnedTLS without a host = nil, want an error")
	}
}
