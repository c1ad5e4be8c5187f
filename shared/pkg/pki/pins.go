package pki

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Pin is the SHA-256 of a certificate, as [Fingerprint] writes it, or of its public
// key, as [KeyHash] does.
type Pin [sha256.Size]byte

// curlPrefix is how curl's --pinnedpubkey writes the hash of a public key.
const curlPrefix = "sha256//"

// ParsePin reads sha256: and 64 hexadecimal digits, or sha256// and base64.
func ParsePin(text string) (Pin, error) {
	var raw []byte
	var err error
	if encoded, ok := strings.CutPrefix(text, curlPrefix); ok {
		raw, err = base64.StdEncoding.DecodeString(encoded)
	} else if digits, ok := strings.CutPrefix(strings.ToLower(text), digestPrefix); ok {
		raw, err = hex.DecodeString(digits)
	}
	if err != nil || len(raw) != sha256.Size {
		return Pin{}, fmt.Errorf("%.100q: must be sha256: and 64 hexadecimal digits, the fingerprint that `stavily tokens create` prints, or sha256// and the base64 of a public key's SHA-256", text)
	}
	return Pin(raw), nil
}

// pinned reports whether the pin is of this certificate or of its key.
func (p Pin) pinned(cert *x509.Certificate) bool {
	return p == sha256.Sum256(cert.Raw) || p == sha256.Sum256(cert.RawSubjectPublicKeyInfo)
}

// checkPins looks for a pin in the chains that were verified.
func checkPins(chains [][]*x509.Certificate, pins []Pin) error {
	if len(pins) == 0 {
		return nil
	}
	for _, chain := range chains {
		if slices.ContainsFunc(chain, func(cert *x509.Certificate) bool {
			return slices.ContainsFunc(pins, func(p Pin) bool { return p.pinned(cert) })
		}) {
			return nil
		}
	}
	chain := chains[0]
	return fmt.Errorf("none of api.auth.pin_sha256 is in the server's chain, whose CA is %s: compare it with the output of `stavily tokens create` on the server itself; if that is another, you are not talking to that server", Fingerprint(chain[len(chain)-1]))
}
