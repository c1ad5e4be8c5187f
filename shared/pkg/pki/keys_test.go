package pki_test

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"sync"
	"testing"

	"github.com/stavily/agents/shared/pkg/pki"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

// rsa4096 is made once: it takes a second or two.
var rsa4096 = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 4096)) })

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestKeyRoundTrip(t *testing.T) {
	for name, key := range map[string]crypto.Signer{"P-384": pkitest.Key(t), "RSA 4096": rsa4096()} {
		text, err := pki.EncodeKey(key)
		if err != nil {
			t.Fatalf("%s: EncodeKey: %v", name, err)
		}
		got, err := pki.ParseKey(text)
		if err != nil {
			t.Fatalf("%s: ParseKey: %v", name, err)
		}
		if must(pki.KeyHash(got.Public())) != must(pki.KeyHash(key.Public())) {
			t.Errorf("%s: ParseKey(EncodeKey(key)) is another key", name)
		}
	}
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func TestParseKeyTakesOpenSSLForms(t *testing.T) {
	key := must(pki.GenerateKey())
	for name, text := range map[string]string{
		"SEC 1 after EC PARAMETERS": block("EC PARAMETERS", []byte{6, 5, 43, 129, 4, 0, 34}) + block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(key))),
		"PKCS#1":                    block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsa4096())),
		"commentary around":         "Bag Attributes\n" + string(must(pki.EncodeKey(key))) + "end\n",
	} {
		if _, err := pki.ParseKey([]byte(text)); err != nil {
			t.Errorf("%s: ParseKey: %v", name, err)
		}
	}
}

// x25519 is a private key in PKCS#8 that can agree on secrets and not sign.
func x25519(t *testing.T) string {
	t.Helper()
	key := must(ecdh.X25519().GenerateKey(rand.Reader))
	return block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)))
}

func TestParseKeyRefuses(t *testing.T) {
	p256 := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := string(must(pki.EncodeKey(pkitest.Key(t))))
	for name, c := range map[string]struct{ text, want string }{
		"empty":              {"", "no PEM block"},
		"a certificate":      {string(pkitest.PEM(pkitest.New(t, "CA").Cert)), "no PEM block"},
		"two keys":           {good + good, "more than one"},
		"encrypted, PKCS#8":  {block("ENCRYPTED PRIVATE KEY", []byte("x")), "openssl pkey"},
		"encrypted, legacy":  {"-----BEGIN RSA " + "PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\neA==\n-----END RSA PRIVATE KEY-----\n", "openssl pkcs8"},
		"P-256":              {string(must(pki.EncodeKey(p256))), "P-384"},
		"Ed25519":            {string(must(pki.EncodeKey(ed))), "P-384"},
		"RSA 2048":           {string(must(pki.EncodeKey(must(rsa.GenerateKey(rand.Reader, 2048))))), "4096"},
		"not DER":            {block("PRIVATE KEY", []byte("secret")), "private key"},
		"a form of OpenSSH":  {block("OPENSSH PRIVATE KEY", []byte("secret")), "openssl pkcs8"},
		"key agreement only": {x25519(t), "cannot sign"},
	} {
		_, err := pki.ParseKey([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: ParseKey = %v, want an error with %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error repeats the key: %v", name, err)
		}
	}
}

func TestCSR(t *testing.T) {
	for name, key := range map[string]crypto.Signer{"P-384": pkitest.Key(t), "RSA 4096": rsa4096()} {
		text, err := pki.NewCSR(key, "web-01")
		if err != nil {
			t.Fatalf("%s: NewCSR: %v", name, err)
		}
		csr, err := pki.ParseCSR(text)
		if err != nil {
			t.Fatalf("%s: ParseCSR: %v", name, err)
		}
		if got := must(pki.KeyHash(csr.PublicKey)); got != must(pki.KeyHash(key.Public())) {
			t.Errorf("%s: key hash %s differs from the key's", name, got)
		}
	}
	if _, err := pki.NewCSR(pkitest.Key(t), "../web"); err == nil {
		t.Error("NewCSR with the agent id ../web = nil, want an error")
	}
}

func request(t *testing.T, key crypto.Signer, algorithm x509.SignatureAlgorithm) []byte {
	t.Helper()
	return must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{SignatureAlgorithm: algorithm}, key))
}

func TestParseCSRRefuses(t *testing.T) {
	const kind = "CERTIFICATE REQUEST"
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key := pkitest.Key(t)
	good := request(t, key, 0)
	forged := append([]byte(nil), good...)
	forged[len(forged)-1] ^= 1
	for name, c := range map[string]struct{ text, want string }{
		"empty":          {"", "no PEM block"},
		"a private key":  {string(must(pki.EncodeKey(key))), "no PEM block"},
		"two requests":   {block(kind, good) + block(kind, good), "more than one"},
		"not DER":        {block(kind, []byte("x")), "certificate request"},
		"bytes after it": {block(kind, append(append([]byte(nil), good...), 0)), "certificate request"},
		"forged":         {block(kind, forged), "signature"},
		"RSA 2048":       {block(kind, request(t, must(rsa.GenerateKey(rand.Reader, 2048)), 0)), "4096"},
		"P-256":          {block(kind, request(t, must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), 0)), "P-384"},
		"P-521":          {block(kind, request(t, must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)), 0)), "P-384"},
		"Ed25519":        {block(kind, request(t, ed, 0)), "P-384"},
		"SHA-1":          {block(kind, request(t, key, x509.ECDSAWithSHA1)), "SHA-256"},
	} {
		if _, err := pki.ParseCSR([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: ParseCSR = %v, want an error with %q", name, err, c.want)
		}
	}
}

func TestParseCertificates(t *testing.T) {
	a, b := pkitest.New(t, "a").Cert, pkitest.New(t, "b").Cert
	certs, err := pki.ParseCertificates(pkitest.PEM(a, b))
	if err != nil || len(certs) != 2 || !certs[1].Equal(b) {
		t.Errorf("ParseCertificates = %d certificates, %v, want both in order", len(certs), err)
	}
	if pki.Fingerprint(certs[0]) == pki.Fingerprint(certs[1]) {
		t.Error("two certificates have one fingerprint")
	}
	for name, text := range map[string]string{
		"empty":                 "",
		"a key among them":      string(pkitest.PEM(a)) + string(must(pki.EncodeKey(pkitest.Key(t)))),
		"damaged second":        string(pkitest.PEM(a)) + block("CERTIFICATE", a.Raw[:100]),
		"no PEM":                string(a.Raw),
		"only a CSR in the PEM": block("CERTIFICATE REQUEST", request(t, pkitest.Key(t), 0)),
	} {
		if _, err := pki.ParseCertificates([]byte(text)); err == nil {
			t.Errorf("%s: ParseCertificates = nil, want an error", name)
		}
	}
}

// FuzzPEM gives foreign text to everything that reads PEM.
func FuzzPEM(f *testing.F) {
	key := must(pki.GenerateKey())
	f.Add(must(pki.EncodeKey(key)))
	f.Add(must(pki.NewCSR(key, "web-01")))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if key, err := pki.ParseKey(text); (key == nil) == (err == nil) {
			t.Errorf("ParseKey = %v, %v", key, err)
		}
		if csr, err := pki.ParseCSR(text); (csr == nil) == (err == nil) {
			t.Errorf("ParseCSR = %v, %v", csr, err)
		}
		certs, err := pki.ParseCertificates(text)
		if (len(certs) == 0) == (err == nil) {
			t.Errorf("ParseCertificates = %d certificates, %v", len(certs), err)
		}
		for _, c := range certs {
			if id, err := pki.ParseIdentity(c); err == nil && id.Validate() != nil {
				t.Errorf("ParseIdentity = %v, which is not valid", id)
			}
		}
	})
}
