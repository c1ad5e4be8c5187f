//go:build unix

package pki_test

import (
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/pki"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

func secret(text string) pki.Passphrase { return func() ([]byte, error) { return []byte(text), nil } }

// TestProtectedKey: the file opens with the passphrase and only with it, stays
// encrypted over a renewal, and a crash in between is mended.
func TestProtectedKey(t *testing.T) {
	ca, f := pkitest.New(t, "CA"), tempFiles(t)
	f.Passphrase = secret("open sesame")
	first := enrol(t, f, ca, pkitest.Agent(agentURI))
	if text := string(must(os.ReadFile(f.Key))); !strings.HasPrefix(text, "-----BEGIN ENCRYPTED PRIVATE KEY-----") {
		t.Errorf("the key file begins with %.40q", text)
	}
	creds := load(t, f)
	if !creds.Leaf().Equal(first) {
		t.Error("another certificate")
	}
	key := must(creds.NextKey())
	if err := creds.Renewed(key, pkitest.PEM(ca.Sign(pkitest.Agent(agentURI), key.Public())), pkitest.PEM(ca.Cert)); err != nil {
		t.Fatal(err)
	}
	if text := string(must(os.ReadFile(f.Key))); !strings.HasPrefix(text, "-----BEGIN ENCRYPTED PRIVATE KEY-----") {
		t.Errorf("after a renewal the key file begins with %.40q", text)
	}
	for name, c := range map[string]struct {
		passphrase pki.Passphrase
		want       string
	}{
		"none":                {nil, "key_passphrase_file"},
		"a wrong one":         {secret("open barley"), "passphrase"},
		"one that is nowhere": {pki.PassphraseFile(filepath.Join(t.TempDir(), "none")), "key_passphrase_file"},
	} {
		g := f
		g.Passphrase = c.passphrase
		if _, err := pki.LoadCredentials(g); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "barley") {
			t.Errorf("with %s: %v, want an error with %q", name, err, c.want)
		}
	}
}

// TestOpenSSLReadsAndWritesProtectedKeys both ways.
func TestOpenSSLReadsAndWritesProtectedKeys(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	for _, kind := range []pki.KeyType{pki.P384, pki.RSA4096} {
		ours, theirs := filepath.Join(dir, "ours"), filepath.Join(dir, "theirs")
		key := keyOf(t, kind)
		write(t, ours, must(pki.EncodeKeyWith(key, secret("open sesame"))))
		out, err := exec.CommandContext(t.Context(), openssl, "pkcs8", "-topk8", "-v2", "aes-256-cbc", "-in", ours, "-passin", "pass:open sesame", "-out", theirs, "-passout", "pass:other").CombinedOutput()
		if err != nil {
			t.Fatalf("openssl: %v\n%s", err, out)
		}
		back, err := pki.ParseKeyWith(must(os.ReadFile(theirs)), secret("other"))
		if err != nil || !back.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(key.Public()) {
			t.Errorf("%s: back from openssl: %v", kind, err)
		}
	}
}

func TestPassphraseSources(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passphrase")
	write(t, file, []byte("open sesame\r\nanother line\n"))
	if got, err := pki.PassphraseFile(file)(); err != nil || string(got) != "open sesame" {
		t.Errorf("from a file: %q, %v", got, err)
	}
	write(t, file, []byte("\n"))
	if _, err := pki.PassphraseFile(file)(); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("from an empty line: %v", err)
	}
	if _, err := pki.PassphraseFile(filepath.Join(file, "none"))(); err == nil {
		t.Error("from a file that is not there: no error")
	}
	if _, err := exec.LookPath("sh"); err == nil {
		if got, err := pki.PassphraseCommand([]string{"sh", "-c", "echo open sesame"})(); err != nil || string(got) != "open sesame" {
			t.Errorf("from a command: %q, %v", got, err)
		}
		if _, err := pki.PassphraseCommand([]string{"sh", "-c", "echo locked >&2; exit 1"})(); err == nil || !strings.Contains(err.Error(), "locked") {
			t.Errorf("from a command that fails: %v", err)
		}
	}
	if _, err := pki.PassphraseCommand([]string{filepath.Join(file, "none")})(); err == nil || errors.Is(err, fs.ErrNotExist) && !strings.Contains(err.Error(), "key_passphrase_command") {
		t.Errorf("from no command: %v", err)
	}
}

// TestPins: the server is held to a pin of its CA or of its own certificate or key, and
// one that fits nothing refuses it though the CA vouches for it.
func TestPins(t *testing.T) {
	ca := pkitest.New(t, "CA")
	cert := ca.Issue(pkitest.Server())
	creds := saved(t, ca, agentURI)
	spki := sha256.Sum256(ca.Cert.RawSubjectPublicKeyInfo)
	for name, c := range map[string]struct {
		pins []string
		ok   bool
	}{
		"none":                       {nil, true},
		"the CA":                     {[]string{pki.Fingerprint(ca.Cert)}, true},
		"the CA's key":               {[]string{must(pki.KeyHash(ca.Cert.PublicKey))}, true},
		"the CA's key, as curl does": {[]string{"sha256//" + base64.StdEncoding.EncodeToString(spki[:])}, true},
		"the server's key":           {[]string{must(pki.KeyHash(cert.Leaf.PublicKey))}, true},
		"one of two":                 {[]string{pki.Fingerprint(pkitest.New(t, "CA").Cert), must(pki.KeyHash(ca.Cert.PublicKey))}, true},
		"another CA":                 {[]string{pki.Fingerprint(pkitest.New(t, "CA").Cert)}, false},
	} {
		var pins []pki.Pin
		for _, text := range c.pins {
			pins = append(pins, must(pki.ParsePin(text)))
		}
		o := connect(t, ca.ServerTLS(cert), creds.ClientTLS(pki.ClientOptions{Pins: pins}))
		if ok := o.clientErr == nil; ok != c.ok || !ok && !strings.Contains(o.clientErr.Error(), "pin_sha256") {
			t.Errorf("%s: %v, want success: %v", name, o.clientErr, c.ok)
		}
	}
	for _, text := range []string{"", "sha256:", "sha256:abc", "sha256//abc", "sha1:" + strings.Repeat("ab", 20), strings.Repeat("ab", 32)} {
		if _, err := pki.ParsePin(text); err == nil {
			t.Errorf("ParsePin(%q): no error", text)
		}
	}
}

// TestRenewedKeepsTheAuthorityInUse: an answer that leaves out the CA that vouches for
// the server does not cut the agent off; one that brings another overlaps with it.
func TestRenewedKeepsTheAuthorityInUse(t *testing.T) {
	oldCA, newCA := pkitest.New(t, "old"), pkitest.New(t, "new")
	f := tempFiles(t)
	enrol(t, f, oldCA, pkitest.Agent(agentURI))
	creds := load(t, f)
	renew := func(by *pkitest.Authority, bundle []byte) {
		t.Helper()
		key := must(creds.NextKey())
		if err := creds.Renewed(key, pkitest.PEM(by.Sign(pkitest.Agent(agentURI), key.Public())), bundle); err != nil {
			t.Fatal(err)
		}
	}
	reaches := func(ca *pkitest.Authority, want bool) {
		t.Helper()
		server := laxServer(ca)
		if o := connect(t, server, creds.ClientTLS(pki.ClientOptions{})); (o.err() == nil) != want {
			t.Errorf("the server of %s: %v, want success: %v", ca.Cert.Subject.CommonName, o.err(), want)
		}
	}
	reaches(oldCA, true)
	renew(oldCA, pkitest.PEM(oldCA.Cert, newCA.Cert)) // the bundle comes before its use
	reaches(newCA, true)
	reaches(oldCA, true)
	renew(oldCA, pkitest.PEM(newCA.Cert)) // a mistake: the server is the old CA's at this time
	reaches(oldCA, true)
	reaches(newCA, true)
	renew(newCA, pkitest.PEM(newCA.Cert)) // now the old one goes
	reaches(newCA, true)
	reaches(oldCA, false)
	key := must(creds.NextKey())
	err := creds.Renewed(key, pkitest.PEM(newCA.Sign(pkitest.Agent("spiffe://stavily/org/evil/sensor/web-01"), key.Public())), pkitest.PEM(newCA.Cert))
	if err == nil || !strings.Contains(err.Error(), "nothing is stored") {
		t.Errorf("a certificate for somebody else: %v", err)
	}
	reaches(newCA, true)
}

func TestRenewalKeepsTheKindOfKey(t *testing.T) {
	ca, f := pkitest.New(t, "CA"), tempFiles(t)
	key := keyOf(t, pki.RSA4096)
	if err := pki.SaveCredentials(f, key, pkitest.PEM(ca.Sign(pkitest.Agent(agentURI), key.Public())), pkitest.PEM(ca.Cert)); err != nil {
		t.Fatal(err)
	}
	creds := load(t, f)
	if got := pki.TypeOf(must(creds.NextKey()).Public()); got != pki.RSA4096 {
		t.Errorf("after RSA comes %s", got)
	}
	if creds.Changed() {
		t.Error("changed, and nothing was")
	}
	enrol(t, f, ca, pkitest.Agent(agentURI))
	if !creds.Changed() {
		t.Error("another certificate is not noticed")
	}
	if _, err := pki.GenerateKeyOf("dsa"); err == nil {
		t.Error("a key of type dsa: no error")
	}
}
