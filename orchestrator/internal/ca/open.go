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
	a := &Authority{dir: dir, hosts: o.Hosts, lifetime: o.Lifetime, now: o.Now}
	loaded, err := a.load()
	if errors.Is(err, fs.ErrNotExist) {
		loaded, err = openFirst(dir, o)
	}
	if err != nil {
		return nil, fmt.Errorf("open CA: %w", err)
	}
	if err := a.check(loaded.active(), o.TrustDomain); err != nil {
		return nil, fmt.Errorf("open CA: %w", err)
	}
	a.set.Store(loaded)
	if _, err := a.ServerCertificate(nil); err != nil { // now, and not at the first handshake
		return nil, fmt.Errorf("open CA: %w", err)
	}
	return a, nil
}

// openFirst opens the CA of a directory in which none was ever rotated, and makes it when
// there is none.
func openFirst(dir string, o Options) (*set, error) {
	keyFile, certFile := filepath.Join(dir, FirstKey), filepath.Join(dir, bundleFile)
	key, err := openKey(keyFile, certFile, o.MayMake)
	if err != nil {
		return nil, err
	}
	cert, err := openCertificate(certFile, key, o)
	if err != nil {
		return nil, err
	}
	if !belongs(key, cert) {
		return nil, fmt.Errorf("%s is not the certificate of the key %s; restore both from one backup", certFile, keyFile)
	}
	return newSet(pki.Fingerprint(cert), nil, []authority{newAuthority(StateActive, cert.NotBefore, FirstKey, cert, key)}), nil
}

// openKey reads the key, or makes it when neither it nor a certificate is there.
func openKey(keyFile, certFile string, mayMake func() error) (crypto.Signer, error) {
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
	if mayMake != nil {
		if err := mayMake(); err != nil {
			return nil, err
		}
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
		return nil, fmt.Errorf("%s: %d certificates and no %s beside it, which says what they are; restore the whole directory from one backup", path, len(certs), rotationFile)
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
	cert, err := selfSigned(domain, key, o.Now())
	if err != nil {
		return nil, err
	}
	return cert, atomicfile.Write(path, encode(cert.Raw), 0o644)
}

// selfSigned makes the certificate of a CA.
func selfSigned(domain string, key crypto.Signer, now time.Time) (*x509.Certificate, error) {
	return signed(&x509.Certificate{
		Subject:        pkix.Name{CommonName: "stavily CA"},
		URIs:           []*url.URL{{Scheme: "spiffe", Host: domain}}, // SPIFFE X509-SVID, section 2: a signing certificate names its trust domain
		NotBefore:      now.Add(-maxBackdate),
		NotAfter:       now.Add(caLifetime),
		KeyUsage:       x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:           true,
		MaxPathLenZero: true,
	}, nil, key.Public(), key)
}

// belongs reports whether a certificate is of a key.
func belongs(key crypto.Signer, cert *x509.Certificate) bool {
	type equaler interface{ Equal(crypto.PublicKey) bool }
	pub, ok := cert.PublicKey.(equaler)
	return ok && pub.Equal(key.Public())
}

// check holds the active CA against what it must be.
func (a *Authority) check(active authority, trustDomain string) error {
	certFile := filepath.Join(a.dir, bundleFile)
	if !active.cert.IsCA || len(active.cert.URIs) != 1 {
		return fmt.Errorf("%s is not a CA certificate that this program made", certFile)
	}
	if now := a.now(); now.After(active.NotAfter) {
		return fmt.Errorf("%s ended on %s; move the directory away to make a new CA and enrol every agent again", certFile, active.NotAfter.Format(time.DateOnly))
	}
	a.trustDomain = active.cert.URIs[0].Host
	if trustDomain != "" && trustDomain != a.trustDomain {
		return fmt.Errorf("trust domain %q: %s was made for %q, and every agent's certificate says so", trustDomain, certFile, a.trustDomain)
	}
	return nil
}
