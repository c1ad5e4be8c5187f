package pki

import (
	"crypto"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/stavily/agents/internal/atomicfile"
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
	keyPEM, err := EncodeKey(key)
	if err != nil {
		return err
	}
	for _, path := range []string{f.Key, f.CA, f.Cert} {
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
	return []func() error{
		func() error { finishSave(f); return nil },
		func() error { return atomicfile.Write(f.staged(), keyPEM, 0o600) },
		func() error { return atomicfile.Write(f.CA, caPEM, 0o644) },
		func() error { return atomicfile.Write(f.Cert, certPEM, 0o644) },
		func() error { return os.Rename(f.staged(), f.Key) },
		func() error { return atomicfile.SyncDir(filepath.Dir(f.Key)) },
	}
}

// finishSave does the last step of a save that was interrupted: the next one would
// overwrite the only key of the certificate in place. Loading does it; that what is
// there may be unusable is no reason not to replace it.
func finishSave(f Files) { _, _ = load(f) }

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
