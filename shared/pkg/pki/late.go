package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// TakeLate has a listener of [ServerTLS] take certificates that have ended, no longer ago than
// grace, from clients that ask for [api.ProtocolLate], and from no other. What else is asked of
// a certificate holds for these too. Such a connection has no VerifiedChains, so that nothing
// takes it for one whose certificate is good: see [LateCertificate].
func TakeLate(conf *tls.Config, grace time.Duration) {
	strict := conf.GetConfigForClient
	conf.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		now, err := strict(hello)
		if err != nil || !slices.Contains(hello.SupportedProtos, api.ProtocolLate) {
			return now, err
		}
		if now == nil {
			now = conf
		}
		late := now.Clone()
		late.NextProtos = []string{"http/1.1"}     // net/http serves no protocol that it does not know
		late.ClientAuth = tls.RequireAnyClientCert // and VerifyPeerCertificate looks at it
		late.VerifyPeerCertificate = func(raw [][]byte, _ [][]*x509.Certificate) error {
			certs := make([]*x509.Certificate, len(raw))
			for n, der := range raw {
				if certs[n], err = x509.ParseCertificate(der); err != nil {
					return fmt.Errorf("certificate of the client: %w", err)
				}
			}
			return VerifyLate(certs, late.ClientCAs, grace, time.Now())
		}
		return late, nil
	}
}

// LateCertificate is the client's certificate of a connection that [TakeLate] looked at; nil of
// any other. It may be in its time.
func LateCertificate(cs *tls.ConnectionState) *x509.Certificate {
	if cs == nil || cs.DidResume || len(cs.PeerCertificates) == 0 || len(cs.VerifiedChains) > 0 {
		return nil
	}
	return cs.PeerCertificates[0]
}

// VerifyLate looks at a certificate, with the chain that came with it, as it was when it ended,
// if it has. Its authorities must be in their time now.
func VerifyLate(certs []*x509.Certificate, roots *x509.CertPool, grace time.Duration, now time.Time) error {
	o := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, CurrentTime: now}
	leaf := certs[0]
	for _, c := range certs[1:] {
		o.Intermediates.AddCert(c)
	}
	refused := func(err error) error {
		return &tls.CertificateVerificationError{UnverifiedCertificates: certs, Err: err}
	}
	if ended := now.Sub(leaf.NotAfter); ended > 0 {
		if ended > grace {
			return refused(x509.CertificateInvalidError{Cert: leaf, Reason: x509.Expired, Detail: fmt.Sprintf("it ended %s ago, and the grace is %s", ended.Round(time.Second), grace)})
		}
		o.CurrentTime = leaf.NotAfter
	}
	chains, err := leaf.Verify(o)
	if err != nil {
		return refused(err)
	}
	ended := func(c *x509.Certificate) bool { return now.After(c.NotAfter) }
	for _, chain := range chains {
		if !slices.ContainsFunc(chain[1:], ended) {
			return nil
		}
	}
	return refused(x509.CertificateInvalidError{Cert: leaf, Reason: x509.Expired, Detail: "its authority has ended"})
}
