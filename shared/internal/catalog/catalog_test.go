package catalog

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/shared/internal/pyenv"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

func manifest(id, version, more string) string {
	return fmt.Sprintf("{id: %s, version: %s, type: sensor, runtime: {entry_point: main.py%s}}", id, version, more)
}

// install writes plugin directories below one and returns it.
func install(t *testing.T, manifests map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range manifests {
		sub := filepath.Join(dir, name)
		if err := os.Mkdir(sub, 0o700); err != nil {
			t.Fatal(err)
		}
		for file, content := range map[string]string{plugin.ManifestName: text, "main.py": "pass"} {
			if err := os.WriteFile(filepath.Join(sub, file), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func TestScanSaysWhatCannotBeUsedAndWhy(t *testing.T) {
	dir := install(t, map[string]string{
		"good":      manifest("good", "1.0.0", ""),
		"blocked":   manifest("blocked", "1.0.0", ""),
		"broken":    "id: [",
		"wrong":     manifest("Wrong Name", "1.0.0", ""),
		"actor":     strings.Replace(manifest("actor", "1.0.0", ""), "sensor", "action", 1),
		"noder":     manifest("noder", "1.0.0", ", type: node"),
		"two-old":   manifest("two", "1.9.0", ""),
		"two-new":   manifest("two", "1.10.0", ""),
		"same-a":    manifest("same", "1.0.0", ""),
		"same-b":    manifest("same", "1.0.0", ""),
		".hidden":   manifest("hidden", "1.0.0", ""),
		"elsewhere": manifest("linked", "1.0.0", ""),
	})
	t.Setenv("PATH", t.TempDir())
	for _, other := range []string{"no-plugin", "file"} {
		if err := os.Mkdir(filepath.Join(dir, other), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(filepath.Join(dir, "elsewhere"), filepath.Join(dir, "file", "real")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join("file", "real"), filepath.Join(dir, "linked")); err != nil {
		t.Fatal(err)
	}
	got, err := NewScanner(dir, Options{
		Agent:  api.Sensor,
		Allows: func(id api.PluginID) bool { return id != "blocked" },
	}).Scan()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"good": "", "linked": "", "two-new": "", "same-a": "",
		"blocked": "see plugins.allowed_plugins",
		"broken":  "broken/plugin.yaml:",
		"wrong":   `plugin.yaml:1:6: id: plugin id "Wrong Name"`,
		"actor":   "is a plugin of type action: this agent is of type sensor",
		"noder":   "needs node, which is not in PATH",
		"two-old": "version 1.10.0 of two in " + filepath.Join(dir, "two-new") + " is used instead",
		"same-b":  "version 1.0.0 of same in " + filepath.Join(dir, "same-a") + " is used instead",
	}
	seen := map[string]string{}
	for _, i := range got {
		name := filepath.Base(i.Dir)
		seen[name] = i.Refused
		if w, ok := want[name]; ok && !strings.Contains(i.Refused, w) || ok && (w == "") != (i.Refused == "") {
			t.Errorf("%s: refused %q, want %q", name, i.Refused, w)
		}
	}
	if len(seen) != len(want) {
		t.Errorf("found %v, want %d of them", seen, len(want))
	}
}

func TestScanOfNothing(t *testing.T) {
	if got, err := NewScanner(filepath.Join(t.TempDir(), "none"), Options{}).Scan(); err != nil || got != nil {
		t.Errorf("Scan = %v, %v; want nothing", got, err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewScanner(file, Options{}).Scan(); err == nil {
		t.Error("a file was scanned")
	}
}

func TestCommand(t *testing.T) {
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "bash"), []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	for typ, want := range map[string][]string{
		plugin.Python:     {"/py", "/plugins/a/bin/run"},
		plugin.Executable: {"/plugins/a/bin/run"},
		plugin.Bash:       {filepath.Join(bin, "bash"), "/plugins/a/bin/run"},
	} {
		p := &plugin.Plugin{Dir: "/plugins/a", Manifest: plugin.Manifest{ID: "a", Runtime: plugin.Runtime{Type: typ, EntryPoint: "bin/run"}}}
		path, args, err := Command(p, pyenv.Interpreter{Path: "/py"})
		if err != nil || path != want[0] {
			t.Errorf("%s: %s, %v", typ, path, err)
		}
		if diff := cmp.Diff(want, args); diff != "" {
			t.Errorf("%s (-want +got):\n%s", typ, diff)
		}
	}
	p := &plugin.Plugin{Manifest: plugin.Manifest{ID: "a", Runtime: plugin.Runtime{Type: plugin.Node}}}
	if _, _, err := Command(p, pyenv.Interpreter{}); err == nil || !strings.Contains(err.Error(), "plugin a: needs node") {
		t.Errorf("without node: %v", err)
	}
}
