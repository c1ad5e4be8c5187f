package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"iter"

	"github.com/stavily/agents/shared/pkg/api"
)

const (
	typeCertificate = "CERTIFICATE"
	typeRequest     = "CERTIFICATE REQUEST"
)

// blocks iterates over the PEM blocks of a text. What stands between them is
// commentary (RFC 7468, section 2).
func blocks(text []byte) iter.Seq[*pem.Block] {
	return func(yield func(*pem.Block) bool) {
		for {
			var block *pem.Block
			if block, text = pem.Decode(text); block == nil || !yield(block) {
				return
			}
		}
	}
}

// NewCSR makes a certificate request (RFC 2986) in PEM, signed by key. The agent's
// id stands in its common name for people who look at it; the orchestrator uses
// nothing of a request but the key.
func NewCSR(key crypto.Signer, agent api.AgentID) ([]byte, error) {
	if err := agent.Validate(); err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: string(agent)}}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: typeRequest, Bytes: der}), nil
}

// ParseCSR reads the one certificate request in a PEM text, whose size the caller
// has bounded. It accepts ECDSA P-384 and RSA of 4096 to 8192 bits and checks that
// whoever made the request holds the key.
func ParseCSR(text []byte) (*x509.CertificateRequest, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != typeRequest && block.Type != "NEW "+typeRequest {
		return nil, errors.New("certificate request: no PEM block of type " + typeRequest)
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, errors.New("certificate request: more than one PEM block; send one request")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	// Before the signature: verifying one costs what the sender's key size makes it cost.
	if err := checkStrength(csr.PublicKey); err != nil {
		return nil, fmt.Errorf("certificate request: its key %w", err)
	}
	switch csr.SignatureAlgorithm {
	case x509.SHA1WithRSA, x509.ECDSAWithSHA1: // CheckSignature still takes these for requests
		return nil, fmt.Errorf("certificate request: is signed with %s; use SHA-256 or better", csr.SignatureAlgorithm)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("certificate request: the signature is not by its own key: %w", err)
	}
	return csr, nil
}

// ParseCertificates reads every certificate in a PEM text; at least one. A private
// key among them is an error, because such a file is shown to everybody.
func ParseCertificates(text []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for block := range blocks(text) {
		if block.Type != typeCertificate {
			return nil, fmt.Errorf("certificates: a PEM block of type %.40q among them; leave only certificates", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificates: number %d: %w", len(certs)+1, err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, errors.New("certificates: no PEM block of type " + typeCertificate)
	}
	return certs, nil
}

// Fingerprint names a certificate: "sha256:" and the hex of its DER form.
func Fingerprint(cert *x509.Certificate) string { return digest(cert.Raw) }
