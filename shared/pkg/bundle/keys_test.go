package bundle

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func keygen(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("ssh-keygen is not installed: what it thinks of our signatures was not tried")
	}
	cmd := exec.Command("ssh-keygen", args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestOpenSSHTakesOurSignature checks a package with what every host has.
func TestOpenSSHTakesOurSignature(t *testing.T) {
	dir, key := t.TempDir(), newKey(t)
	p, err := open(packed(t, sample(t), key))
	if err != nil {
		t.Fatal(err)
	}
	sig, allowed := filepath.Join(dir, "sig"), filepath.Join(dir, "allowed")
	writeFile(t, sig, string(p.Signature()))
	writeFile(t, allowed, "me@example.com "+key.Key().Line()+"\n")
	if out, err := keygen(t, string(p.raw), "-Y", "verify", "-f", allowed, "-I", "me@example.com", "-n", Namespace, "-s", sig); err != nil {
		t.Errorf("ssh-keygen refuses our signature: %v\n%s", err, out)
	}
	if out, err := keygen(t, string(p.raw)+" ", "-Y", "verify", "-f", allowed, "-I", "me@example.com", "-n", Namespace, "-s", sig); err == nil {
		t.Errorf("ssh-keygen takes it over another index:\n%s", out)
	}
	path := filepath.Join(dir, "keys/id")
	if err := key.Save(path); err != nil {
		t.Fatal(err)
	}
	if out, err := keygen(t, "", "-l", "-f", path); err != nil || !strings.Contains(out, key.Key().Fingerprint()) {
		t.Errorf("ssh-keygen -l: %v %s; want %s", err, out, key.Key().Fingerprint())
	}
}

// TestWeTakeOpenSSHsSignature signs an index with a key and the program of OpenSSH.
func TestWeTakeOpenSSHsSignature(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "id")
	if out, err := keygen(t, "", "-q", "-t", "ed25519", "-N", "", "-C", "openssh", "-f", path); err != nil {
		t.Fatal(err, out)
	}
	a := build(t, nil, sampleFiles)
	raw, err := a.index.encode()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "index"), string(raw))
	if out, err := keygen(t, "", "-Y", "sign", "-n", Namespace, "-f", path, filepath.Join(dir, "index")); err != nil {
		t.Fatal(err, out)
	}
	if a.sig, err = os.ReadFile(filepath.Join(dir, "index.sig")); err != nil {
		t.Fatal(err)
	}
	keys, err := LoadKeys([]string{path + ".pub"})
	if err != nil {
		t.Fatal(err)
	}
	if err := take(a.bytes(t), keys, Want{}, t.TempDir()); err != nil {
		t.Error(err)
	}
	s, err := LoadKey(path, nil)
	if err != nil || s.Key().String() != keys[0].String() || s.Key().Comment != "openssh" {
		t.Errorf("LoadKey = %v, %v; want %v", s, err, keys[0])
	}
}

func TestKeysAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new/id")
	key := newKey(t)
	if err := key.Save(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v; want 0600", info.Mode(), err)
	}
	again, err := LoadKey(path, nil)
	if err != nil || again.Key().String() != key.Key().String() {
		t.Fatalf("LoadKey = %v, %v", again, err)
	}
	if err := newKey(t).Save(path); err == nil || !strings.Contains(err.Error(), "exists: choose another name") {
		t.Errorf("a key was overwritten: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := newKey(t).Save(path); err == nil || !strings.Contains(err.Error(), "id.pub exists") {
		t.Errorf("a public key was overwritten: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("half a key was written")
	}
}

func TestBadKeys(t *testing.T) {
	dir := t.TempDir()
	line := newKey(t).Key().Line()
	writeFile(t, filepath.Join(dir, "keys"), "# ours\n\n"+line+"\n"+newKey(t).Key().Line()+" and more words\n")
	keys, err := LoadKeys([]string{filepath.Join(dir, "keys"), line})
	if err != nil || len(keys) != 3 || keys[0].Line() != line {
		t.Fatalf("LoadKeys = %v, %v; want 3", keys, err)
	}
	for text, want := range map[string]string{
		"ssh-ed25519 AAAA":             "line 1: is not a public key",
		line + "\nhello":               "line 2: is not a public key",
		`command="x" ` + line:          "line 1: begins with options",
		strings.Repeat(line+"\n", 101): "line 101: too large: more than 100 keys",
		"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC2oRH9ISFaddVieKOprPN/wuQDhuNKsI1RRKDyefQf1H9/uNvRq7vptr9qnhGabPErPOmQjV5SsRw8br+Dw39VgURTqmzMc/aWGMVxsXdjbM0Wb3KBppO3HrURjtG2vtb1KSq0TjJ6jRaeeVzWxX0lVwpOd0hFK5CiAwrJd4X20Q==": "line 1: is a key of type ssh-rsa: only ssh-ed25519",
	} {
		if _, err := ParseKeys(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseKeys(%.40q) = %v, want %s", text, err, want)
		}
	}
	if _, err := LoadKeys([]string{filepath.Join(dir, "none")}); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("a file that is not there: %v", err)
	}
	open := filepath.Join(dir, "id")
	if err := newKey(t).Save(open); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(open, nil); runtime.GOOS != "windows" && (err == nil || !strings.Contains(err.Error(), "chmod 600")) {
		t.Errorf("a key that everybody can read: %v", err)
	}
	writeFile(t, filepath.Join(dir, "noise"), "noise")
	if err := os.Chmod(filepath.Join(dir, "noise"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(filepath.Join(dir, "noise"), nil); err == nil {
		t.Error("noise was taken for a key")
	}
}

func TestPassphrase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "id")
	if out, err := keygen(t, "", "-q", "-t", "ed25519", "-N", "secret words", "-C", "locked", "-f", path); err != nil {
		t.Fatal(err, out)
	}
	if _, err := LoadKey(path, nil); !errors.Is(err, ErrPassphrase) {
		t.Errorf("without one: %v", err)
	}
	if _, err := LoadKey(path, func() ([]byte, error) { return []byte("wrong"), nil }); !errors.Is(err, ErrPassphrase) {
		t.Errorf("with a wrong one: %v", err)
	}
	s, err := LoadKey(path, func() ([]byte, error) { return []byte("secret words"), nil })
	if err != nil || s.Key().Comment != "locked" {
		t.Fatalf("LoadKey = %v, %v", s, err)
	}
	var b bytes.Buffer
	if _, err := Pack(&b, sample(t), s); err != nil {
		t.Error(err)
	}
}
