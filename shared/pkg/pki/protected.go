package pki

import (
	"bytes"
	"crypto"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/youmark/pkcs8"

	"github.com/stavily/agents/internal/limits"
)

// maxPassphrase is what people and programs choose at most.
const maxPassphrase = 1 << 10

// Passphrase gives the secret that a key file is encrypted with.
type Passphrase func() ([]byte, error)

// PassphraseFile reads it from the first line of a file.
func PassphraseFile(path string) Passphrase {
	return func() ([]byte, error) {
		text, err := limits.ReadFile(path, maxPassphrase)
		if err != nil {
			return nil, fmt.Errorf("api.auth.key_passphrase_file: %w", err)
		}
		return firstLine("api.auth.key_passphrase_file "+path, text)
	}
}

// PassphraseCommand takes it from the first line that a command prints.
func PassphraseCommand(command []string) Passphrase {
	return func() ([]byte, error) {
		text, err := RunHelper(command, nil)
		if err != nil {
			return nil, fmt.Errorf("api.auth.key_passphrase_command %q: %w", command[0], err)
		}
		return firstLine("api.auth.key_passphrase_command "+command[0], text)
	}
}

func firstLine(whose string, text []byte) ([]byte, error) {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	if line = bytes.TrimSuffix(line, []byte("\r")); len(line) == 0 {
		return nil, fmt.Errorf("%s: its first line is empty, and must be the passphrase", whose)
	}
	return line, nil
}

// protection is how new key files are encrypted: what openssl does with -v2prf
// hmacWithSHA256 -iter 600000. No scrypt: it would take 32 MiB for a moment.
var protection = pkcs8.Opts{Cipher: pkcs8.AES256CBC, KDFOpts: pkcs8.PBKDF2Opts{SaltSize: 16, IterationCount: 600_000, HMACHash: crypto.SHA256}}

// EncodeKeyWith writes a private key as encrypted PKCS#8 in PEM; without a passphrase
// it is [EncodeKey].
func EncodeKeyWith(key crypto.Signer, passphrase Passphrase) ([]byte, error) {
	if passphrase == nil {
		return EncodeKey(key)
	}
	secret, err := passphrase()
	if err != nil {
		return nil, err
	}
	der, err := pkcs8.MarshalPrivateKey(key, secret, &protection)
	if err != nil {
		return nil, fmt.Errorf("encrypt private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: typeEncryptedKey, Bytes: der}), nil
}

var errNoPassphrase = errors.New("private key: is encrypted; set api.auth.key_passphrase_file or api.auth.key_passphrase_command, or decrypt it with `openssl pkey -in OLD -out NEW` and keep it at mode 0600")

// decrypt opens an encrypted PKCS#8 block.
func decrypt(block *pem.Block, passphrase Passphrase) (any, error) {
	if passphrase == nil {
		return nil, errNoPassphrase
	}
	secret, err := passphrase()
	if err != nil {
		return nil, err
	}
	key, err := pkcs8.ParsePKCS8PrivateKey(block.Bytes, secret)
	if err != nil {
		return nil, fmt.Errorf("private key: cannot be decrypted: %w; is it the passphrase of this key?", err)
	}
	return key, nil
}
