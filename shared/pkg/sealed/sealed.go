package sealed

import (
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
)

// Binding is for whom and for what something is sealed. All of it must be the same to open it.
type Binding struct {
	Org         api.OrgID         `json:"org"`
	Agent       api.AgentID       `json:"agent"`
	Instruction api.InstructionID `json:"instruction"`
	Attempt     int               `json:"attempt"`
}

// protocol keeps what is sealed here from being opened as anything else that uses the same key.
const protocol = "stavily secrets 1 "

// info is the binding as bytes: JSON, so that no two bindings have the same.
func (b Binding) info() ([]byte, error) {
	text, err := json.Marshal(b)
	return append([]byte(protocol), text...), err
}

// Contents are what is sealed.
type Contents struct {
	Fills []Fill `json:"fills"`
	// Hide are the values of the secrets, which must not leave the agent. What Fills
	// puts into a place may have other text around them.
	Hide []string `json:"hide"`
}

// Fill is a text for one place of an input.
type Fill struct {
	Path []string `json:"path"` // keys of objects and indexes of lists, from the outside
	Text string   `json:"text"`
}

var (
	kdf  = hpke.HKDFSHA256()
	aead = hpke.AES256GCM()
)

// errKey says that a text is no public key of an agent.
var errKey = errors.New("a public key for secrets is the base64 of the 32 bytes of an X25519 key")

// ParsePublic checks the public key that an agent tells.
func ParsePublic(text string) (*ecdh.PublicKey, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, errKey
	}
	key, err := ecdh.X25519().NewPublicKey(raw)
	if err != nil {
		return nil, errKey
	}
	return key, nil
}

// Seal encrypts contents to a public key, as base64.
func Seal(public string, b Binding, c Contents) (string, error) {
	key, err := ParsePublic(public)
	if err != nil {
		return "", err
	}
	recipient, err := hpke.NewDHKEMPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("seal for agent %s: %w", b.Agent, err)
	}
	info, err := b.info()
	if err != nil {
		return "", err
	}
	plain, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	out, err := hpke.Seal(recipient, kdf, aead, info, plain)
	if err != nil {
		return "", fmt.Errorf("seal for agent %s: %w", b.Agent, err)
	}
	return base64.StdEncoding.EncodeToString(out), nil
}

// ErrOpen says that something was sealed to another key, for another attempt, or changed since.
var ErrOpen = errors.New("the secrets of this instruction were not sealed for this agent and attempt")

// Open decrypts what was sealed to this key under the same binding.
func (k *Key) Open(b Binding, text string) (Contents, error) {
	var c Contents
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return c, ErrOpen
	}
	info, err := b.info()
	if err != nil {
		return c, err
	}
	plain, err := hpke.Open(k.private, kdf, aead, info, raw)
	if err != nil {
		return c, ErrOpen
	}
	if err := limits.UnmarshalJSON(plain, &c); err != nil {
		return c, ErrOpen // without the reason, which may quote what is sealed
	}
	return c, nil
}
