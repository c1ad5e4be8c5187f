package bundle

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/stavily/agents/internal/limits"
)

// Namespace keeps a signature made for something else from counting for a package
// (ssh-keygen -Y sign -n).
const Namespace = "stavily-plugin"

const (
	maxKeyFile = 64 << 10
	maxKeys    = 100
)

// Errors that callers tell apart; each comes with its sentence.
var (
	ErrUnsigned  = errors.New("is not signed")
	ErrUntrusted = errors.New("is signed by a key that is not trusted here")
	// ErrPassphrase: the private key is encrypted, and no or another passphrase was given.
	ErrPassphrase = errors.New("the key has a passphrase")
)

// Key is the public half of an Ed25519 SSH key.
type Key struct {
	public  ssh.PublicKey
	Comment string // for people: whose it is
}

// Fingerprint is the key's as ssh-keygen -l prints it.
func (k Key) Fingerprint() string { return ssh.FingerprintSHA256(k.public) }

// Line is the key as a line of authorized_keys, without a line ending.
func (k Key) Line() string {
	return strings.TrimSpace(strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k.public))) + " " + k.Comment)
}

// String names the key for people: fingerprint and comment.
func (k Key) String() string { return strings.TrimSpace(k.Fingerprint() + " " + k.Comment) }

// Keys are those that a host trusts.
type Keys []Key

// ParseKeys reads lines of authorized_keys. Empty lines and comments are passed over,
// anything else that is not a bare Ed25519 key is an error that names the line.
func ParseKeys(text string) (Keys, error) {
	var keys Keys
	for n, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		public, comment, options, _, err := ssh.ParseAuthorizedKey([]byte(line))
		switch {
		case err != nil:
			return nil, fmt.Errorf("line %d: is not a public key, such as \"ssh-ed25519 AAAA… name\"", n+1)
		case len(options) > 0:
			return nil, fmt.Errorf("line %d: begins with options (%s), which mean nothing here: leave them out", n+1, options[0])
		case public.Type() != ssh.KeyAlgoED25519:
			return nil, fmt.Errorf("line %d: is a key of type %s: only %s is taken; make one with `stavily keys create`", n+1, public.Type(), ssh.KeyAlgoED25519)
		case len(keys) == maxKeys:
			return nil, fmt.Errorf("line %d: %w: more than %d keys", n+1, limits.ErrTooLarge, maxKeys)
		}
		keys = append(keys, Key{public, comment})
	}
	return keys, nil
}

// LoadKeys reads trusted keys as configuration gives them: each entry is a line of
// authorized_keys, or the path of a file of such lines.
func LoadKeys(entries []string) (Keys, error) {
	var all Keys
	for _, entry := range entries {
		text, where := entry, "trusted key"
		if !IsKeyLine(entry) {
			b, err := limits.ReadFile(entry, maxKeyFile)
			if err != nil {
				return nil, err
			}
			text, where = string(b), entry
		}
		keys, err := ParseKeys(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		all = append(all, keys...)
	}
	return all, nil
}

// IsKeyLine tells a key from the path of a file: no path begins with a key's type
// and a space.
func IsKeyLine(entry string) bool {
	first, _, spaced := strings.Cut(strings.TrimSpace(entry), " ")
	return spaced && (strings.HasPrefix(first, "ssh-") || strings.HasPrefix(first, "ecdsa-") || strings.HasPrefix(first, "sk-"))
}

// verify finds the trusted key that made armored over message.
func (ks Keys) verify(message, armored []byte) (Key, error) {
	sig, err := sshsig.Unarmor(armored)
	if err != nil {
		return Key{}, fmt.Errorf("%s: is not an SSH signature: %w", SignatureName, err)
	}
	for _, k := range ks {
		if !bytes.Equal(k.public.Marshal(), sig.PublicKey.Marshal()) {
			continue
		}
		if err := sshsig.Verify(bytes.NewReader(message), sig, k.public, sig.HashAlgorithm, Namespace); err != nil {
			return Key{}, fmt.Errorf("the signature of %s does not fit: the package was altered, or signed for something else (%w)", k, err)
		}
		return k, nil
	}
	return Key{}, fmt.Errorf("%w: %s; trust it with plugins.trusted_keys if you know whose it is", ErrUntrusted, ssh.FingerprintSHA256(sig.PublicKey))
}

// Signer is a private key that signs packages.
type Signer struct {
	private ed25519.PrivateKey
	signer  ssh.Signer
	comment string
}

// NewKey makes an Ed25519 key; comment tells people whose it is.
func NewKey(comment string) (*Signer, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a signing key: %w", err)
	}
	return newSigner(private, comment)
}

func newSigner(private ed25519.PrivateKey, comment string) (*Signer, error) {
	if strings.ContainsAny(comment, "\r\n\x00") {
		return nil, fmt.Errorf("comment %q: must be one line", comment)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, fmt.Errorf("use a signing key: %w", err)
	}
	return &Signer{private, signer, comment}, nil
}

// Key is the public half.
func (s *Signer) Key() Key { return Key{s.signer.PublicKey(), s.comment} }

// Save writes the private key to path, in OpenSSH's form and with mode 0600, and the
// public one to path.pub. Neither may exist: a key that is overwritten is lost.
func (s *Signer) Save(path string) error {
	block, err := ssh.MarshalPrivateKey(s.private, s.comment)
	if err != nil {
		return fmt.Errorf("encode the signing key: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("save the signing key: %w", err)
	}
	if _, err := os.Lstat(path + ".pub"); err == nil {
		return fmt.Errorf("save the signing key: %s.pub exists: choose another name", path)
	}
	if err := create(path, pem.EncodeToMemory(block), 0o600); err != nil {
		return err
	}
	return create(path+".pub", []byte(s.Key().Line()+"\n"), 0o644)
}

func create(path string, content []byte, perm fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("save the signing key: %s exists: choose another name", path)
	}
	if err != nil {
		return fmt.Errorf("save the signing key: %w", err)
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("save the signing key: %w", err)
	}
	return nil
}

// LoadKey reads an Ed25519 private key as ssh-keygen writes it. A key that others can
// read is refused, as ssh does. Passphrase is asked only where the key has one; nil
// gives ErrPassphrase there.
func LoadKey(path string, passphrase func() ([]byte, error)) (*Signer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("load the signing key: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("load the signing key: %s has mode %04o, so that others can read it: chmod 600 it, and make a new one if somebody did", path, info.Mode().Perm())
	}
	text, err := limits.ReadFile(path, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("load the signing key: %w", err)
	}
	raw, err := parsePrivate(text, passphrase)
	if err != nil {
		return nil, fmt.Errorf("load the signing key %s: %w", path, err)
	}
	private, ok := raw.(*ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("load the signing key %s: is not an Ed25519 key: make one with `stavily keys create`", path)
	}
	return newSigner(*private, commentBeside(path))
}

func parsePrivate(text []byte, passphrase func() ([]byte, error)) (any, error) {
	raw, err := ssh.ParseRawPrivateKey(text)
	var missing *ssh.PassphraseMissingError
	if !errors.As(err, &missing) {
		return raw, err
	}
	if passphrase == nil {
		return nil, ErrPassphrase
	}
	secret, err := passphrase()
	if err != nil {
		return nil, err
	}
	if raw, err = ssh.ParseRawPrivateKeyWithPassphrase(text, secret); err != nil {
		return nil, fmt.Errorf("%w, and this is not it: %w", ErrPassphrase, err)
	}
	return raw, nil
}

// commentBeside takes the comment from the public key beside the private one, where
// there is any: the private file keeps it encrypted.
func commentBeside(path string) string {
	text, err := limits.ReadFile(path+".pub", maxKeyFile)
	if err != nil {
		return ""
	}
	keys, err := ParseKeys(string(text))
	if err != nil || len(keys) == 0 {
		return ""
	}
	return keys[0].Comment
}

// sign makes the armored signature over message.
func (s *Signer) sign(message []byte) ([]byte, error) {
	sig, err := sshsig.Sign(bytes.NewReader(message), s.signer, sshsig.HashSHA512, Namespace)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return sshsig.Armor(sig), nil
}
