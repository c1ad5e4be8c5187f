package sealed

import (
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/limits"
)

// Key is an agent's own key.
type Key struct {
	private hpke.PrivateKey
	public  string
}

// Public is the half that the agent tells.
func (k *Key) Public() string { return k.public }

// maxKeyFile bounds what is read of a key file: 44 characters and a line's end.
const maxKeyFile = 1 << 10

// OpenKey reads the key in a file, and makes one when there is no file.
func OpenKey(path string) (*Key, error) {
	text, err := limits.ReadFile(path, maxKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("key for secrets: %w", err)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, damaged(path)
	}
	private, err := ecdh.X25519().NewPrivateKey(raw)
	if err != nil {
		return nil, damaged(path)
	}
	return newKey(private)
}

func damaged(path string) error {
	return fmt.Errorf("key for secrets: %s does not hold the base64 of an X25519 key; restore it from a backup, or remove it and enrol the agent again with a token made for it", path)
}

func makeKey(path string) (*Key, error) {
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key for secrets: %w", err)
	}
	text := base64.StdEncoding.EncodeToString(private.Bytes()) + "\n"
	if err := atomicfile.Create(path, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("key for secrets: %w", err)
	}
	return newKey(private)
}

func newKey(private *ecdh.PrivateKey) (*Key, error) {
	k, err := hpke.NewDHKEMPrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("key for secrets: %w", err)
	}
	return &Key{k, base64.StdEncoding.EncodeToString(private.PublicKey().Bytes())}, nil
}
