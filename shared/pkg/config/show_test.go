package config

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestShow(t *testing.T) {
	l, err := loadText(t, "agent:\n  id: web-01\n  base_dir: /b\n  tags: [\"a:b # c\"]\napi: {base_url: 'https://h'}\n", "STAVILY_PLUGINS_TIMEOUT=90s")
	if err != nil {
		t.Fatal(err)
	}
	var yaml, asJSON bytes.Buffer
	if err := l.Show(&yaml, YAML); err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(` +# `).ReplaceAllString(yaml.String(), " # ")
	for _, want := range []string{
		"agent:\n  id: \"web-01\" # a.yaml:2:7\n",
		"  name: \"web-01\" # from agent.id\n",
		"  tags: [\"a:b # c\"] # a.yaml:4:9\n",
		"  retry:\n    max_attempts: 3 # default\n",
		"  timeout: \"1m30s\" # STAVILY_PLUGINS_TIMEOUT\n",
		"  allowed_plugins: [] # default\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, &yaml)
		}
	}
	if err := l.Show(&asJSON, JSON); err != nil {
		t.Fatal(err)
	}
	var got map[string]struct {
		Value  any
		Origin string
	}
	if err := json.Unmarshal(asJSON.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if e := got["plugins.timeout"]; e.Value != "1m30s" || e.Origin != "STAVILY_PLUGINS_TIMEOUT" {
		t.Errorf("plugins.timeout = %+v", e)
	}
	if len(got) != len(leaves(new(Config))) {
		t.Errorf("%d keys in JSON, want all %d", len(got), len(leaves(new(Config))))
	}
	if err := l.Show(&yaml, "xml"); err == nil {
		t.Error("format xml is taken")
	}
	showAndLoadAgain(t, l)
}

// showAndLoadAgain holds that what Show prints, loaded, is the same configuration.
func showAndLoadAgain(t *testing.T, l *Loaded) {
	t.Helper()
	var shown bytes.Buffer
	if err := l.Show(&shown, YAML); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "shown.yaml")
	if err := os.WriteFile(path, shown.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := Load(LoadOptions{Type: l.Config.Agent.Type, Flags: parseFlags(t, "--config", path)})
	if err != nil {
		t.Fatalf("what Show prints does not load: %v\n%s", err, &shown)
	}
	if diff := cmp.Diff(l.Config, again.Config, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("shown and loaded again (-before +after):\n%s", diff)
	}
}
