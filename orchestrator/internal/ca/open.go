package ca

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// maxFile bounds what is read of the two files; a P-384 key or certificate takes less than 2 KiB.
const maxFile = 64 << 10

// Open opens the CA in dir and makes it when there is none.
func Open(dir string, o Options) (*Authority, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Lifetime == 0 {
		o.Lifetime = DefaultLifetime
	}
	if o.Lifetime < MinLifetime || o.Lifetime > MaxLifetime {
		return nil, fmt.Errorf("certificate lifetime %s: must be from %s to %s", o.Lifetime, MinLifetime, MaxLifetime)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open CA: %w", err)
	}
	keyFile, certFile := filepath.Join(dir, "ca.key"), filepath.Join(dir, "ca.crt")
	key, err := openKey(keyFile, certFile)
	if err != nil {
		return nil, fmt.Errorf("open CA: %w", err)
	}
	cert, err := openCertificate(certFile, key, o)
	if err != nil {
		return nil, fmt.Errorf("open CA: %w", err)
	}
	a := &Authority{key: key, cert: cert, pem: encode(cert.Raw), hosts: o.Hosts, lifetime: o.Lifetime, now: o.Now}
	if err := a.check(keyFile, certFile, o.TrustDomain); err != nil {
		return nil, fmt.Errorf("open CA: %w", err)
	}
	if _, err := a.ServerCertificate(nil); err != nil { // now, and not at the first handshake
		return nil, fmt.Errorf("open CA: %w", err)
	}
	return a, nil
}

// openKey reads the key, or makes it when neither it nor a certificate is there.
func openKey(keyFile, certFile string) (crypto.Signer, error) {
	b, err := limits.ReadFile(keyFile, maxFile)
	if err == nil {
		key, err := pki.ParseKey(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w; restore it from a backup", keyFile, err)
		}
		return key, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if _, err := os.Lstat(certFile); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is there but its key %s is not; restore the key from a backup, or remove the certificate to make a new CA, for which every agent must be enrolled again", certFile, keyFile)
	}
	key, err := pki.GenerateKey()
	if err != nil {
		return nil, err
	}
	encoded, err := pki.EncodeKey(key)
	if err != nil {
		return nil, err
	}
	return key, atomicfile.Create(keyFile, encoded, 0o600)
}

// openCertificate reads the certificate, or makes it for the key when it is not
// there: the first start, or one that a crash interrupted between the two files.
func openCertificate(path string, key crypto.Signer, o Options) (*x509.Certificate, error) {
	b, err := limits.ReadFile(path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return makeCertificate(path, key, o)
	}
	if err != nil {
		return nil, err
	}
	certs, err := pki.ParseCertificates(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(certs) != 1 {
		return nil, fmt.Errorf("%s: %d certificates, want one", path, len(certs))
	}
	return certs[0], nil
}

func makeCertificate(path string, key crypto.Signer, o Options) (*x509.Certificate, error) {
	domain := o.TrustDomain
	if domain == "" {
		domain = DefaultTrustDomain
	}
	sample := pki.Identity{TrustDomain: domain, Org: "default", Type: api.Sensor, Agent: "a"}
	if err := sample.Validate(); err != nil {
		return nil, err
	}
	now := o.Now()
	cert, err := signed(&x509.Certificate{
		Subject:        pkix.Name{CommonName: "stavily CA"},
		URIs:           []*url.URL{{Scheme: "spiffe", Host: domain}}, // SPIFFE X509-SVID, section 2: a signing certificate names its trust domain
		NotBefore:      now.Add(-maxBackdate),
		NotAfter:       now.Add(caLifetime),
		KeyUsage:       x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:           true,
		MaxPathLenZero: true,
	}, nil, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return cert, atomicfile.Write(path, encode(cert.Raw), 0o644)
}

// check holds what was opened against what it must be.
func (a *Authority) check(keyFile, certFile, trustDomain string) error {
	type equaler interface{ Equal(crypto.PublicKey) bool }
	if pub, ok := a.cert.PublicKey.(equaler); !ok || !pub.Equal(a.key.Public()) {
		return fmt.Errorf("%s is not the certificate of the key %s; restore both from one backup", certFile, keyFile)
	}
	if !a.cert.IsCA || len(a.cert.URIs) != 1 {
		return fmt.Errorf("%s is not a CA certificate that this program made", certFile)
	}
	if now := a.now(); now.After(a.cert.NotAfter) {
		return fmt.Errorf("%s ended on %s; move the directory away to make a new CA and enrol every agent again", certFile, a.cert.NotAfter.Format(time.DateOnly))
	}
	a.trustDomain = a.cert.URIs[0].Host
	if trustDomain != "" && trustDomain != a.trustDomain {
		return fmt.Errorf("trust domain %q: %s was made for %q, and every agent's certificate says so", trustDomain, certFile, a.trustDomain)
	}
	return nil
}
