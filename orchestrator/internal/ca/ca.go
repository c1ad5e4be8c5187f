package ca

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stavily/agents/shared/pkg/pki"
)

const (
	// caLifetime: a CA that ends before somebody has rotated it cuts every agent off, so it
	// outlives hardware.
	caLifetime = 10 * 365 * 24 * time.Hour

	// DefaultLifetime is the life of agents' and server certificates. Agents renew at two
	// thirds, which leaves 30 days to notice an agent that cannot.
	DefaultLifetime = 90 * 24 * time.Hour

	// MinLifetime is what a renewal that is repeated once still fits into.
	MinLifetime = 3 * time.Second

	// MaxLifetime is 13 months: what authorities of the public web gave at most.
	MaxLifetime = 398 * 24 * time.Hour

	// maxBackdate lets a verifier whose clock is behind accept a certificate at once. A
	// short life has a tenth of itself for that, or two thirds of it would be over at once.
	maxBackdate = time.Hour
)

// DefaultTrustDomain is the trust domain of a CA that is made without naming one.
const DefaultTrustDomain = "stavily"

// Options of an authority.
type Options struct {
	TrustDomain string           // "": that of the existing CA, or DefaultTrustDomain for a new one
	Hosts       []string         // DNS names and IP addresses of the server's certificate
	Lifetime    time.Duration    // of agents' and server certificates; 0: DefaultLifetime
	Now         func() time.Time // nil: time.Now
	// MayMake is asked before a CA is made, and its error is why none may be; nil: one may.
	MayMake func() error
}

// Authority signs certificates with the active one of its CAs.
type Authority struct {
	dir         string
	trustDomain string
	hosts       []string
	lifetime    time.Duration
	now         func() time.Time

	set atomic.Pointer[set] // swapped when a step of a rotation is taken

	mu     sync.Mutex // guards the fields below
	server *tls.Certificate
	by     *x509.Certificate // that signed server
}

// Certificate is one that was issued.
type Certificate struct {
	PEM      string
	Serial   string // as [Serial] writes it
	NotAfter time.Time
}

// Serial is how serial numbers are stored and compared: lower-case hexadecimal.
func Serial(cert *x509.Certificate) string { return cert.SerialNumber.Text(16) }

// PEM returns the CA certificates that agents are to trust, the active one first.
func (a *Authority) PEM() string { return a.set.Load().bundle }

// Fingerprint is what people give an agent to recognise the active CA by, as
// [pki.Fingerprint] writes it.
func (a *Authority) Fingerprint() string { return a.set.Load().active().Fingerprint }

// Lifetime is how long a certificate that is issued now is good for.
func (a *Authority) Lifetime() time.Duration { return a.lifetime }

// NotAfter is when the active CA itself ends.
func (a *Authority) NotAfter() time.Time { return a.set.Load().active().NotAfter }

// TrustDomain is the authority part of every identity that this CA issues.
func (a *Authority) TrustDomain() string { return a.trustDomain }

// Pool returns the CAs that agents' certificates may be of: all but those that were revoked.
// It is another pool when they change.
func (a *Authority) Pool() *x509.CertPool { return a.set.Load().pool }

// Issue makes a client certificate of an agent for the public key pub. The trust
// domain of id is ignored: it is always the CA's own.
func (a *Authority) Issue(id pki.Identity, pub crypto.PublicKey) (Certificate, error) {
	id.TrustDomain = a.trustDomain
	if err := id.Validate(); err != nil {
		return Certificate{}, fmt.Errorf("issue certificate: %w", err)
	}
	cert, err := a.sign(a.set.Load().active(), &x509.Certificate{
		Subject:     pkix.Name{Organization: []string{string(id.Org)}, CommonName: string(id.Agent)},
		URIs:        []*url.URL{id.URI()},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, pub)
	if err != nil {
		return Certificate{}, fmt.Errorf("issue certificate for agent %s: %w", id.Agent, err)
	}
	return Certificate{PEM: string(encode(cert.Raw)), Serial: Serial(cert), NotAfter: cert.NotAfter}, nil
}

// ServerCertificate returns the server's certificate with the CA in its chain, so
// that an agent can recognise the CA by its fingerprint at enrolment. It has the
// signature of [tls.Config.GetCertificate].
func (a *Authority) ServerCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	by := a.set.Load().active()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.server != nil && a.by == by.cert && a.now().Before(renewAt(a.server.Leaf)) {
		return a.server, nil
	}
	fresh, err := a.issueServer(by)
	if err != nil {
		return nil, fmt.Errorf("issue server certificate: %w", err)
	}
	a.server, a.by = fresh, by.cert
	return fresh, nil
}

// renewAt is two thirds into the life of a certificate.
func renewAt(c *x509.Certificate) time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) * 2 / 3)
}

func (a *Authority) issueServer(by authority) (*tls.Certificate, error) {
	key, err := pki.GenerateKey()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "stavily server"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range a.hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	cert, err := a.sign(by, template, key.Public())
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{cert.Raw, by.cert.Raw}, PrivateKey: key, Leaf: cert}, nil
}

// sign completes a leaf's template with serial and life and signs it.
func (a *Authority) sign(by authority, template *x509.Certificate, pub crypto.PublicKey) (*x509.Certificate, error) {
	now := a.now()
	template.NotBefore, template.NotAfter = now.Add(-min(maxBackdate, a.lifetime/10)), now.Add(a.lifetime)
	if template.NotAfter.After(by.NotAfter) {
		template.NotAfter = by.NotAfter
	}
	return signed(template, by.cert, pub, by.key)
}

// signed makes a certificate with a random serial. A nil parent signs itself.
func signed(template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial.Add(serial, big.NewInt(1)) // RFC 5280, 4.1.2.2: never zero
	template.BasicConstraintsValid = true
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func encode(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
