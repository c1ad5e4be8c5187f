package secret

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/pki"
)

// Options say where the keys are.
type Options struct {
	File    string   // made with a first key when it is not there
	Command []string // instead of File: prints the keys, one a line, the current one first
	// MayMake is asked before File is made, and its error is why it may not be; nil: it may.
	MayMake func() error
}

// keyBytes is the length of a key for AES-256.
const keyBytes = 32

// maxKeys bounds a ring: a key a year for a lifetime.
const maxKeys = 64

// maxFile bounds what is read of a key file, comments included.
const maxFile = 16 << 10

// Open reads the keys.
func Open(o Options) (*Vault, error) {
	var s source = &file{path: o.File, mayMake: o.MayMake}
	if len(o.Command) > 0 {
		s = command(o.Command)
	}
	ring, err := s.open()
	if err != nil {
		return nil, fmt.Errorf("keys for secrets: %w", err)
	}
	return &Vault{source: s, ring: ring}, nil
}

// source is where keys come from. Its calls do not overlap.
type source interface {
	open() ([]key, error)
	// changed reads the keys again when they may be others than before.
	changed() (ring []key, changed bool, err error)
	renew(old []key) ([]key, error)
	keep([]key) error
	String() string // for people
}

// file is keys in a file, base64, one a line; a line that begins with # is a comment.
type file struct {
	path    string
	mayMake func() error
	when    time.Time // of its last change that was read
}

func (f *file) String() string { return "the key file " + f.path }

func (f *file) open() ([]key, error) {
	ring, err := f.read()
	if !errors.Is(err, fs.ErrNotExist) {
		return ring, err
	}
	if f.mayMake != nil {
		if err := f.mayMake(); err != nil {
			return nil, err
		}
	}
	first, err := makeKey()
	if err != nil {
		return nil, err
	}
	if err := atomicfile.Create(f.path, encode([]key{first}), 0o600); err != nil && !errors.Is(err, fs.ErrExist) { // another server was first
		return nil, err
	}
	return f.read()
}

func (f *file) read() ([]key, error) {
	info, err := os.Stat(f.path)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o007 != 0 && runtime.GOOS != "windows" { // which has no such mode
		return nil, fmt.Errorf("everybody on this host can read %s (mode %04o): chmod 600 it, and `stavily secrets rotate` if somebody may have", f.path, mode)
	}
	text, err := limits.ReadFile(f.path, maxFile)
	if err != nil {
		return nil, err
	}
	ring, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	f.when = info.ModTime()
	return ring, nil
}

func (f *file) changed() ([]key, bool, error) {
	info, err := os.Stat(f.path)
	if err != nil || info.ModTime().Equal(f.when) {
		return nil, false, nil // one that is gone is missed at the next start; what was read goes on
	}
	ring, err := f.read()
	return ring, err == nil, err
}

func (f *file) renew(old []key) ([]key, error) {
	if len(old) == maxKeys {
		return nil, fmt.Errorf("%s holds %d keys already, and values still need them", f.path, maxKeys)
	}
	fresh, err := makeKey()
	if err != nil {
		return nil, err
	}
	ring := append([]key{fresh}, old...)
	return ring, f.keep(ring)
}

func (f *file) keep(ring []key) error {
	if err := atomicfile.Write(f.path, encode(ring), 0o600); err != nil {
		return err
	}
	_, err := f.read()
	return err
}

// command is keys that a program prints.
type command []string

func (c command) String() string { return "the key that " + c[0] + " printed" }

func (c command) open() ([]key, error) {
	text, err := pki.RunHelper(c, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c[0], err)
	}
	ring, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("%s: what it printed: %w", c[0], err)
	}
	return ring, nil
}

func (c command) changed() ([]key, bool, error) { return nil, false, nil }

// renew keeps the keys that were there: what is sealed with one that the command prints no
// more is still to be sealed again.
func (c command) renew(old []key) ([]key, error) {
	ring, err := c.open()
	if err != nil {
		return nil, err
	}
	for _, k := range old {
		if !slices.ContainsFunc(ring, func(r key) bool { return r.id == k.id }) {
			ring = append(ring, k)
		}
	}
	return ring, nil
}

func (c command) keep([]key) error { return nil }

func makeKey() (key, error) {
	raw := make([]byte, keyBytes)
	rand.Read(raw) // never fails
	return newKey(raw)
}

// idOf names a key without telling anything about it: keys are random.
func idOf(raw []byte) string {
	sum := sha256.Sum256(append([]byte("stavily key id "), raw...))
	return hex.EncodeToString(sum[:8])
}

func encode(ring []key) []byte {
	var b bytes.Buffer
	b.WriteString("# Keys of stored secrets; the first is in use. Whoever has one of them and the database has the secrets.\n")
	for _, k := range ring {
		b.WriteString(base64.StdEncoding.EncodeToString(k.raw) + "\n")
	}
	return b.Bytes()
}

func decode(text []byte) ([]key, error) {
	var ring []key
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(raw) != keyBytes {
			return nil, fmt.Errorf("line %d is not the base64 of %d bytes: make a key with `openssl rand -base64 %d`", n, keyBytes, keyBytes)
		}
		k, err := newKey(raw)
		if err != nil {
			return nil, err
		}
		ring = append(ring, k)
	}
	if len(ring) == 0 || len(ring) > maxKeys {
		return nil, fmt.Errorf("holds %d keys: must be 1 to %d, one a line", len(ring), maxKeys)
	}
	return ring, nil
}
