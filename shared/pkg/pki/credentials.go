package pki

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/stavily/agents/internal/limits"
)

// maxFile bounds what is read of each file. The largest honest one is a CA bundle;
// the public web's has 250 KiB.
const maxFile = 1 << 20

// Files are the paths of an agent's credentials, all in PEM.
type Files struct {
	Cert string // the certificate, followed by intermediate ones if there are any
	Key  string // its private key
	CA   string // the CAs that the server's certificate may chain to

	Passphrase Passphrase // of the key file; nil: it is not encrypted
	External   *External  // holds the key, and Key is not looked at; nil: it is in Key

	Token string // a token that stands for certificate and key, which are not looked at; empty: they are there
}

// identified is the file that says who the agent is.
func (f Files) identified() string { return cmp.Or(f.Token, f.Cert) }

// staged is where SaveCredentials puts a key until its certificate is in place.
func (f Files) staged() string { return f.Key + ".new" }

// Credentials are an agent's key and certificate and the CA it trusts. They swap as
// a whole on Reload and are safe for concurrent use.
type Credentials struct {
	files   Files
	current atomic.Pointer[material]
	anchor  atomic.Pointer[x509.Certificate] // the CA that vouched for the server last
}

// material is one loaded state of the three files. It never changes.
type material struct {
	certificate tls.Certificate
	identity    Identity
	cas         []*x509.Certificate
	roots       *x509.CertPool // of cas
	warnings    []string

	token *token // instead of certificate; nil: there is one

	certPEM, caPEM []byte // the files, as they were read
}

// LoadCredentials reads the three files. The error names the file that is wrong and
// what to do; a missing file is errors.Is(err, fs.ErrNotExist). On Unix a key that we
// own and others may read is set to mode 0600.
func LoadCredentials(f Files) (*Credentials, error) {
	m, err := load(f)
	if err != nil {
		return nil, err
	}
	c := &Credentials{files: f}
	c.current.Store(m)
	return c, nil
}

// Reload reads the files again. The next handshake uses what they hold now; on an
// error, and when they hold the identity of another agent, what was loaded stays.
func (c *Credentials) Reload() error {
	m, err := load(c.files)
	if err != nil {
		return err
	}
	if was := c.Identity(); m.identity != was {
		return fmt.Errorf("%s: is for %s, and this agent runs as %s; restart it to change its identity", c.files.identified(), m.identity, was)
	}
	c.current.Store(m)
	return nil
}

// Changed reports whether the certificate or CA file holds something else than what is
// loaded: another program, or an enrolment beside this process, has replaced it.
func (c *Credentials) Changed() bool {
	m := c.now()
	for path, loaded := range map[string][]byte{c.files.identified(): m.certPEM, c.files.CA: m.caPEM} {
		if text, err := limits.ReadFile(path, maxFile); err == nil && !bytes.Equal(text, loaded) {
			return true
		}
	}
	return false
}

func (c *Credentials) now() *material { return c.current.Load() }

// Leaf is the agent's own certificate; nil where a token stands for it. Do not change it.
func (c *Credentials) Leaf() *x509.Certificate { return c.now().certificate.Leaf }

// Identity is who the certificate says this agent is.
func (c *Credentials) Identity() Identity { return c.now().identity }

// Warnings are sentences about what the last load found or changed and a person
// should know: a key that others could read, a certificate out of its time.
func (c *Credentials) Warnings() []string { return slices.Clone(c.now().warnings) }

func load(f Files) (*material, error) {
	if f.Token != "" {
		return loadToken(f)
	}
	m := &material{roots: x509.NewCertPool()}
	chain, text, err := readCertificates("certificate", "api.auth.cert_file", f.Cert)
	if err != nil {
		return nil, err
	}
	m.certPEM = text
	cas, text, err := readCertificates("CA certificate", "api.auth.ca_file", f.CA)
	if err != nil {
		return nil, err
	}
	m.caPEM = text
	m.trust(cas)
	leaf := chain[0]
	if m.identity, err = checkLeaf(leaf); err != nil {
		return nil, fmt.Errorf("certificate %s: %w", f.Cert, err)
	}
	key, err := keyOf(leaf, f)
	if err != nil {
		return nil, err
	}
	m.certificate = tls.Certificate{PrivateKey: key, Leaf: leaf}
	for _, cert := range chain {
		m.certificate.Certificate = append(m.certificate.Certificate, cert.Raw)
	}
	if f.External == nil {
		m.warnings = guardKey(f.Key)
	}
	m.warnings = append(m.warnings, checkTime(leaf, f.Cert, time.Now())...)
	return m, nil
}

func (m *material) trust(cas []*x509.Certificate) {
	m.cas = cas
	for _, ca := range cas {
		m.roots.AddCert(ca)
	}
}

func readFile(what, setting, path string) ([]byte, error) {
	b, err := limits.ReadFile(path, maxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s %s: %w; enrol this agent, or correct %s", what, path, fs.ErrNotExist, setting)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s %s: %w; let the agent's user read it", what, path, fs.ErrPermission)
	case err != nil:
		return nil, fmt.Errorf("%s %s: %w", what, path, err)
	}
	return b, nil
}

func readCertificates(what, setting, path string) (certs []*x509.Certificate, text []byte, err error) {
	text, err = readFile(what, setting, path)
	if err != nil {
		return nil, nil, err
	}
	certs, err = ParseCertificates(text)
	if err != nil {
		return nil, nil, fmt.Errorf("%s %s: %w; restore the file, or enrol this agent again", what, path, err)
	}
	return certs, text, nil
}

func readKey(path string, passphrase Passphrase) (crypto.Signer, error) {
	b, err := readFile("private key", "api.auth.key_file", path)
	if err != nil {
		return nil, err
	}
	key, err := ParseKeyWith(b, passphrase)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// keyOf reads the private key of leaf. After a crash in SaveCredentials it is still
// under its staged name; then the last step is done here.
func keyOf(leaf *x509.Certificate, f Files) (crypto.Signer, error) {
	if f.External != nil {
		return externalKeyOf(leaf, f)
	}
	key, err := readKey(f.Key, f.Passphrase)
	if err == nil && matches(key, leaf) {
		return key, nil
	}
	if fresh, stagedErr := readKey(f.staged(), f.Passphrase); stagedErr == nil && matches(fresh, leaf) {
		if err := os.Rename(f.staged(), f.Key); err != nil {
			return nil, fmt.Errorf("private key: finish a save that was interrupted: %w", err)
		}
		return fresh, nil
	}
	if err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("private key %s: does not belong to the certificate %s; restore both from the same enrolment, or enrol this agent again", f.Key, f.Cert)
}

func externalKeyOf(leaf *x509.Certificate, f Files) (crypto.Signer, error) {
	key, err := f.External.Key()
	if err == nil && !matches(key, leaf) {
		err = f.External.errorf("holds another key than the one of the certificate %s: give it back that key, or enrol this agent again", f.Cert)
	}
	return key, err
}

// checkLeaf refuses a certificate that can never serve. Its dates are not looked
// at: an agent with an expired one must start, to say so and to renew it.
func checkLeaf(leaf *x509.Certificate) (Identity, error) {
	id, err := ParseIdentity(leaf)
	if err != nil {
		return Identity{}, err
	}
	forClients := func(u x509.ExtKeyUsage) bool {
		return u == x509.ExtKeyUsageClientAuth || u == x509.ExtKeyUsageAny
	}
	restricted := len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) > 0 // none at all: any purpose (RFC 5280, 4.2.1.12)
	if restricted && !slices.ContainsFunc(leaf.ExtKeyUsage, forClients) {
		return Identity{}, errors.New("is not for TLS client authentication; use the certificate that enrolment made, not a server's")
	}
	return id, nil
}

func checkTime(leaf *x509.Certificate, path string, now time.Time) []string {
	switch {
	case now.After(leaf.NotAfter):
		return []string{fmt.Sprintf("certificate %s: expired at %s (this host's clock: %s); enrol this agent again with a new token", path, leaf.NotAfter.Format(time.RFC3339), now.UTC().Format(time.RFC3339))}
	case now.Before(leaf.NotBefore):
		return []string{fmt.Sprintf("certificate %s: is valid from %s only; check this host's clock, which says %s", path, leaf.NotBefore.Format(time.RFC3339), now.UTC().Format(time.RFC3339))}
	}
	return nil
}
