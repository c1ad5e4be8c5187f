//go:build unix

package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/shared/pkg/api"
)

// What this host lacks for a configuration stands in the same list as what is wrong with its values, for who
// validates it, starts an agent with it and has one reload it.
func TestWhatThisHostLacks(t *testing.T) {
	dir := t.TempDir()
	file, base, keys := filepath.Join(dir, "agent.yaml"), filepath.Join(dir, "base"), filepath.Join(dir, "keys")
	write(t, keys, "ssh-rsa AAAA x\n")
	text := func(more string) string {
		return "agent: {id: web-01, base_dir: " + base + "}\napi: {base_url: \"https://127.0.0.1:1\"" + more + "}\n"
	}
	write(t, file, text(", timeout: -1s")+
		"logging: {file: "+dir+"/none/agent.log}\nplugins: {trusted_keys: ["+keys+", none.pub]}\nsecurity: {sandbox: {user: stavily-nobody}}\n")
	want := fmt.Sprintf(`usage: the configuration is not valid:
%[1]s:2:49: api.timeout: -1s: must be positive
%[1]s:5:28: security.sandbox.user: "stavily-nobody": there is no such user on this host: make it (useradd --system stavily-nobody) or leave the key out
%[1]s:3:17: logging.file: "%[2]s/none/agent.log": there is no directory %[2]s/none: make it, or log elsewhere
%[1]s:4:25: plugins.trusted_keys: %[2]s/keys: line 1: is not a public key, such as "ssh-ed25519 AAAA… name"; open %[3]s/none.pub: no such file or directory: correct the file, or leave it out`, file, dir, base)
	rt, _ := testRuntime(t, api.Sensor)
	t.Setenv("STAVILY_CONFIG", file)
	rt.reloads.load = registerConfig(&cobra.Command{}, sensorRole)(fitsHost)
	validate := func() error { _, _, err := command(t, sensorRole, "config", "validate", file); return err }
	if elsewhere, _, _ := strings.Cut(want, "\n"+file+":5"); fmt.Sprint(validate()) != elsewhere {
		t.Errorf("on another host: got %v, want %s", validate(), elsewhere)
	}
	tells := func(name string, do func() error) {
		if err := do(); fmt.Sprint(err) != want {
			t.Errorf("%s:\n got %v\nwant %s", name, err, want)
		}
	}
	tells("start", func() error { _, _, err := command(t, sensorRole); return err })
	tells("reload", func() error { _, err := rt.Reload("test"); return err })
	if _, err := os.Stat(base); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the base directory was made: %v", err)
	}
	if err := os.Mkdir(base, 0o700); err != nil {
		t.Fatal(err)
	}
	tells("validate", validate)
	for _, log := range []string{"", "logging: {file: logs/plugins/a.log}\n", "logging: {output: stdout, file: /none/a.log}\n"} {
		write(t, file, text("")+log)
		if err := validate(); err != nil {
			t.Errorf("%q: %v", log, err)
		}
	}
	if err := os.Remove(base); err != nil {
		t.Fatal(err)
	}
	write(t, base, "")
	if err := validate(); err == nil || !strings.Contains(err.Error(), `agent.base_dir: "`+base+`": is not a directory`) {
		t.Errorf("a base directory that is a file: %v", err)
	}
}
