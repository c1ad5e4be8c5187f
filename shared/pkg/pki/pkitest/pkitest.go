// Package pkitest makes certificates for tests: good ones, and any kind of bad one
// that a template can say. It is to package pki what httptest is to net/http.
package pkitest

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/pki"
)

// Authority is a CA that lives for one test. Its fields may be set to sign with
// something that is no CA.
type Authority struct {
	T    testing.TB
	Key  crypto.Signer
	Cert *x509.Certificate
}

// New makes a self-signed CA with the common name.
func New(t testing.TB, name string) *Authority {
	t.Helper()
	a := &Authority{T: t, Key: Key(t), Cert: &x509.Certificate{
		Subject:  pkix.Name{CommonName: name},
		IsCA:     true,
		KeyUsage: x509.KeyUsageCertSign,
	}}
	a.Cert = a.Sign(a.Cert, a.Key.Public())
	return a
}

// Key makes a private key.
func Key(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := pki.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Agent is a template for a certificate of web-01 with these URI names, or with
// none. It may be changed before it is signed.
func Agent(uris ...string) *x509.Certificate {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "web-01"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, raw := range uris {
		u, err := url.Parse(raw)
		if err != nil {
			panic(err) // a mistake in the test's source
		}
		template.URIs = append(template.URIs, u)
	}
	return template
}

// Server is a template for the certificate of a server at 127.0.0.1 and stavily.test.
func Server() *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: "server"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"stavily.test"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
}

// Valid sets the dates of a template relative to now.
func Valid(template *x509.Certificate, from, to time.Duration) *x509.Certificate {
	template.NotBefore, template.NotAfter = time.Now().Add(from), time.Now().Add(to)
	return template
}

// Sign makes the certificate of a template for a public key. Without dates it is
// valid for an hour before and after now.
func (a *Authority) Sign(template *x509.Certificate, pub crypto.PublicKey) *x509.Certificate {
	a.T.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		a.T.Fatal(err)
	}
	template.SerialNumber, template.BasicConstraintsValid = serial, true
	if template.NotAfter.IsZero() {
		Valid(template, -time.Hour, time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Cert, pub, a.Key)
	if err != nil {
		a.T.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.T.Fatal(err)
	}
	return cert
}

// Issue signs the template for a fresh key and puts the CA into the chain.
func (a *Authority) Issue(template *x509.Certificate) tls.Certificate {
	a.T.Helper()
	key := Key(a.T)
	leaf := a.Sign(template, key.Public())
	return tls.Certificate{Certificate: [][]byte{leaf.Raw, a.Cert.Raw}, PrivateKey: key, Leaf: leaf}
}

// Pool holds the CA alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Cert)
	return pool
}

// ServerTLS is [pki.ServerTLS] with one certificate, for clients of this CA.
func (a *Authority) ServerTLS(cert tls.Certificate) *tls.Config {
	return pki.ServerTLS(func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }, sync.OnceValue(a.Pool))
}

// ClientTLS trusts this CA and presents the certificates, whatever the server says
// it accepts, as an attacker does.
func (a *Authority) ClientTLS(certs ...tls.Certificate) *tls.Config {
	conf := &tls.Config{RootCAs: a.Pool()}
	for _, cert := range certs {
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
	return conf
}

// PEM encodes certificates.
func PEM(certs ...*x509.Certificate) []byte {
	var text []byte
	for _, c := range certs {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return text
}
