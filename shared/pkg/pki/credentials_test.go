package pki_test

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/pki"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

func tempFiles(t *testing.T) pki.Files {
	dir := filepath.Join(t.TempDir(), "certificates")
	return pki.Files{Cert: filepath.Join(dir, "client.crt"), Key: filepath.Join(dir, "client.key"), CA: filepath.Join(dir, "ca.crt")}
}

// enrol stores a fresh key with a certificate of the template.
func enrol(t *testing.T, f pki.Files, ca *pkitest.Authority, template *x509.Certificate) *x509.Certificate {
	t.Helper()
	key := pkitest.Key(t)
	cert := ca.Sign(template, key.Public())
	if err := pki.SaveCredentials(f, key, pkitest.PEM(cert), pkitest.PEM(ca.Cert)); err != nil {
		t.Fatal(err)
	}
	return cert
}

func load(t *testing.T, f pki.Files) *pki.Credentials {
	t.Helper()
	c, err := pki.LoadCredentials(f)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// saved are the credentials of an agent that ca enrolled.
func saved(t *testing.T, ca *pkitest.Authority, uri string) *pki.Credentials {
	t.Helper()
	f := tempFiles(t)
	enrol(t, f, ca, pkitest.Agent(uri))
	return load(t, f)
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLoadCredentialsRefuses(t *testing.T) {
	ca := pkitest.New(t, "CA")
	forServers, asCA := pkitest.Agent(agentURI), pkitest.Agent(agentURI)
	forServers.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	asCA.IsCA = true
	certificate := func(template *x509.Certificate) func(*testing.T, pki.Files) {
		return func(t *testing.T, f pki.Files) {
			write(t, f.Cert, pkitest.PEM(ca.Sign(template, must(pki.ParseKey(must(os.ReadFile(f.Key)))).Public())))
		}
	}
	for name, c := range map[string]struct {
		spoil func(*testing.T, pki.Files)
		want  []string // in the error
	}{
		"no certificate":           {func(t *testing.T, f pki.Files) { os.Remove(f.Cert) }, []string{"client.crt", "enrol", "api.auth.cert_file"}},
		"no key":                   {func(t *testing.T, f pki.Files) { os.Remove(f.Key) }, []string{"client.key", "enrol", "api.auth.key_file"}},
		"no CA":                    {func(t *testing.T, f pki.Files) { os.Remove(f.CA) }, []string{"ca.crt", "enrol", "api.auth.ca_file"}},
		"an empty certificate":     {func(t *testing.T, f pki.Files) { write(t, f.Cert, nil) }, []string{"client.crt", "no PEM block", "enrol"}},
		"a key where the CA is":    {func(t *testing.T, f pki.Files) { write(t, f.CA, must(os.ReadFile(f.Key))) }, []string{"ca.crt", "PRIVATE KEY"}},
		"a huge file":              {func(t *testing.T, f pki.Files) { write(t, f.CA, make([]byte, 2<<20)) }, []string{"ca.crt", "too large"}},
		"the key of another":       {func(t *testing.T, f pki.Files) { write(t, f.Key, must(pki.EncodeKey(pkitest.Key(t)))) }, []string{"client.key", "does not belong", "enrol"}},
		"a server's certificate":   {certificate(forServers), []string{"client.crt", "client authentication"}},
		"a CA":                     {certificate(asCA), []string{"client.crt", "CA"}},
		"two identities":           {certificate(pkitest.Agent(agentURI, agentURI)), []string{"client.crt", "2 URI names"}},
		"a common name and no URI": {certificate(pkitest.Agent()), []string{"client.crt", "0 URI names"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := tempFiles(t)
			enrol(t, f, ca, pkitest.Agent(agentURI))
			c.spoil(t, f)
			_, err := pki.LoadCredentials(f)
			if err == nil {
				t.Fatal("LoadCredentials = nil, want an error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if missing := strings.HasPrefix(name, "no "); errors.Is(err, fs.ErrNotExist) != missing {
				t.Errorf("errors.Is(%q, ErrNotExist) = %v, want %v", err, !missing, missing)
			}
		})
	}
}

func TestExpiredCredentialsLoadWithAWarning(t *testing.T) {
	past := pkitest.Valid(pkitest.Agent(agentURI), -2*time.Hour, -time.Hour)
	future := pkitest.Valid(pkitest.Agent(agentURI), time.Hour, 2*time.Hour)
	for want, template := range map[string]*x509.Certificate{"expired": past, "clock": future} {
		f := tempFiles(t)
		enrol(t, f, pkitest.New(t, "CA"), template)
		if w := load(t, f).Warnings(); len(w) != 1 || !strings.Contains(w[0], want) {
			t.Errorf("warnings %q, want one with %q", w, want)
		}
	}
}

// TestReload renews a certificate under a TLS setting that is in use.
func TestReload(t *testing.T) {
	ca := pkitest.New(t, "CA")
	f := tempFiles(t)
	first := enrol(t, f, ca, pkitest.Agent(agentURI))
	creds := load(t, f)
	server, client := serverTLS(ca), creds.ClientTLS(pki.ClientOptions{})
	presented := func() *x509.Certificate {
		o := connect(t, server, client)
		if o.err() != nil {
			t.Fatal(o.err())
		}
		return o.server.PeerCertificates[0]
	}
	if !presented().Equal(first) {
		t.Fatal("the server saw another certificate than the one that was enrolled")
	}
	second := enrol(t, f, ca, pkitest.Agent(agentURI))
	if err := creds.Reload(); err != nil {
		t.Fatal(err)
	}
	if !presented().Equal(second) || !creds.Leaf().Equal(second) {
		t.Error("after Reload the next handshake does not present the new certificate")
	}

	write(t, f.Key, must(pki.EncodeKey(pkitest.Key(t))))
	if err := creds.Reload(); err == nil {
		t.Error("Reload of a key that does not fit = nil, want an error")
	}
	if !presented().Equal(second) {
		t.Error("a refused Reload changed what is in force")
	}
	enrol(t, f, ca, pkitest.Agent("spiffe://stavily/org/evil/sensor/web-01"))
	if err := creds.Reload(); err == nil || !strings.Contains(err.Error(), "restart") {
		t.Errorf("Reload of another identity = %v, want an error that says to restart", err)
	}
	if creds.Identity().Org != "acme" {
		t.Errorf("a refused Reload changed the identity to %v", creds.Identity())
	}
}

// TestReloadAnotherCA: a new setting after Reload trusts the new CA and not the old.
func TestReloadAnotherCA(t *testing.T) {
	oldCA, newCA := pkitest.New(t, "CA"), pkitest.New(t, "CA")
	f := tempFiles(t)
	enrol(t, f, oldCA, pkitest.Agent(agentURI))
	creds := load(t, f)
	enrol(t, f, newCA, pkitest.Agent(agentURI))
	if err := creds.Reload(); err != nil {
		t.Fatal(err)
	}
	if o := connect(t, serverTLS(newCA), creds.ClientTLS(pki.ClientOptions{})); o.err() != nil {
		t.Errorf("the new CA's server: %v", o.err())
	}
	if o := connect(t, serverTLS(oldCA), creds.ClientTLS(pki.ClientOptions{})); o.clientErr == nil {
		t.Error("the old CA's server is still trusted")
	}
}

func TestReloadWhileInUse(t *testing.T) {
	ca := pkitest.New(t, "CA")
	f := tempFiles(t)
	enrol(t, f, ca, pkitest.Agent(agentURI))
	creds := load(t, f)
	conf := creds.ClientTLS(pki.ClientOptions{})
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				cert, err := conf.GetClientCertificate(&tls.CertificateRequestInfo{})
				if err != nil {
					t.Error(err)
					return
				}
				pub := cert.PrivateKey.(crypto.Signer).Public().(interface{ Equal(crypto.PublicKey) bool })
				if !pub.Equal(cert.Leaf.PublicKey) {
					t.Error("key and certificate of different loads")
					return
				}
			}
		})
	}
	for range 20 {
		enrol(t, f, ca, pkitest.Agent(agentURI))
		if err := creds.Reload(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	readers.Wait()
}

func TestSaveCredentialsRefuses(t *testing.T) {
	ca := pkitest.New(t, "CA")
	key := pkitest.Key(t)
	cert := pkitest.PEM(ca.Sign(pkitest.Agent(agentURI), key.Public()))
	for name, c := range map[string]struct {
		key      crypto.Signer
		cert, ca []byte
	}{
		"another key":    {pkitest.Key(t), cert, pkitest.PEM(ca.Cert)},
		"no certificate": {key, nil, pkitest.PEM(ca.Cert)},
		"no CA":          {key, cert, nil},
		"no identity":    {key, pkitest.PEM(ca.Sign(pkitest.Agent(), key.Public())), pkitest.PEM(ca.Cert)},
	} {
		f := tempFiles(t)
		want := enrol(t, f, ca, pkitest.Agent(agentURI))
		if err := pki.SaveCredentials(f, c.key, c.cert, c.ca); err == nil {
			t.Errorf("%s: SaveCredentials = nil, want an error", name)
		}
		if !load(t, f).Leaf().Equal(want) {
			t.Errorf("%s: the refused save changed what was there", name)
		}
	}
}
