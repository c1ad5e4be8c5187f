package ca

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/pki"
)

func take(t *testing.T, a *Authority, step string) {
	t.Helper()
	if err := a.Take(step); err != nil {
		t.Fatal(err)
	}
}

// good reports whether an agent's certificate is let in.
func good(a *Authority, cert *x509.Certificate) bool {
	_, err := cert.Verify(x509.VerifyOptions{Roots: a.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	_, known := a.Issuer(cert)
	if (err == nil) != known {
		panic("the pool and Issuer disagree")
	}
	return known
}

// trustsServer reports whether an agent with a bundle would connect.
func trustsServer(t *testing.T, a *Authority, bundle string) bool {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(bundle))
	cert, err := a.ServerCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = cert.Leaf.Verify(x509.VerifyOptions{Roots: roots})
	return err == nil
}

// TestRotation takes each step, and holds before and after it, of the authority that took it,
// of one that was opened anew and of one beside it, who may connect to whom.
func TestRotation(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir, Options{Hosts: []string{"127.0.0.1"}})
	first, firstBundle, firstCert := a.Fingerprint(), a.PEM(), issue(t, a, web01)
	beside := open(t, dir, Options{})
	var prepared string
	for _, c := range []struct {
		step     string
		active   bool // the second CA signs
		trusted  int  // CAs in the bundle
		oldGood  bool // a certificate of the first is let in
		oldTrust bool // an agent that knows the first alone connects
		keys     int
	}{
		{"", false, 1, true, true, 1},
		{StepPrepare, false, 2, true, true, 2},
		{StepActivate, true, 2, true, false, 2},
		{StepTaint, true, 1, true, false, 1},
		{StepRevoke, true, 1, false, false, 1},
	} {
		if c.step != "" {
			for _, wrong := range Steps() {
				if wrong != c.step && a.Take(wrong) == nil {
					t.Fatalf("%s was taken, and %s is next", wrong, c.step)
				}
			}
			take(t, a, c.step)
			if changed, err := beside.Refresh(); !changed || err != nil {
				t.Fatalf("%s: the server beside took it up: %v, %v", c.step, changed, err)
			}
		}
		if c.step == StepPrepare {
			prepared = a.PEM()
		}
		for who, is := range map[string]*Authority{"itself": a, "anew": open(t, dir, Options{}), "beside": beside} {
			certs, err := pki.ParseCertificates([]byte(is.PEM()))
			if err != nil || len(certs) != c.trusted || pki.Fingerprint(certs[0]) != is.Fingerprint() {
				t.Errorf("%s, %s: %d CAs in the bundle, want %d, the active one first", c.step, who, len(certs), c.trusted)
			}
			issued := issue(t, is, web01)
			by, known := is.Issuer(issued)
			if !known || (by.Fingerprint != first) != c.active || !good(is, issued) {
				t.Errorf("%s, %s: what it signs is by %+v, known %v", c.step, who, by, known)
			}
			if good(is, firstCert) != c.oldGood || trustsServer(t, is, firstBundle) != c.oldTrust {
				t.Errorf("%s, %s: a certificate of the first is good %v, an agent of the first connects %v", c.step, who, !c.oldGood, !c.oldTrust)
			}
			if prepared != "" && !trustsServer(t, is, prepared) {
				t.Errorf("%s, %s: an agent that was told in time does not connect", c.step, who)
			}
			if is.Lineage() != first {
				t.Errorf("%s, %s: lineage %s", c.step, who, is.Lineage())
			}
		}
		if keys, _ := filepath.Glob(filepath.Join(dir, "ca*.key")); len(keys) != c.keys {
			t.Errorf("%s: keys %v, want %d", c.step, keys, c.keys)
		}
		if text, err := os.ReadFile(filepath.Join(dir, bundleFile)); err != nil || string(text) != a.PEM() {
			t.Errorf("%s: ca.crt is not the bundle: %v", c.step, err)
		}
	}
	if a.NextStep() != StepPrepare {
		t.Errorf("next: %s", a.NextStep())
	}
	if changed, err := a.Refresh(); changed || err != nil {
		t.Errorf("a look at what it did itself: %v, %v", changed, err)
	}
}

// TestWants goes through what an agent may have, at each step.
func TestWants(t *testing.T) {
	a := open(t, t.TempDir(), Options{})
	first := a.Fingerprint()
	take(t, a, StepPrepare)
	second := a.CAs()[1].Fingerprint
	for _, c := range []struct {
		step string // then
		want [3]bool
	}{
		{StepActivate, [3]bool{true, false, true}}, // knows the first, both, the second
		{StepTaint, [3]bool{true, false, true}},
		{StepRevoke, [3]bool{true, true, false}},
		{"", [3]bool{true, true, false}},
	} {
		for n, trusted := range [][]string{{first}, {first, second}, {second}} {
			if got := a.Wants(append(trusted, "sha256:of another")); got != c.want[n] {
				t.Errorf("before %q: an agent that trusts %d: %v", c.step, n, got)
			}
		}
		if c.step != "" {
			take(t, a, c.step)
		}
	}
}

// TestStopBetweenFiles leaves the directory as a crash between two files of a step would.
func TestStopBetweenFiles(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir, Options{})
	old := a.PEM()
	if err := os.WriteFile(filepath.Join(dir, "ca-0123456789abcdef.key"), []byte("of a step that did not count"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, step := range Steps() {
		take(t, a, step)
		if err := os.WriteFile(filepath.Join(dir, bundleFile), []byte(old), 0o600); err != nil { // ca.crt was not written any more
			t.Fatal(err)
		}
		again := open(t, dir, Options{})
		if again.Fingerprint() != a.Fingerprint() || again.PEM() != a.PEM() || again.NextStep() != a.NextStep() {
			t.Fatalf("after %s: opened anew it is at %s with %s", step, again.NextStep(), again.Fingerprint())
		}
		old = a.PEM()
	}
	if keys, _ := filepath.Glob(filepath.Join(dir, "ca*.key")); len(keys) != 1 {
		t.Errorf("keys %v, want the active one's alone", keys)
	}
}

// TestDamagedRotation holds that what is not understood opens nothing and changes nothing.
func TestDamagedRotation(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir, Options{})
	take(t, a, StepPrepare)
	path := filepath.Join(dir, rotationFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	keys, _ := filepath.Glob(filepath.Join(dir, "ca-*.key"))
	edit := func(before, after string) []byte { return []byte(strings.Replace(string(whole), before, after, 1)) }
	for name, text := range map[string][]byte{
		"cut off":       whole[:len(whole)/2],
		"empty":         nil,
		"two active":    edit(`"prepared"`, `"active"`),
		"none active":   edit(`"active"`, `"old"`),
		"unknown state": edit(`"prepared"`, `"<b>"`),
		"a key outside": edit(`"ca.key"`, `"../ca.key"`),
		"another's key": edit(`"ca.key"`, `"`+filepath.Base(keys[0])+`"`),
		"no key":        edit(`"ca.key"`, `"ca-none.key"`),
		"no first":      edit(`"first"`, `"erst"`),
	} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if changed, err := a.Refresh(); changed || err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: taken up %v, %v", name, changed, err)
		}
		if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "restore") {
			t.Errorf("%s: Open = %v", name, err)
		}
		if !slices.ContainsFunc(a.CAs(), func(c CA) bool { return c.State == StatePrepared }) {
			t.Errorf("%s: the state before is gone", name)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Refresh(); err == nil {
		t.Error("a rotation.json that vanished was taken for none")
	}
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), rotationFile) {
		t.Errorf("two certificates and no rotation.json: %v", err)
	}
}
