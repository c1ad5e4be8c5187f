package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/shared/pkg/api"
)

const configs = "../../../configs"

func TestSamplesLoad(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(configs, "*.yaml"))
	if err != nil || len(paths) < 3 {
		t.Fatalf("samples %v, %v: want at least three", paths, err)
	}
	for _, path := range paths {
		typ := api.Sensor
		if strings.Contains(path, "action") {
			typ = api.Action
		}
		if _, err := Load(LoadOptions{Type: typ, Hostname: "web-01", Flags: parseFlags(t, "--config", path)}); err != nil {
			t.Error(err)
		}
	}
}

func TestPluginSamplesLoad(t *testing.T) {
	files, errs := LoadPluginFiles(filepath.Join(configs, "plugins"))
	for _, err := range errs {
		t.Error(err)
	}
	if len(files) < 5 {
		t.Errorf("%d samples, want at least five", len(files))
	}
	for _, f := range files {
		known := settingsOf(t, f.Plugin)
		for key := range f.Config {
			if _, ok := known[key]; !ok {
				t.Errorf("%s sets %q, which the plugin does not know: it has %v", f.File, key, known)
			}
		}
	}
}

// settingsOf reads the schema in the manifest of an official plugin.
func settingsOf(t *testing.T, id api.PluginID) map[string]any {
	t.Helper()
	manifests, err := filepath.Glob(filepath.Join(configs, "..", "plugins", "*", string(id), "plugin.yaml"))
	if err != nil || len(manifests) != 1 {
		t.Fatalf("manifests of %s: %v, %v: want one", id, manifests, err)
	}
	src, err := os.ReadFile(manifests[0])
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Configuration map[string]any `yaml:"configuration"`
	}
	if _, err := strictyaml.Load(manifests[0], src, &manifest, strictyaml.WarnUnknown()); err != nil {
		t.Fatal(err)
	}
	return manifest.Configuration
}

// examples are the keys that have no default in common for all agents; the
// reference shows an example, or what is derived.
var examples = map[string]bool{
	"agent.id": true, "agent.organization_id": true, "agent.name": true, "agent.base_dir": true, "agent.environment": true, "agent.tags": true,
	"api.base_url": true, "api.auth.token_file": true, "api.auth.cert_file": true, "api.auth.key_file": true, "api.auth.ca_file": true,
	"logging.file": true, "security.audit.file": true, "plugins.dir": true, "plugins.config_dir": true,
}

// The reference has every key, and says of each the default that really holds.
func TestReferenceIsComplete(t *testing.T) {
	path := filepath.Join(configs, "reference.yaml")
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var said Config
	doc, err := strictyaml.Load(path, src, &said)
	if err != nil {
		t.Fatal(err)
	}
	defaults := Default(api.Sensor)
	inForce := leaves(&defaults)
	for i, l := range leaves(&said) {
		if !doc.Has(l.path) {
			t.Errorf("%s lacks %s", path, l.key())
			continue
		}
		got, want := l.value, inForce[i].value
		same := reflect.DeepEqual(got.Interface(), want.Interface()) || got.Kind() == reflect.Slice && got.Len() == 0 && want.Len() == 0
		if !examples[l.key()] && !same {
			t.Errorf("%s says %s is %v by default, and it is %v", path, l.key(), got, want)
		}
	}
}

// What the reference says of derived paths is what a first start gives.
func TestReferencePathsAreTheDerivedOnes(t *testing.T) {
	plain := mustLoad(t, LoadOptions{Flags: parseFlags(t, "--agent-id=web-01", "--base-url=https://h"), Writable: func(string) bool { return true }})
	reference := mustLoad(t, LoadOptions{Flags: parseFlags(t, "--config", filepath.Join(configs, "reference.yaml"))})
	for i, l := range leaves(&plain.Config) {
		if !strings.HasSuffix(l.key(), "_file") && !strings.HasSuffix(l.key(), "dir") && !strings.HasSuffix(l.key(), ".file") {
			continue
		}
		if said := leaves(&reference.Config)[i].value.String(); said != l.value.String() {
			t.Errorf("the reference says %s is %s, and it is %s", l.key(), said, l.value)
		}
	}
}
