package pki_test

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
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/pki"
)

const agentURI = "spiffe://stavily/org/acme/sensor/web-01"

// authority is a CA of a test.
type authority struct {
	t    *testing.T
	key  crypto.Signer
	cert *x509.Certificate
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := pki.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	template := &x509.Certificate{
		Subject:  pkix.Name{CommonName: name},
		IsCA:     true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	a := &authority{t: t, key: newKey(t), cert: template}
	a.cert = a.sign(template, a.key.Public())
	return a
}

// sign completes the template with serial and dates, where it has none, and signs it.
func (a *authority) sign(template *x509.Certificate, pub crypto.PublicKey) *x509.Certificate {
	a.t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber, template.BasicConstraintsValid = serial, true
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, pub, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

func agentTemplate(uris ...string) *x509.Certificate {
	c := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "web-01"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, raw := range uris {
		u, err := url.Parse(raw)
		if err != nil {
			panic(err)
		}
		c.URIs = append(c.URIs, u)
	}
	return c
}

func serverTemplate() *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: "server"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"stavily.test"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
}

// pair issues a certificate of the template for a fresh key, the CA in its chain.
func (a *authority) pair(template *x509.Certificate) tls.Certificate {
	a.t.Helper()
	key := newKey(a.t)
	leaf := a.sign(template, key.Public())
	return tls.Certificate{Certificate: [][]byte{leaf.Raw, a.cert.Raw}, PrivateKey: key, Leaf: leaf}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func encode(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}
