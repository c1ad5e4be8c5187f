package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"unicode/utf8"

	"github.com/stavily/agents/shared/pkg/api"
)

// The bounds of a value. A shorter one could not be masked: it would stand in every other
// word. The longest that people have is a private key with its chain.
const (
	MinBytes = 6
	MaxBytes = 32 << 10
)

// MaxSecrets is how many an organisation has at most; each is opened at each start.
const MaxSecrets = 10_000

// CheckValue says what is wrong with a value, without repeating it.
func CheckValue(value string) error {
	switch {
	case len(value) < MinBytes:
		return fmt.Errorf("the value has %d bytes: one of fewer than %d cannot be masked in logs and results, so it is not taken", len(value), MinBytes)
	case len(value) > MaxBytes:
		return fmt.Errorf("the value has %d bytes and may have %d", len(value), MaxBytes)
	case !utf8.ValidString(value):
		return errors.New("the value is not text in UTF-8: store it as base64")
	}
	return nil
}

// Place is where a value belongs.
type Place struct {
	Org     api.OrgID `json:"org"`
	Name    string    `json:"name"`
	Version int       `json:"version"`
}

// protocol keeps what is sealed here apart from all else under the same key.
const protocol = "stavily secret 1 "

// bound is the place as bytes: JSON, so that no two places have the same.
func (p Place) bound() ([]byte, error) {
	text, err := json.Marshal(p)
	return append([]byte(protocol), text...), err
}

// Sealed is a value that only its key opens.
type Sealed struct {
	Key  string // id of the key
	Text []byte // nonce, ciphertext, tag
}

// ErrNoKey says that the key is not here that a value was sealed with.
var ErrNoKey = errors.New("sealed with a key that this server does not have")

// ErrDamaged says that a value does not open with its own key: it was changed or moved.
var ErrDamaged = errors.New("was changed since it was sealed, or belongs to another secret")

// Vault seals and opens values. Make it with [Open].
type Vault struct {
	source source

	mu   sync.Mutex // guards ring, and what the source remembers
	ring []key
}

// key is one of the ring.
type key struct {
	id   string
	raw  []byte
	aead cipher.AEAD // puts its random nonce before the ciphertext
}

func newKey(raw []byte) (key, error) {
	block, err := aes.NewCipher(raw)
	if err != nil {
		return key{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return key{idOf(raw), raw, aead}, err
}

// keys is the ring as the source has it now.
func (v *Vault) keys() ([]key, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	fresh, changed, err := v.source.changed()
	if err != nil {
		return nil, err
	}
	if changed {
		v.ring = fresh
	}
	return v.ring, nil
}

// Seal seals a value under the current key.
func (v *Vault) Seal(p Place, value string) (Sealed, error) {
	bound, err := p.bound()
	if err != nil {
		return Sealed{}, err
	}
	ring, err := v.keys()
	if err != nil {
		return Sealed{}, fmt.Errorf("seal secret %s: %w", p.Name, err)
	}
	return Sealed{ring[0].id, ring[0].aead.Seal(nil, nil, []byte(value), bound)}, nil
}

// Open returns the value of a place. The error wraps [ErrNoKey] or [ErrDamaged].
func (v *Vault) Open(p Place, s Sealed) (string, error) {
	bound, err := p.bound()
	if err != nil {
		return "", err
	}
	ring, err := v.keys()
	if err != nil {
		return "", fmt.Errorf("open secret %s: %w", p.Name, err)
	}
	i := slices.IndexFunc(ring, func(k key) bool { return k.id == s.Key })
	if i < 0 {
		return "", fmt.Errorf("secret %s is %w: key %.16s; restore %s, or set the secret again", p.Name, ErrNoKey, s.Key, v.source)
	}
	value, err := ring[i].aead.Open(nil, nil, s.Text, bound)
	if err != nil {
		return "", fmt.Errorf("secret %s %w; set it again", p.Name, ErrDamaged)
	}
	return string(value), nil
}

// Current is the id of the key that seals.
func (v *Vault) Current() (string, error) {
	ring, err := v.keys()
	if err != nil {
		return "", err
	}
	return ring[0].id, nil
}

// Renew takes a new key, with which everything is sealed from now on: one that is made
// where the keys are in a file, else what the command prints first now.
func (v *Vault) Renew() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if fresh, changed, err := v.source.changed(); err == nil && changed { // another server has renewed it
		v.ring = fresh
	}
	ring, err := v.source.renew(v.ring)
	if err != nil {
		return fmt.Errorf("take a new key for secrets: %w", err)
	}
	v.ring = ring
	return nil
}

// Retire removes the keys that no value names any more from the file. Where they are
// printed by a command it is for its owner to do.
func (v *Vault) Retire(used map[string]bool) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	kept := slices.DeleteFunc(slices.Clone(v.ring), func(k key) bool { return k.id != v.ring[0].id && !used[k.id] })
	if len(kept) == len(v.ring) {
		return nil
	}
	if err := v.source.keep(kept); err != nil {
		return fmt.Errorf("remove old keys for secrets: %w", err)
	}
	v.ring = kept
	return nil
}
