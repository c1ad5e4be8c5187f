package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

const (
	minRSABits = 4096 // as strong as the system promises
	maxRSABits = 8192 // what crypto/tls takes; verifying a longer one is work that an attacker chooses
)

// KeyType is a kind of key that can be made.
type KeyType string

// The kinds of keys. P384 is the default: its handshake costs a tenth of RSA's.
const (
	P384    KeyType = "ecdsa-p384"
	RSA4096 KeyType = "rsa-4096"
)

// GenerateKey makes an ECDSA key on P-384, the kind that agents and CA use.
func GenerateKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
}

// GenerateKeyOf makes a key of the kind.
func GenerateKeyOf(t KeyType) (crypto.Signer, error) {
	switch t {
	case P384:
		return GenerateKey()
	case RSA4096:
		return rsa.GenerateKey(rand.Reader, minRSABits)
	}
	return nil, fmt.Errorf("key type %.40q: must be %s or %s", t, P384, RSA4096)
}

// TypeOf is the kind that a renewal makes to follow a key.
func TypeOf(pub crypto.PublicKey) KeyType {
	if _, ok := pub.(*rsa.PublicKey); ok {
		return RSA4096
	}
	return P384
}

// EncodeKey writes a private key as PKCS#8 (RFC 5958) in PEM.
func EncodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

const typeEncryptedKey = "ENCRYPTED PRIVATE KEY"

// ParseKey reads the one private key in a PEM text: PKCS#8, SEC 1 or PKCS#1,
// unencrypted, ECDSA P-384 or RSA of 4096 to 8192 bits. Blocks of other kinds, such
// as openssl's EC PARAMETERS, are passed over. No error repeats key material.
func ParseKey(text []byte) (crypto.Signer, error) { return ParseKeyWith(text, nil) }

// ParseKeyWith does the same and asks for the passphrase of a key that is encrypted.
func ParseKeyWith(text []byte, passphrase Passphrase) (crypto.Signer, error) {
	var found *pem.Block
	for block := range blocks(text) {
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		if found != nil {
			return nil, errors.New("private key: more than one in the file; leave only the agent's own")
		}
		found = block
	}
	if found == nil {
		return nil, errors.New("private key: no PEM block of type PRIVATE KEY")
	}
	if found.Headers["DEK-Info"] != "" {
		return nil, errors.New("private key: is encrypted in a way that is easily broken (DEK-Info); convert it with `openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW`")
	}
	key, err := parseDER(found, passphrase)
	if err != nil {
		return nil, err
	}
	if err := checkStrength(key.Public()); err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	return key, nil
}

func parseDER(block *pem.Block, passphrase Passphrase) (crypto.Signer, error) {
	var key any
	var err error
	switch block.Type {
	case typeEncryptedKey:
		if key, err = decrypt(block, passphrase); err != nil {
			return nil, err
		}
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("private key: a PEM block of type %.40q is not supported; convert it with `openssl pkcs8 -topk8 -nocrypt`", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("private key: a %T cannot sign; use ECDSA P-384", key)
	}
	return signer, nil
}

func checkStrength(pub crypto.PublicKey) error {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P384() {
			return nil
		}
		return fmt.Errorf("is ECDSA on %s and must be on P-384", k.Curve.Params().Name)
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return fmt.Errorf("is RSA of %d bits and must have %d to %d, or be ECDSA P-384", bits, minRSABits, maxRSABits)
		}
		return nil
	}
	return fmt.Errorf("is a %T and must be ECDSA P-384 or RSA of at least %d bits", pub, minRSABits)
}

// KeyHash names a public key: "sha256:" and the hex of its SubjectPublicKeyInfo.
func KeyHash(pub crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", fmt.Errorf("hash public key: %w", err)
	}
	return digest(der), nil
}

const digestPrefix = "sha256:"

func digest(der []byte) string {
	sum := sha256.Sum256(der)
	return digestPrefix + hex.EncodeToString(sum[:])
}

// matches reports whether key is the private half of the certificate's key.
func matches(key crypto.Signer, cert *x509.Certificate) bool {
	pub, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && pub.Equal(key.Public())
}
