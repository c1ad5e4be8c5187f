package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

// Who asks for a late renewal comes through with a certificate that ended within the grace, and
// with no other that would not come through otherwise; who does not ask does not.
func TestTakeLate(t *testing.T) {
	ca := pkitest.New(t, "CA")
	ago := func(from, to time.Duration) *x509.Certificate {
		return pkitest.Valid(pkitest.Agent(agentURI), -from, -to)
	}
	server := ago(40*time.Minute, 10*time.Minute)
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	ended := ca.Issue(ago(40*time.Minute, 10*time.Minute))
	endedCA := pkitest.New(t, "CA")
	endedCA.Cert = endedCA.Sign(pkitest.Valid(endedCA.Cert, -time.Hour, -5*time.Minute), endedCA.Key.Public())
	stolen := ended
	stolen.PrivateKey = pkitest.Key(t)
	for name, c := range map[string]struct {
		authority *pkitest.Authority
		cert      tls.Certificate
		asks      string
		in, late  bool
	}{
		"ended":                           {ca, ended, api.ProtocolLate, true, true},
		"in its time":                     {ca, ca.Issue(pkitest.Agent(agentURI)), api.ProtocolLate, true, true},
		"ended, and not asked for":        {ca, ended, "http/1.1", false, false},
		"ended, by HTTP/2":                {ca, ended, "h2", false, false},
		"in its time, and not asked for":  {ca, ca.Issue(pkitest.Agent(agentURI)), "http/1.1", true, false},
		"ended before the grace":          {ca, ca.Issue(ago(50*time.Minute, 40*time.Minute)), api.ProtocolLate, false, false},
		"not yet valid":                   {ca, ca.Issue(ago(-time.Hour, -2*time.Hour)), api.ProtocolLate, false, false},
		"ended, of another CA":            {ca, pkitest.New(t, "CA").Issue(ago(40*time.Minute, 10*time.Minute)), api.ProtocolLate, false, false},
		"ended, for servers":              {ca, ca.Issue(server), api.ProtocolLate, false, false},
		"ended, without its key":          {ca, stolen, api.ProtocolLate, false, false},
		"ended, of an authority that has": {endedCA, endedCA.Issue(ago(40*time.Minute, 10*time.Minute)), api.ProtocolLate, false, false},
		"none":                            {ca, tls.Certificate{}, api.ProtocolLate, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			conf := c.authority.ServerTLS(ca.Issue(pkitest.Server()))
			pki.TakeLate(conf, 30*time.Minute)
			client := ca.ClientTLS(c.cert)
			client.NextProtos = []string{c.asks, "http/1.1"}
			o := connect(t, conf, client)
			if (o.err() == nil) != c.in {
				t.Fatalf("let in: %v, want %v (client %v, server %v)", o.err() == nil, c.in, o.clientErr, o.serverErr)
			}
			var verification *tls.CertificateVerificationError
			if !c.in && len(c.cert.Certificate) > 0 && c.cert.PrivateKey != stolen.PrivateKey && !errors.As(o.serverErr, &verification) {
				t.Errorf("refused with %v, want an error that has the certificate", o.serverErr)
			}
			if got := pki.LateCertificate(&o.server); (got != nil) != c.late {
				t.Errorf("late certificate %v, want one: %v", got, c.late)
			}
			if c.late && len(o.server.VerifiedChains) > 0 {
				t.Error("it counts as one that the handshake has verified for everything")
			}
		})
	}
}

// A server that knows nothing of late renewals refuses one that asks as it refuses all.
func TestLateIsRefusedWithoutAGrace(t *testing.T) {
	ca := pkitest.New(t, "CA")
	client := ca.ClientTLS(ca.Issue(pkitest.Valid(pkitest.Agent(agentURI), -time.Hour, -time.Minute)))
	client.NextProtos = []string{api.ProtocolLate, "http/1.1"}
	if o := connect(t, serverTLS(ca), client); o.err() == nil || o.clientErr.Error() != "remote error: tls: expired certificate" {
		t.Errorf("client %v, server %v: want an expired certificate", o.clientErr, o.serverErr)
	}
}
