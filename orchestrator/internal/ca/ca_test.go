package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

var web01 = pki.Identity{Org: "default", Type: api.Sensor, Agent: "web-01"}

func open(t *testing.T, dir string, o Options) *Authority {
	t.Helper()
	a, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t *testing.T, a *Authority, id pki.Identity) *x509.Certificate {
	t.Helper()
	key, err := pki.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	issued, err := a.Issue(id, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	certs, err := pki.ParseCertificates([]byte(issued.PEM))
	if err != nil {
		t.Fatal(err)
	}
	if issued.Serial != Serial(certs[0]) || !issued.NotAfter.Equal(certs[0].NotAfter) {
		t.Errorf("Issue says serial %s until %s, the certificate %s until %s", issued.Serial, issued.NotAfter, Serial(certs[0]), certs[0].NotAfter)
	}
	return certs[0]
}

func TestAgentCertificate(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	a := open(t, t.TempDir(), Options{TrustDomain: "example.org", Now: func() time.Time { return now }})
	stranger := web01
	stranger.TrustDomain = "other.org" // must not count
	cert := issue(t, a, stranger)

	id, err := pki.ParseIdentity(cert)
	want := pki.Identity{TrustDomain: "example.org", Org: "default", Type: api.Sensor, Agent: "web-01"}
	if err != nil || id != want {
		t.Errorf("identity = %+v, %v, want %+v", id, err, want)
	}
	if !slices.Equal(cert.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) || cert.IsCA || cert.KeyUsage != x509.KeyUsageDigitalSignature {
		t.Errorf("usages %v %v, CA %v: want client authentication only", cert.ExtKeyUsage, cert.KeyUsage, cert.IsCA)
	}
	if len(cert.DNSNames)+len(cert.IPAddresses)+len(cert.EmailAddresses) != 0 {
		t.Errorf("names %v %v %v, want none but the URI", cert.DNSNames, cert.IPAddresses, cert.EmailAddresses)
	}
	if got := cert.NotAfter.Sub(now); got != DefaultLifetime {
		t.Errorf("lives %s, want %s", got, DefaultLifetime)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: a.Pool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("verify: %v", err)
	}
	if issue(t, a, web01).SerialNumber.Cmp(cert.SerialNumber) == 0 {
		t.Error("two certificates have one serial")
	}
}

func TestIssueRefusesAnInvalidIdentity(t *testing.T) {
	a := open(t, t.TempDir(), Options{})
	key, err := pki.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []pki.Identity{{}, {Org: "default", Type: api.Sensor, Agent: "a/../b"}, {Org: "default", Type: "admin", Agent: "a"}} {
		if _, err := a.Issue(id, key.Public()); err == nil {
			t.Errorf("Issue(%v) succeeded", id)
		}
	}
}

// A short life is not over before it begins, and not two thirds of it either.
func TestLifetimeIsASetting(t *testing.T) {
	for _, life := range []time.Duration{MinLifetime, time.Minute, 24 * time.Hour, MaxLifetime} {
		now := time.Now()
		a, err := Open(t.TempDir(), Options{Lifetime: life, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		server, err := a.ServerCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		// Certificates count whole seconds.
		if got := server.Leaf.NotAfter.Sub(now); got > life || got < life-time.Second {
			t.Errorf("of %s: ends in %s", life, got)
		}
		if !now.Before(renewAt(server.Leaf)) {
			t.Errorf("of %s: is due for renewal at once", life)
		}
	}
	for _, life := range []time.Duration{-time.Hour, MinLifetime - 1, MaxLifetime + 1} {
		if _, err := Open(t.TempDir(), Options{Lifetime: life}); err == nil || !strings.Contains(err.Error(), "must be from") {
			t.Errorf("a lifetime of %s: %v, want a refusal that says what is possible", life, err)
		}
	}
}

func TestNoLeafOutlivesTheCA(t *testing.T) {
	now := time.Now()
	a := open(t, t.TempDir(), Options{Now: func() time.Time { return now }})
	now = a.NotAfter().Add(-24 * time.Hour)
	if cert := issue(t, a, web01); cert.NotAfter.After(a.NotAfter()) {
		t.Errorf("ends %s, after the CA at %s", cert.NotAfter, a.NotAfter())
	}
}

func TestServerCertificateRenewsItself(t *testing.T) {
	now := time.Now()
	a := open(t, t.TempDir(), Options{Hosts: []string{"stavily.example.org", "10.0.0.5"}, Now: func() time.Time { return now }})
	get := func() *tls.Certificate {
		c, err := a.ServerCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := get()
	for _, host := range []string{"stavily.example.org", "10.0.0.5"} {
		if _, err := first.Leaf.Verify(x509.VerifyOptions{Roots: a.Pool(), DNSName: host}); err != nil {
			t.Errorf("verify %s: %v", host, err)
		}
	}
	if len(first.Certificate) != 2 {
		t.Error("the CA is not in the chain: an agent could not pin it")
	}
	if slices.Contains(first.Leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		t.Error("the server's certificate could be an agent's")
	}
	if now = now.Add(DefaultLifetime / 2); get() != first {
		t.Error("renewed before two thirds of its life")
	}
	if now = now.Add(DefaultLifetime / 4); get() == first {
		t.Error("not renewed after two thirds of its life")
	}
}

func TestReopenIsTheSameCA(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir, Options{TrustDomain: "example.org"})
	again := open(t, dir, Options{})
	if first.Fingerprint() != again.Fingerprint() || again.TrustDomain() != "example.org" || first.PEM() != again.PEM() {
		t.Errorf("reopened %s %s, want %s example.org", again.Fingerprint(), again.TrustDomain(), first.Fingerprint())
	}
	if _, err := Open(dir, Options{TrustDomain: "other.org"}); err == nil {
		t.Error("opened with another trust domain")
	}
}

func TestKeyIsPrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no permission bits; the data directory's ACL guards the key")
	}
	dir := t.TempDir()
	open(t, dir, Options{})
	info, err := os.Stat(filepath.Join(dir, "ca.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("ca.key: %v, %v, want mode 0600", info.Mode(), err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 2 {
		t.Errorf("%v, %v: want ca.key and ca.crt alone", files, err)
	}
}

func TestStartAfterCrashBetweenTheFiles(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir, Options{})
	agent := issue(t, first, web01)
	if err := os.Remove(filepath.Join(dir, "ca.crt")); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir, Options{})
	if _, err := agent.Verify(x509.VerifyOptions{Roots: again.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("an agent's certificate under the CA of the same key: %v", err)
	}
}

func TestDamage(t *testing.T) {
	other := t.TempDir()
	open(t, other, Options{})
	for name, c := range map[string]struct {
		damage func(dir string) error
		says   string
	}{
		"key gone":     {func(dir string) error { return os.Remove(filepath.Join(dir, "ca.key")) }, "restore the key"},
		"key cut":      {func(dir string) error { return os.Truncate(filepath.Join(dir, "ca.key"), 40) }, "ca.key"},
		"key swapped":  {func(dir string) error { return copyFile(filepath.Join(other, "ca.key"), filepath.Join(dir, "ca.key")) }, "one backup"},
		"cert emptied": {func(dir string) error { return os.Truncate(filepath.Join(dir, "ca.crt"), 0) }, "ca.crt"},
	} {
		dir := t.TempDir()
		open(t, dir, Options{})
		if err := c.damage(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: Open = %v, want an error with %q", name, err, c.says)
		}
	}
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}

func TestExpiredCAIsAnError(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir, Options{})
	late := func() time.Time { return a.NotAfter().Add(time.Hour) }
	if _, err := Open(dir, Options{Now: late}); err == nil || !strings.Contains(err.Error(), "ended") {
		t.Errorf("Open = %v, want an error that says so", err)
	}
}

func TestCertificateOfAnotherCAIsNotOurs(t *testing.T) {
	ours, theirs := open(t, t.TempDir(), Options{}), open(t, t.TempDir(), Options{})
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	issued, err := theirs.Issue(web01, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	certs, err := pki.ParseCertificates([]byte(issued.PEM))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := certs[0].Verify(x509.VerifyOptions{Roots: ours.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err == nil {
		t.Error("a CA of the same name vouches for a certificate that it did not issue")
	}
}
