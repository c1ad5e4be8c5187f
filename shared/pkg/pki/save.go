package pki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/failpoint"
)

// SaveCredentials stores what an enrolment or a renewal brought, having checked
// that key, certificate and CA are usable together. Directories that are missing
// are made with mode 0700; the key gets 0600.
//
// Each file is replaced atomically, and the new key waits under another name until
// its certificate is in place: whenever this is interrupted, [LoadCredentials] finds
// the old pair or the new one. Calls for the same files must not overlap.
func SaveCredentials(f Files, key crypto.Signer, certPEM, caPEM []byte) error {
	if err := checkSet(key, certPEM, caPEM); err != nil {
		return fmt.Errorf("save credentials: %w", err)
	}
	var keyPEM []byte
	places := []string{f.CA, f.Cert}
	if f.External == nil {
		var err error
		if keyPEM, err = EncodeKeyWith(key, f.Passphrase); err != nil {
			return err
		}
		places = append(places, f.Key)
	}
	for _, path := range places {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return fmt.Errorf("save credentials: %w", err)
		}
	}
	for _, step := range saveSteps(f, keyPEM, certPEM, caPEM) {
		if err := step(); err != nil {
			return fmt.Errorf("save credentials: %w", err)
		}
	}
	return nil
}

// saveSteps are the durable steps in their order; a crash may come between any two.
func saveSteps(f Files, keyPEM, certPEM, caPEM []byte) []func() error {
	if f.External != nil { // the certificate alone changes
		return []func() error{
			func() error { return atomicfile.Write(f.CA, caPEM, 0o644) },
			func() error { return atomicfile.Write(f.Cert, certPEM, 0o644) },
		}
	}
	return []func() error{
		func() error { finishSave(f); return nil },
		func() error { return atomicfile.Write(f.staged(), keyPEM, 0o600) },
		func() error { return atomicfile.Write(f.CA, caPEM, 0o644) },
		func() error { return atomicfile.Write(f.Cert, certPEM, 0o644) },
		func() error { return failpoint.Hit("key.staged") },
		func() error { return os.Rename(f.staged(), f.Key) },
		func() error { return failpoint.Hit("key.renamed") },
		func() error { return atomicfile.SyncDir(filepath.Dir(f.Key)) },
	}
}

// finishSave does the last step of a save that was interrupted: the next one would
// overwrite the only key of the certificate in place. Loading does it; that what is
// there may be unusable is no reason not to replace it.
func finishSave(f Files) { _, _ = load(f) }

// Renewed stores the answer to a renewal and takes it into use: the next handshake
// shows the new certificate. A CA that is not among those of the answer goes out of
// use, but for the one that vouches for the server at this time: an answer that
// leaves it out must not cut the agent off.
func (c *Credentials) Renewed(key crypto.Signer, certPEM, caPEM []byte) error {
	chain, err := ParseCertificates(certPEM)
	if err != nil {
		return err
	}
	if is, err := ParseIdentity(chain[0]); err != nil || is != c.Identity() {
		return errors.Join(err, fmt.Errorf("the renewed certificate is for %s and this agent is %s: nothing is stored", is, c.Identity()))
	}
	if caPEM, err = c.anchored(caPEM); err != nil {
		return err
	}
	if err := SaveCredentials(c.files, key, certPEM, caPEM); err != nil {
		return err
	}
	return c.Reload()
}

// anchored is a bundle with the CA that vouches for the server at this time.
func (c *Credentials) anchored(caPEM []byte) ([]byte, error) {
	cas, err := ParseCertificates(caPEM)
	if err != nil {
		return nil, fmt.Errorf("CA %w", err)
	}
	if anchor := c.anchor.Load(); anchor != nil && !slices.ContainsFunc(cas, anchor.Equal) {
		caPEM = append(append(slices.Clone(caPEM), '\n'), pem.EncodeToMemory(&pem.Block{Type: typeCertificate, Bytes: anchor.Raw})...)
	}
	return caPEM, nil
}

// maxAuthorities is how many CAs an orchestrator can name between renewals: ours names two.
const maxAuthorities = 8

// Bundle is what [Credentials.Trust] would store of the CAs that the orchestrator names between
// two renewals, and whether that is another bundle than the one in use.
func (c *Credentials) Bundle(caPEM []byte) (bundle []byte, changed bool, err error) {
	cas, err := ParseCertificates(caPEM)
	if err != nil {
		return nil, false, fmt.Errorf("CA %w", err)
	}
	if len(cas) > maxAuthorities || slices.ContainsFunc(cas, func(ca *x509.Certificate) bool { return !ca.IsCA }) {
		return nil, false, fmt.Errorf("CA certificates: must be 1 to %d certificates of authorities", maxAuthorities)
	}
	bundle, err = c.anchored(caPEM)
	return bundle, err == nil && !bytes.Equal(bundle, c.now().caPEM), err
}

// Trust stores a bundle and takes it into use, as [Credentials.Renewed] does with that of its
// answer. Connections made afterwards count on it.
func (c *Credentials) Trust(bundle []byte) error {
	if err := atomicfile.Write(c.files.CA, bundle, 0o644); err != nil {
		return fmt.Errorf("store the CAs: %w", err)
	}
	return c.Reload()
}

// Trusted are the fingerprints of the CAs that a server's certificate may be of. Where pins
// are given, others are of no use.
func (c *Credentials) Trusted(pins []Pin) []string {
	var list []string
	for _, ca := range c.now().cas {
		if len(pins) == 0 || slices.ContainsFunc(pins, func(p Pin) bool { return p.pinned(ca) }) {
			list = append(list, Fingerprint(ca))
		}
	}
	return list
}

// NextKey makes the key for a renewal: a new one of the same kind, or the one that an
// external signer holds, which is changed there.
func (c *Credentials) NextKey() (crypto.Signer, error) {
	if c.files.External != nil {
		return c.files.External.Key()
	}
	return GenerateKeyOf(TypeOf(c.Leaf().PublicKey))
}

// Writable reports why a renewed certificate could not be stored, or nil: what a secret
// store mounts is read-only, and renewed there.
func (c *Credentials) Writable() error {
	for _, path := range []string{c.files.identified(), c.files.CA} {
		f, err := os.CreateTemp(filepath.Dir(path), ".probe-")
		if err != nil {
			return err
		}
		if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
			return err
		}
	}
	return nil
}

func checkSet(key crypto.Signer, certPEM, caPEM []byte) error {
	chain, err := ParseCertificates(certPEM)
	if err != nil {
		return err
	}
	if _, err := checkLeaf(chain[0]); err != nil {
		return err
	}
	if !matches(key, chain[0]) {
		return errors.New("the certificate is not for the key that asked for it; ask again")
	}
	if _, err := ParseCertificates(caPEM); err != nil {
		return fmt.Errorf("CA %w", err)
	}
	return nil
}
