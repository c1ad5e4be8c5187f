//go:build unix

package pki_test

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/pki"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

func signerSample(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "..", "configs", "signers", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// needs skips a test where a program of the system is missing.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%v: install it to run this test", err)
		}
	}
}

// rsaKey is made once: it takes seconds.
var rsaKey = sync.OnceValues(func() (crypto.Signer, error) { return pki.GenerateKeyOf(pki.RSA4096) })

func keyOf(t *testing.T, kind pki.KeyType) crypto.Signer {
	t.Helper()
	if kind == pki.RSA4096 {
		return must(rsaKey())
	}
	return pkitest.Key(t)
}

// shake enrols a key that a command holds and makes handshakes with it.
func shake(t *testing.T, e *pki.External, versions ...uint16) {
	t.Helper()
	key, err := e.Key()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.NewCSR(key, "web-01")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pki.ParseCSR(csr); err != nil {
		t.Fatal(err)
	}
	ca, f := pkitest.New(t, "CA"), tempFiles(t)
	f.External = e
	save := func() {
		cert := ca.Sign(pkitest.Agent(agentURI), key.Public())
		if err := pki.SaveCredentials(f, key, pkitest.PEM(cert), pkitest.PEM(ca.Cert)); err != nil {
			t.Fatal(err)
		}
	}
	save()
	if _, err := os.Stat(f.Key); !os.IsNotExist(err) {
		t.Errorf("a key file was made: %v", err)
	}
	creds := load(t, f)
	for _, v := range versions {
		server := laxServer(ca)
		server.MaxVersion = v
		if o := connect(t, server, creds.ClientTLS(pki.ClientOptions{MinVersion: tls.VersionTLS12})); o.err() != nil || o.client.Version != v {
			t.Errorf("%s: %v", tls.VersionName(v), o.err())
		}
	}
	save() // a renewal keeps the key
	if err := creds.Reload(); err != nil {
		t.Error(err)
	}
}

// TestSignerWithOpenSSL signs handshakes with keys that only the command reads.
func TestSignerWithOpenSSL(t *testing.T) {
	needs(t, "openssl", "python3")
	for _, kind := range []pki.KeyType{pki.P384, pki.RSA4096} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			key := keyOf(t, kind)
			file := filepath.Join(t.TempDir(), "key")
			write(t, file, must(pki.EncodeKey(key)))
			shake(t, &pki.External{Command: []string{signerSample(t, "openssl.py"), file}}, tls.VersionTLS13, tls.VersionTLS12)
		})
	}
}

// TestSignerWithPKCS11 does it with a real PKCS#11 module.
func TestSignerWithPKCS11(t *testing.T) {
	const module = "/usr/lib/softhsm/libsofthsm2.so"
	needs(t, "softhsm2-util", "pkcs11-tool", "python3")
	if _, err := os.Stat(module); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	tokens, conf, pin := filepath.Join(dir, "tokens"), filepath.Join(dir, "softhsm2.conf"), filepath.Join(dir, "pin")
	if err := os.Mkdir(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, conf, []byte("directories.tokendir = "+tokens+"\n"))
	write(t, pin, []byte("5678\n"))
	t.Setenv("SOFTHSM2_CONF", conf)
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
	}
	run("softhsm2-util", "--init-token", "--free", "--label", "agent", "--so-pin", "1234", "--pin", "5678")
	tool := func(args ...string) {
		t.Helper()
		run("pkcs11-tool", append([]string{"--module", module, "--token-label", "agent", "--login", "--pin", "5678"}, args...)...)
	}
	tool("--keypairgen", "--key-type", "EC:secp384r1", "--id", "01")
	// Made elsewhere: a module takes up to 15 s for one.
	key := keyOf(t, pki.RSA4096)
	private, public := filepath.Join(dir, "private"), filepath.Join(dir, "public")
	write(t, private, must(x509.MarshalPKCS8PrivateKey(key)))
	write(t, public, must(x509.MarshalPKIXPublicKey(key.Public())))
	tool("--write-object", private, "--type", "privkey", "--usage-sign", "--id", "02")
	tool("--write-object", public, "--type", "pubkey", "--usage-sign", "--id", "02")
	for _, id := range []string{"01", "02"} {
		t.Run(id, func(t *testing.T) {
			shake(t, &pki.External{Command: []string{signerSample(t, "pkcs11.py"), "--module", module, "--token", "agent", "--id", id, "--pin-file", pin}}, tls.VersionTLS13, tls.VersionTLS12)
		})
	}
}

// TestSignerThatFails: each way says which command, and what it said.
func TestSignerThatFails(t *testing.T) {
	defer pki.SetSignLimit(300 * time.Millisecond)()
	sh := func(script string) []string { return []string{"/bin/sh", "-c", script} }
	for name, c := range map[string]struct {
		command []string
		want    string
	}{
		"missing":        {[]string{"/no/such/signer"}, "no such file"},
		"exits":          {sh("echo the module is locked >&2; exit 3"), "the module is locked"},
		"is silent":      {sh("exit 0"), "not the JSON"},
		"hangs":          {sh("exec sleep 60"), "no answer within"},
		"floods":         {sh("head -c 100000 /dev/zero"), "16 KiB"},
		"says an error":  {sh(`echo '{"error":"wrong PIN"}'`), "wrong PIN"},
		"weak key":       {sh(`printf '{"public_key":"%s"}\n' "$(openssl ecparam -name prime256v1 -genkey -noout | openssl pkey -pubout | sed 's/$/\\n/' | tr -d '\n')"`), "P-384"},
		"not a key":      {sh(`printf '%s\n' '{"public_key":"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"}'`), "cannot be read"},
		"something else": {sh(`echo '{"signature":"AAAA"}'`), "public_key"},
	} {
		_, err := (&pki.External{Command: c.command}).Key()
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "api.auth.signer_command") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	// One that changes its key is told from the one that was enrolled.
	ca, f := pkitest.New(t, "CA"), tempFiles(t)
	enrol(t, f, ca, pkitest.Agent(agentURI))
	other := filepath.Join(t.TempDir(), "key")
	write(t, other, must(pki.EncodeKey(pkitest.Key(t))))
	pki.SetSignLimit(5 * time.Second)
	f.External = &pki.External{Command: []string{signerSample(t, "openssl.py"), other}}
	if _, err := pki.LoadCredentials(f); err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("a signer with another key: %v", err)
	}
}
