package kit

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/shared/pkg/bundle"
)

// do runs a command that has to succeed.
func do(t *testing.T, args ...string) string {
	t.Helper()
	out, err := command(t, args...)
	if err != nil {
		t.Fatalf("stavily %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A plugin becomes a package, the package is signed, and whoever does what `keys trust`
// prints takes it: the way from a developer to an agent.
func TestPackSignTrust(t *testing.T) {
	t.Chdir(t.TempDir())
	do(t, "plugin", "new", "x", "--type", "sensor")
	said := do(t, "keys", "create", "release", "--comment", "release")
	do(t, "plugin", "pack", "x")
	first := readFile(t, "x-0.1.0.tar.gz")
	if out, err := command(t, "plugin", "pack", "x"); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("packed over: %v\n%s", err, out)
	}
	do(t, "plugin", "pack", "x", "--force")
	if !bytes.Equal(first, readFile(t, "x-0.1.0.tar.gz")) {
		t.Error("the same plugin packs to other bytes")
	}
	if info, err := os.Stat("x-0.1.0.tar.gz"); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	do(t, "plugin", "sign", "x-0.1.0.tar.gz", "--key", "release")
	var made packed
	if err := json.Unmarshal([]byte(do(t, "plugin", "pack", "x", "--key", "release", "--file", "both.tar.gz", "-o", "json")), &made); err != nil || !strings.HasSuffix(made.Signer, " release") || made.Files != 4 {
		t.Errorf("%+v, %v", made, err)
	}
	if !bytes.Equal(readFile(t, "both.tar.gz"), readFile(t, "x-0.1.0.tar.gz")) {
		t.Error("signing while packing gives other bytes than signing after")
	}
	// What is printed is what the configuration takes.
	for _, text := range []string{said, do(t, "keys", "trust", "release.pub")} {
		_, section, _ := strings.Cut(text, "plugins:\n")
		var c struct {
			Plugins struct {
				Keys []string `yaml:"trusted_keys"`
			} `yaml:"plugins"`
		}
		if _, err := strictyaml.Load("agent.yaml", []byte("plugins:\n"+section), &c); err != nil || len(c.Plugins.Keys) != 1 {
			t.Fatalf("%v\n%s", err, text)
		}
		keys, err := bundle.LoadKeys(c.Plugins.Keys)
		if err != nil {
			t.Fatal(err)
		}
		if signer, err := opened(t, "both.tar.gz").Verify(keys); err != nil || signer != made.Signer {
			t.Errorf("verified as %q, %v", signer, err)
		}
	}
	do(t, "keys", "create", "other")
	do(t, "plugin", "sign", "both.tar.gz", "--key", "other", "--file", "others.tar.gz")
	keys, err := bundle.LoadKeys([]string{"release.pub"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := opened(t, "others.tar.gz").Verify(keys); err == nil {
		t.Error("another's signature is taken")
	}
	if left, err := filepath.Glob(".stavily-*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func opened(t *testing.T, path string) *bundle.Package {
	t.Helper()
	b := readFile(t, path)
	p, err := bundle.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A package never becomes a part of its own plugin, nor of what is there.
func TestPackKeepsOutOfThePlugin(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	do(t, "plugin", "new", "x", "--type", "action")
	t.Chdir(filepath.Join(dir, "x"))
	do(t, "plugin", "pack", ".")
	if !exists(filepath.Join(dir, "x-0.1.0.tar.gz")) {
		t.Error("it is not beside the plugin")
	}
	for _, file := range []string{"a.tar.gz", filepath.Join(dir, "x", "a.tar.gz"), "../x/a.tar.gz"} {
		if _, err := command(t, "plugin", "pack", ".", "--file", file); err == nil || !strings.Contains(err.Error(), "of which it would become a part") {
			t.Errorf("%s: %v", file, err)
		}
	}
	for says, args := range map[string][]string{
		"--key is required":    {"plugin", "sign", "../x-0.1.0.tar.gz"},
		"load the signing key": {"plugin", "sign", "../x-0.1.0.tar.gz", "--key", "none"},
		"open package":         {"plugin", "sign", "main.py", "--key", "../k"},
		"no such file":         {"plugin", "sign", "none.tar.gz", "--key", "../k"},
		"exists":               {"keys", "create", "../k"},
		"is not a public key":  {"keys", "trust", "main.py"},
		"is not a valid plugin": {
			"plugin", "pack", "../bad",
		},
	} {
		if !exists("../k") {
			do(t, "keys", "create", "../k")
			if err := os.Mkdir("../bad", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile("../bad/plugin.yaml", []byte("id: X\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if out, err := command(t, args...); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("stavily %s: %v, want %q\n%s", strings.Join(args, " "), err, says, out)
		}
	}
	before := readFile(t, "main.py")
	if string(before) == "" || bytes.Contains(before, []byte("SIGNATURE")) {
		t.Error("a file that is no package was changed")
	}
}

// A key of OpenSSH with a passphrase signs, and not without it.
func TestPassphrase(t *testing.T) {
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip(err)
	}
	t.Chdir(t.TempDir())
	if said, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "open sesame", "-C", "me", "-f", "key").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	do(t, "plugin", "new", "x", "--type", "output")
	if _, err := command(t, "plugin", "pack", "x", "--key", "key"); err == nil || !strings.Contains(err.Error(), "--passphrase-file") {
		t.Error(err)
	}
	if err := os.WriteFile("pass", []byte("open sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := do(t, "plugin", "pack", "x", "--key", "key", "--passphrase-file", "pass"); !strings.Contains(out, "signed by SHA256:") || !strings.Contains(out, " me") {
		t.Error(out)
	}
	if err := os.WriteFile("pass", []byte("wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := command(t, "plugin", "pack", "x", "--force", "--key", "key", "--passphrase-file", "pass"); err == nil || exists("x-0.1.0.tar.gz") == false {
		t.Error(err)
	}
}
