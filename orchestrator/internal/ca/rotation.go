package ca

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/pki"
)

// What a CA is. One is active, and at most one other is something else.
const (
	StateActive   = "active"   // signs
	StatePrepared = "prepared" // will sign: agents are to trust it before it does
	StateOld      = "old"      // has signed
	StateTainted  = "tainted"  // has signed: agents are to renew what it signed, and to trust it no more
)

// The steps of a rotation, in their order.
const (
	StepPrepare  = "prepare"
	StepActivate = "activate"
	StepTaint    = "taint"
	StepRevoke   = "revoke"
)

// Steps lists them.
func Steps() []string { return []string{StepPrepare, StepActivate, StepTaint, StepRevoke} }

// Files of a directory, see the package's documentation.
const (
	FirstKey     = "ca.key"
	bundleFile   = "ca.crt"
	rotationFile = "rotation.json"
)

// CA is one certificate authority.
type CA struct {
	Fingerprint string
	State       string
	Since       time.Time // that it is in this state
	NotAfter    time.Time
}

// authority is one with what it signs with. It never changes.
type authority struct {
	CA
	keyName string // of its file; empty: it signs no more, and its key is gone
	cert    *x509.Certificate
	key     crypto.Signer
}

func newAuthority(state string, since time.Time, keyName string, cert *x509.Certificate, key crypto.Signer) authority {
	return authority{CA{pki.Fingerprint(cert), state, since, cert.NotAfter}, keyName, cert, key}
}

// set is every CA that counts at a time, the active one first. It never changes.
type set struct {
	first   string // fingerprint of the first CA, by which all servers know the directory
	list    []authority
	revoked []string // fingerprints
	bundle  string   // what agents are to trust, PEM
	pool    *x509.CertPool
	file    []byte // rotation.json as it was read; nil: there is none
}

func newSet(first string, revoked []string, list []authority) *set {
	slices.SortStableFunc(list, func(a, b authority) int { return rank(a) - rank(b) })
	s := &set{first: first, list: list, revoked: revoked, pool: x509.NewCertPool()}
	for _, one := range list {
		s.pool.AddCert(one.cert)
		if one.State != StateTainted {
			s.bundle += string(encode(one.cert.Raw))
		}
	}
	return s
}

func rank(a authority) int {
	if a.State == StateActive {
		return 0
	}
	return 1
}

func (s *set) active() authority { return s.list[0] }

// other is the CA beside the active one; false: there is none.
func (s *set) other() (authority, bool) {
	if len(s.list) < 2 {
		return authority{}, false
	}
	return s.list[1], true
}

// step is the one that is next.
func (s *set) step() string {
	other, ok := s.other()
	switch {
	case !ok:
		return StepPrepare
	case other.State == StatePrepared:
		return StepActivate
	case other.State == StateOld:
		return StepTaint
	}
	return StepRevoke
}

// CAs lists those that count, the active one first.
func (a *Authority) CAs() []CA {
	var list []CA
	for _, one := range a.set.Load().list {
		list = append(list, one.CA)
	}
	return list
}

// Lineage is the fingerprint of the first CA that the directory had.
func (a *Authority) Lineage() string { return a.set.Load().first }

// NextStep is the step that a rotation would take now.
func (a *Authority) NextStep() string { return a.set.Load().step() }

// Issuer is the CA that signed the certificate of an agent; false: none that counts, it was
// revoked. That the signature is good the handshake has verified, or this program made it.
func (a *Authority) Issuer(cert *x509.Certificate) (CA, bool) {
	for _, one := range a.set.Load().list {
		if bytes.Equal(cert.AuthorityKeyId, one.cert.SubjectKeyId) {
			return one.CA, true
		}
	}
	return CA{}, false
}

// Revoked reports whether CAs of this directory were revoked: certificates of theirs are known no more.
func (a *Authority) Revoked() bool { return len(a.set.Load().revoked) > 0 }

// Wants reports whether an agent that trusts the CAs with these fingerprints is to be given
// what [Authority.PEM] has: it lacks one, or has one that goes out of use.
func (a *Authority) Wants(trusted []string) bool {
	s := a.set.Load()
	for _, one := range s.list {
		if slices.Contains(trusted, one.Fingerprint) == (one.State == StateTainted) {
			return true
		}
	}
	return slices.ContainsFunc(s.revoked, func(gone string) bool { return slices.Contains(trusted, gone) })
}

// Take takes a step, which must be the next one. Servers that share the directory must not do
// so at a time.
func (a *Authority) Take(step string) error {
	s := a.set.Load()
	if next := s.step(); step != next {
		return fmt.Errorf("take step %q of the CA's rotation: the next one is %q", step, next)
	}
	now := a.now()
	active := s.active()
	other, _ := s.other()
	list, revoked := []authority{active}, s.revoked
	switch step {
	case StepPrepare:
		next, err := a.makeNext(now)
		if err != nil {
			return fmt.Errorf("prepare a CA: %w", err)
		}
		list = append(list, next)
	case StepActivate:
		list = []authority{in(other, StateActive, now), in(active, StateOld, now)}
	case StepTaint:
		other.keyName, other.key = "", nil
		list = append(list, in(other, StateTainted, now))
	case StepRevoke:
		revoked = append(slices.Clone(revoked), other.Fingerprint)
	}
	if err := a.store(newSet(s.first, revoked, list)); err != nil {
		return fmt.Errorf("%s a CA: %w", step, err)
	}
	return nil
}

func in(one authority, state string, since time.Time) authority {
	one.State, one.Since = state, since
	return one
}

// makeNext makes a CA whose key is in a file that nothing names yet.
func (a *Authority) makeNext(now time.Time) (authority, error) {
	key, err := pki.GenerateKey()
	if err != nil {
		return authority{}, err
	}
	encoded, err := pki.EncodeKey(key)
	if err != nil {
		return authority{}, err
	}
	cert, err := selfSigned(a.trustDomain, key, now)
	if err != nil {
		return authority{}, err
	}
	name := "ca-" + strings.TrimPrefix(pki.Fingerprint(cert), "sha256:")[:16] + ".key"
	if err := atomicfile.Create(filepath.Join(a.dir, name), encoded, 0o600); err != nil {
		return authority{}, err
	}
	return newAuthority(StatePrepared, now, name, cert, key), nil
}

// document is rotation.json.
type document struct {
	First       string          `json:"first"`
	Authorities []documentEntry `json:"authorities"`
	Revoked     []string        `json:"revoked,omitempty"`
}

type documentEntry struct {
	State       string    `json:"state"`
	Since       time.Time `json:"since"`
	Key         string    `json:"key,omitempty"` // name of its file
	Certificate string    `json:"certificate"`
}

// store makes a set the one that counts. It does from the moment that rotation.json is
// replaced; what comes after only tidies up, and is done again by the next step.
func (a *Authority) store(s *set) error {
	d := document{First: s.first, Revoked: s.revoked}
	for _, one := range s.list {
		d.Authorities = append(d.Authorities, documentEntry{one.State, one.Since.UTC(), one.keyName, string(encode(one.cert.Raw))})
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	s.file = append(text, '\n')
	if err := atomicfile.Write(filepath.Join(a.dir, rotationFile), s.file, 0o600); err != nil {
		return err
	}
	a.set.Store(s)
	if err := atomicfile.Write(filepath.Join(a.dir, bundleFile), []byte(s.bundle), 0o644); err != nil {
		return err
	}
	return a.removeKeys(s)
}

// removeKeys removes the keys of CAs that sign no more.
func (a *Authority) removeKeys(s *set) error {
	found, err := filepath.Glob(filepath.Join(a.dir, "ca-*.key"))
	for _, path := range append(found, filepath.Join(a.dir, FirstKey)) {
		named := func(one authority) bool { return one.keyName == filepath.Base(path) }
		if slices.ContainsFunc(s.list, named) {
			continue
		}
		if gone := os.Remove(path); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

// Refresh takes up what another server that shares the directory has made of it, and reports
// whether that was anything. On an error what was in use stays in use.
func (a *Authority) Refresh() (changed bool, err error) {
	text, err := limits.ReadFile(filepath.Join(a.dir, rotationFile), maxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist) && a.set.Load().file == nil:
		return false, nil
	case err == nil && bytes.Equal(text, a.set.Load().file):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look at the CA: %w", err)
	}
	loaded, err := a.load()
	if err != nil {
		return false, fmt.Errorf("look at the CA: %w", err)
	}
	a.set.Store(loaded)
	return true, nil
}

// load reads rotation.json and the keys that it names.
func (a *Authority) load() (*set, error) {
	path := filepath.Join(a.dir, rotationFile)
	text, err := limits.ReadFile(path, maxFile)
	if err != nil {
		return nil, err
	}
	var d document
	if err := limits.UnmarshalJSON(text, &d); err != nil {
		return nil, fmt.Errorf("%s: %w; restore the directory from a backup", path, err)
	}
	var list []authority
	for n, entry := range d.Authorities {
		one, err := a.loadOne(entry)
		if err != nil {
			return nil, fmt.Errorf("%s: authority %d: %w; restore the whole directory from one backup", path, n+1, err)
		}
		list = append(list, one)
	}
	s := newSet(d.First, d.Revoked, list)
	if d.First == "" || len(list) == 0 || len(list) > 2 || s.active().State != StateActive || len(list) == 2 && s.list[1].State == StateActive {
		return nil, fmt.Errorf("%s: does not say which authority is the active one; restore the directory from a backup", path)
	}
	s.file = text
	return s, nil
}

func (a *Authority) loadOne(entry documentEntry) (one authority, err error) {
	certs, err := pki.ParseCertificates([]byte(entry.Certificate))
	if err != nil {
		return one, err
	}
	one = newAuthority(entry.State, entry.Since, entry.Key, certs[0], nil)
	switch {
	case !slices.Contains([]string{StateActive, StatePrepared, StateOld, StateTainted}, entry.State):
		return one, fmt.Errorf("state %.40q is none that this version knows", entry.State)
	case entry.State == StateTainted:
		return one, nil
	case entry.Key != filepath.Base(entry.Key) || entry.Key == "":
		return one, fmt.Errorf("key %.100q is not the name of a file beside it", entry.Key)
	}
	path := filepath.Join(a.dir, entry.Key)
	b, err := limits.ReadFile(path, maxFile)
	if err != nil {
		return one, fmt.Errorf("its key: %w", err)
	}
	if one.key, err = pki.ParseKey(b); err != nil {
		return one, fmt.Errorf("%s: %w", path, err)
	}
	if !belongs(one.key, one.cert) {
		return one, fmt.Errorf("%s is not the key of its certificate", path)
	}
	return one, nil
}
