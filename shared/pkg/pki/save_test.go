package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/url"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestSaveSurvivesACrash stops a renewal before each of its steps, and at each
// place again after another crash: there is always a pair that fits, and a later
// save works.
func TestSaveSurvivesACrash(t *testing.T) {
	for crash := range len(saveSteps(Files{}, nil, nil, nil)) + 1 {
		for again := range len(saveSteps(Files{}, nil, nil, nil)) + 1 {
			dir := t.TempDir()
			f := Files{Cert: filepath.Join(dir, "c"), Key: filepath.Join(dir, "k"), CA: filepath.Join(dir, "a")}
			var valid []*x509.Certificate
			renew := func(steps int) { // no load before: a new enrolment does not
				key, leaf, text := selfIssued(t)
				valid = append(valid, leaf)
				keyPEM, err := EncodeKey(key)
				if err != nil {
					t.Fatal(err)
				}
				for _, step := range saveSteps(f, keyPEM, text, text)[:steps] {
					if err := step(); err != nil {
						t.Fatal(err)
					}
				}
			}
			renew(len(saveSteps(f, nil, nil, nil)))
			renew(crash)
			renew(again)
			c, err := LoadCredentials(f)
			if err != nil {
				t.Fatalf("crash before step %d, then %d: %v", crash, again, err)
			}
			if !slices.ContainsFunc(valid, c.Leaf().Equal) {
				t.Fatalf("crash before step %d, then %d: a certificate nobody issued", crash, again)
			}
			key, leaf, text := selfIssued(t)
			if err := SaveCredentials(f, key, text, text); err != nil {
				t.Fatal(err)
			}
			if c, err := LoadCredentials(f); err != nil || !c.Leaf().Equal(leaf) {
				t.Fatalf("crash before step %d, then %d: a later save: %v", crash, again, err)
			}
		}
	}
}

func selfIssued(t *testing.T) (crypto.Signer, *x509.Certificate, []byte) {
	t.Helper()
	key, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	id := Identity{TrustDomain: "stavily", Org: "acme", Type: "sensor", Agent: "web-01"}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), URIs: []*url.URL{id.URI()}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, leaf, pem.EncodeToMemory(&pem.Block{Type: typeCertificate, Bytes: der})
}
