package config

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/shared/pkg/api"
)

func TestLoadPluginFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a-bad.yaml"), "plugin: p\nintervall: 5s\n")
	write(t, filepath.Join(dir, "logs.yaml"), "plugin: directory-size\ninterval: 1m\ntimeout: 5s\nmemory: 32MiB\nconfig: {path: /var/log, deep: {list: [1, 2.5, true]}}\n")
	write(t, filepath.Join(dir, "off.yaml"), "plugin: run-command\nname: other\nenabled: false\nenvironment: true\narguments: true\n")
	write(t, filepath.Join(dir, "z-same.yaml"), "plugin: p\nname: logs\n")
	write(t, filepath.Join(dir, "notes.txt"), "not a configuration")
	write(t, filepath.Join(dir, ".logs.yaml"), "an editor's")

	got, errs := LoadPluginFiles(dir)
	want := []PluginFile{
		{Plugin: "directory-size", Name: "logs", Enabled: true, Interval: Duration(time.Minute), Timeout: Duration(5 * time.Second), Memory: 32 * Mebibyte,
			Config: map[string]any{"path": "/var/log", "deep": map[string]any{"list": []any{1, 2.5, true}}}, File: filepath.Join(dir, "logs.yaml")},
		{Plugin: "run-command", Name: "other", Environment: true, Arguments: true, File: filepath.Join(dir, "off.yaml")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	wantErrs := []string{
		`a-bad.yaml:2:1: unknown key "intervall": did you mean "interval"?`,
		`z-same.yaml:2:7: name: "logs": is also the name in ` + filepath.Join(dir, "logs.yaml") + ": give one of them another",
	}
	if diff := cmp.Diff(wantErrs, messages(dir, errs)); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
}

func messages(dir string, errs []error) []string {
	var out []string
	for _, err := range errs {
		out = append(out, strings.TrimPrefix(err.Error(), dir+string(filepath.Separator)))
	}
	return out
}

// That nothing is said and that nothing is allowed are two things.
func TestPluginFileSandbox(t *testing.T) {
	for text, want := range map[string]PluginFile{
		"":                                 {},
		"read: []\nwrite: []\nnetwork: []": {Read: []string{}, Write: []string{}, Network: Reach{Destinations: []string{}}},
		"trusted: true\nrequire: full\nnetwork: declared": {Trusted: true, Require: api.SandboxFull, Network: Reach{Word: NetworkDeclared}},
		"read: [/a]\nwrite: [/b/c]\nnetwork: ['a:1', 443]\nprocesses: 4\ncpu: 1.5\ntemp: 1GiB": {
			Read: []string{"/a"}, Write: []string{"/b/c"}, Network: Reach{Destinations: []string{"a:1", "443"}}, Processes: 4, CPU: 1.5, Temp: Gibibyte,
		},
	} {
		dir := t.TempDir()
		want.File = write(t, filepath.Join(dir, "p.yaml"), "plugin: p\n"+text)
		want.Plugin, want.Name, want.Enabled = "p", "p", true
		files, errs := LoadPluginFiles(dir)
		if diff := cmp.Diff([]PluginFile{want}, files); diff != "" || errs != nil {
			t.Errorf("%q: errors %v, file (-want +got):\n%s", text, errs, diff)
		}
	}
}

func TestPluginFileMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "p.yaml: plugin: is missing: name the plugin that this configures",
		"enabled: true":                     "p.yaml:1:1: plugin: is missing: name the plugin that this configures",
		"plugin: A":                         `p.yaml:1:9: plugin: plugin id "A": must be 1 to 63 characters of a-z, 0-9, '.', '_', '-', beginning with a letter or digit`,
		"plugin: p\nname: ../x":             `p.yaml:2:7: name: "../x": must be 1 to 63 characters of a-z, 0-9, '.', '_', '-', beginning with a letter or digit`,
		"plugin: p\ninterval: 0s":           "p.yaml:2:11: interval: 0s: must be at least 100ms",
		"plugin: p\ntimeout: -1s":           "p.yaml:2:10: timeout: -1s: must not be negative",
		"plugin: p\nmemory: 1MB":            "p.yaml:2:9: memory: 1MB: must be at least 16MB",
		"plugin: p\nconfig: {a: {1: x}}":    "p.yaml:2:9: config: holds what JSON cannot say (json: unsupported type: map[interface {}]interface {}): keys must be text and numbers finite",
		"plugin: p\nconfig: {a: {b: .inf}}": "p.yaml:2:9: config: holds what JSON cannot say (json: unsupported value: +Inf): keys must be text and numbers finite",
		"plugin: p\nrequire: most":          `p.yaml:2:10: require: "most": must be full, confined, limited or none`,
		"plugin: p\nread: [/a, b/c]":        `p.yaml:2:12: read: "b/c": must be an absolute path`,
		"plugin: p\nwrite: [/a/..]":         `p.yaml:2:9: write: "/a/..": must be a path without '..' and NUL`,
		"plugin: p\nwrite:":                 "p.yaml:2:7: write: has no value: give it one or remove the key; [] is nothing",
		"plugin: p\nnetwork:":               "p.yaml:2:9: network: has no value: give it one or remove the key; [] is nothing",
		"plugin: p\nnetwork: true":          `p.yaml:2:10: network: "true": must be all, declared, none, or a list of "host:port" and "port"`,
		"plugin: p\nnetwork: {a: b}":        `p.yaml:2:10: must be all, declared, none, or a list of "host:port" and "port"`,
		"plugin: p\nnetwork: [a:1, '*:2']":  `p.yaml:2:16: network: "*": wildcards are not taken: name each host`,
		"plugin: p\nnetwork: [[a:1]]":       "p.yaml:2:10: item 1 must be text",
		"plugin: p\nprocesses: 1":           "p.yaml:2:12: processes: 1: must be at least 2",
		"plugin: p\ncpu: -.inf":             "p.yaml:2:6: cpu: -Inf: must be from 0.01 to 1024 (1 is one processor)",
		"plugin: p\ntemp: 1MB":              "p.yaml:2:7: temp: 1MB: must be at least 2MB",
		"plugin: p\nconfig: {a: 1, a: 2}":   `p.yaml:2:16: key "a" stands twice: first at line 2`,
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "p.yaml"), text)
		files, errs := LoadPluginFiles(dir)
		if diff := cmp.Diff([]string{want}, messages(dir, errs)); diff != "" || len(files) != 0 {
			t.Errorf("%q: files %v, errors (-want +got):\n%s", text, files, diff)
		}
	}
}

func TestNoPluginDirectoryIsNone(t *testing.T) {
	if files, errs := LoadPluginFiles(filepath.Join(t.TempDir(), "none")); files != nil || errs != nil {
		t.Errorf("got %v, %v", files, errs)
	}
	file := write(t, filepath.Join(t.TempDir(), "f"), "")
	if _, errs := LoadPluginFiles(file); len(errs) != 1 {
		t.Errorf("a file as the directory: errors %v, want one", errs)
	}
}

func FuzzLoadPluginFiles(f *testing.F) {
	f.Add([]byte("plugin: p\ninterval: 5s\nconfig: {a: [1, {b: c}]}\n"))
	f.Add([]byte("plugin: p\nmemory: 32MiB\nconfig: {a: {1: 2}}\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, src []byte) {
		write(t, filepath.Join(dir, "p.yaml"), string(src))
		if files, errs := LoadPluginFiles(dir); len(files)+len(errs) != 1 {
			t.Errorf("one file gave %v and %v", files, errs)
		}
	})
}
