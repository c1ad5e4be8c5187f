package plugin

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// reference is the manifest that the documentation of the contract shows.
const reference = `id: "disk-space-monitor"
name: "Disk Space Monitor"
description: "Watches"
version: "1.0.0"
author: "Somebody"
license: "MIT"
type: "trigger"
runtime:
  type: "python"
  version: "3.8+"
  entry_point: "main.py"
  requirements: "requirements.txt"
  contract: "stdio"
configuration:
  threshold: {type: number, description: "Percent", default: 85.0, minimum: 0, maximum: 100}
  mounts: {type: list, items: {type: string, pattern: "^/"}, examples: [["/"]]}
  level: {type: string, enum: [low, high], required: true, min_length: 1, max_length: 4, format: word, secret: true}
parameters:
  path: {type: string}
limits: {memory: "64MB", cpu: "0.1", execution_time: "180s"}
permissions:
  network: ["api.example.com:443", 53]
  filesystem: {read: ["/proc/mounts"], write: [], stat: ["${config.mounts}"]}
  system_calls: ["statfs"]
input: file
tags: [disk]
categories: []
`

func nest(manifest string) string {
	return "plugin:\n  " + strings.ReplaceAll(strings.TrimSuffix(manifest, "\n"), "\n", "\n  ") + "\n"
}

func ptr[T any](v T) *T { return &v }

var compare = cmp.Options{
	cmp.Comparer(func(a, b *regexp.Regexp) bool { return a == b || a != nil && b != nil && a.String() == b.String() }),
	cmpopts.EquateEmpty(),
}

func TestManifestInBothForms(t *testing.T) {
	want := Manifest{
		ID: "disk-space-monitor", Name: "Disk Space Monitor", Description: "Watches", Version: "1.0.0", Author: "Somebody", License: "MIT",
		Kind:    Sensor,
		Runtime: Runtime{Type: Python, Version: "3.8+", EntryPoint: "main.py", Requirements: "requirements.txt", Contract: Stdio},
		Configuration: Schema{
			{Name: "threshold", Type: Number, Description: "Percent", Default: []byte("85"), Minimum: ptr(0.0), Maximum: ptr(100.0)},
			{Name: "mounts", Type: Array, Items: &Property{Type: String, Pattern: regexp.MustCompile("^/")}, Examples: []byte(`[["/"]]`)},
			{Name: "level", Type: String, Enum: rawList(`"low"`, `"high"`), Required: true, MinLength: ptr(1), MaxLength: ptr(4), Format: "word", Secret: true},
		},
		Parameters:  Schema{{Name: "path", Type: String}},
		Limits:      Limits{Memory: 64e6, CPU: 0.1, ExecutionTime: 180 * time.Second},
		Permissions: Permissions{Network: Network{Destinations: []string{"api.example.com:443", "53"}}, Read: []string{"/proc/mounts"}, Stat: []string{"${config.mounts}"}, SystemCalls: []string{"statfs"}},
		InputFile:   true, Tags: []string{"disk"},
	}
	for name, src := range map[string]string{"flat": reference, "nested": nest(reference)} {
		got, warnings, err := ParseManifest("plugin.yaml", []byte(src))
		if err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v, warnings %v", name, err, warnings)
		}
		if diff := cmp.Diff(want, got, compare); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestContractWhenAbsent(t *testing.T) {
	for typ, want := range map[string]struct {
		Kind
		Contract
	}{
		"trigger": {Sensor, Stdio}, "sensor": {Sensor, Stdio}, "monitor": {Sensor, Script}, "action": {Action, Detect}, "output": {Output, Stdio},
	} {
		m, _, err := ParseManifest("f", []byte("{id: a, version: 1.0.0, type: "+typ+", runtime: {entry_point: main.py}}"))
		if err != nil || m.Kind != want.Kind || m.Runtime.Contract != want.Contract || m.Runtime.Type != Python || m.Name != "a" {
			t.Errorf("%s: %+v, %v; want %v", typ, m, err, want)
		}
	}
}

func TestMistakesHaveTheirPlace(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{`id: "disk-space-monitor"`, `id: "Disk Monitor"`, `p.yaml:1:5: id: plugin id "Disk Monitor": must be`},
		{`id: "disk-space-monitor"` + "\n", ``, `p.yaml:1:1: id: is missing`},
		{`version: "1.0.0"`, `version: "one"`, `p.yaml:4:10: version: "one" is not a semantic version`},
		{`type: "trigger"`, `type: "watcher"`, `p.yaml:7:7: type: must be trigger`},
		{`type: "python"`, `type: "ruby"`, `p.yaml:9:9: runtime.type: must be one of python, executable, bash, node, not "ruby"`},
		{`version: "3.8+"`, `version: "snake"`, `p.yaml:10:12: runtime.version: "snake" is not a version`},
		{`"main.py"`, `"../main.py"`, `p.yaml:11:16: runtime.entry_point: "../main.py" must be a path below`},
		{`"main.py"`, `"/bin/sh"`, `must be a path below`},
		{`"main.py"`, `'C:\main.py'`, `must be a path below`},
		{`  entry_point: "main.py"` + "\n", ``, `p.yaml:9:3: runtime.entry_point: is missing`},
		{`contract: "stdio"`, `contract: "grpc"`, `p.yaml:13:13: runtime.contract: must be stdio or script`},
		{`default: 85.0`, `default: 101`, `p.yaml:15:62: configuration.threshold.default: must be at most 100, is 101`},
		{`default: 85.0`, `default: .inf`, `is not a finite number`},
		{`type: list`, `type: tuple`, `p.yaml:16:18: configuration.mounts.type: must be string, integer`},
		{`[low, high]`, `[low, 2020-01-01]`, `configuration.level.enum[1]: 2020-01-01 is read as a date`},
		{`"64MB"`, `"64 parsecs"`, `p.yaml:20:18: limits.memory: "64 parsecs" is not a size`},
		{`"0.1"`, `"-1"`, `limits.cpu: must be a share`},
		{`"180s"`, `"soon"`, `limits.execution_time: "soon" is not a duration`},
		{`"api.example.com:443"`, `"api.example.com:http"`, `p.yaml:22:13: permissions.network[0]: "api.example.com:http" must be`},
		{`["/proc/mounts"]`, `["proc"]`, `permissions.filesystem.read[0]: "proc" must be an absolute path`},
		{`["/proc/mounts"]`, `["/a/../b"]`, `permissions.filesystem.read[0]: "/a/../b" must be a path without '..' and NUL`},
		{`["/proc/mounts"]`, `["${config.nothing}"]`, `permissions.filesystem.read[0]: "${config.nothing}": there is no "nothing" in configuration`},
		{`["/proc/mounts"]`, `["${config.threshold}"]`, `permissions.filesystem.read[0]: "${config.threshold}": configuration.threshold must be of type string, or an array of them`},
		{`["/proc/mounts"]`, `["/srv/${config.level}"]`, `permissions.filesystem.read[0]: "/srv/${config.level}" must be a whole "${config.KEY}": nothing else can be filled in`},
		{`["/proc/mounts"]`, `["${parameters.path}"]`, `permissions.filesystem.read[0]: "${parameters.path}" must be a whole "${config.KEY}"`},
		{`"api.example.com:443"`, `"${config.threshold}"`, `permissions.network[0]: "${config.threshold}": configuration.threshold must be of type string`},
		{`"api.example.com:443"`, `"*.example.com:443"`, `permissions.network[0]: "*.example.com": wildcards are not taken: name each host`},
		{`input: file`, `input: pipe`, `p.yaml:25:8: input: must be file`},
		{`tags: [disk]`, `tags: {a: b}`, `p.yaml:26:7: must be a list, not a mapping`},
		{`categories: []`, `name: "twice"`, `key "name" stands twice`},
	} {
		src := strings.Replace(reference, c.old, c.new, 1)
		if src == reference {
			t.Fatalf("%q is not in the manifest", c.old)
		}
		if _, _, err := ParseManifest("p.yaml", []byte(src)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s → %s:\nerr  = %v\nwant   %s", c.old, c.new, err, c.want)
		}
	}
	_, _, err := ParseManifest("p.yaml", []byte(nest(strings.Replace(reference, `"64MB"`, `"64 parsecs"`, 1))))
	if err == nil || !strings.Contains(err.Error(), "p.yaml:21:20: limits.memory") {
		t.Errorf("nested: %v", err)
	}
	if _, _, err := ParseManifest("p.yaml", nil); err == nil {
		t.Error("an empty manifest was taken")
	}
}

func TestUnknownKeysAreWarnings(t *testing.T) {
	src := strings.Replace(reference, "author:", "autor:", 1)
	src = strings.Replace(src, `pattern: "^/"`, `pattern: "(?=/)"`, 1)
	m, warnings, err := ParseManifest("p.yaml", []byte(src))
	if err != nil || m.ID == "" {
		t.Fatal(err)
	}
	got := warnings.Error()
	for _, want := range []string{`p.yaml:5:1: unknown key "autor": did you mean "author"?`, "p.yaml:16:55: configuration.mounts.items.pattern: is not checked"} {
		if !strings.Contains(got, want) {
			t.Errorf("warnings:\n%s\nwant %s", got, want)
		}
	}
}

func TestInterpreterVersions(t *testing.T) {
	for _, c := range []struct {
		want, have string
		ok         bool
	}{
		{"3.8+", "3.11.7", true}, {"3.8+", "3.7.9", false}, {"3.8 +", "3.8.0", true}, {"", "2.7.0", true},
		{"3.8", "3.11.7", true}, {"3.12", "3.11.7", false}, {"3", "4.0.0", false},
		{">=3.8, <3.12", "3.11.7", true}, {">=3.8, <3.12", "3.12.0", false}, {"3.13+", "3.13.0-rc1", true},
	} {
		got, err := Runtime{Version: c.want}.Accepts(c.have)
		if err != nil || got != c.ok {
			t.Errorf("%q accepts %s = %v, %v; want %v", c.want, c.have, got, err, c.ok)
		}
	}
}

func TestUnits(t *testing.T) {
	for in, want := range map[string]int64{"64MB": 64e6, "64MiB": 64 << 20, "64Mi": 64 << 20, "1 GiB": 1 << 30, "1024": 1024, "2k": 2000} {
		if got, err := parseSize(in); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "MB", "-1MB", "0", "1.5GB", "9223372036854775807GB", "1TB!"} {
		if got, err := parseSize(in); err == nil {
			t.Errorf("parseSize(%q) = %d", in, got)
		}
	}
	for in, want := range map[string]time.Duration{"180s": 3 * time.Minute, "5m": 5 * time.Minute, "90": 90 * time.Second, "0.5": 500 * time.Millisecond, "unlimited": Unlimited, "Unlimited": Unlimited} {
		if got, err := parseDuration(in); err != nil || got != want {
			t.Errorf("parseDuration(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "0", "-5s", "never", "1e300", "NaN"} {
		if got, err := parseDuration(in); err == nil {
			t.Errorf("parseDuration(%q) = %v", in, got)
		}
	}
}

// tree writes a plugin directory.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const small = "{id: a, version: 1.0.0, type: action, runtime: {type: python, entry_point: main.py}}"

func TestLoadChecksTheFiles(t *testing.T) {
	for name, c := range map[string]struct {
		change func(dir string) error
		want   string
	}{
		"no manifest":  {func(dir string) error { return os.Remove(dir + "/plugin.yaml") }, "plugin.yaml"},
		"no entry":     {func(dir string) error { return os.Remove(dir + "/main.py") }, "plugin.yaml:1:76: runtime.entry_point: main.py: no such file"},
		"a directory":  {func(dir string) error { os.Remove(dir + "/main.py"); return os.Mkdir(dir+"/main.py", 0o700) }, "main.py is not a file"},
		"a link out":   {func(dir string) error { os.Remove(dir + "/main.py"); return os.Symlink("/etc/hosts", dir+"/main.py") }, "leads out of the plugin's directory"},
		"no directory": {os.RemoveAll, "load plugin"},
		"not a program": {func(dir string) error {
			return os.WriteFile(dir+"/plugin.yaml", []byte(strings.Replace(small, "python", "executable", 1)), 0o600)
		}, "chmod +x"},
		"no requirements": {func(dir string) error {
			return os.WriteFile(dir+"/plugin.yaml", []byte(strings.Replace(small, "main.py}", "main.py, requirements: r.txt}", 1)), 0o600)
		}, "runtime.requirements: r.txt: no such file"},
	} {
		dir := tree(t, map[string]string{"plugin.yaml": small, "main.py": "pass"})
		if err := c.change(dir); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Load(dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: err = %v, want %s", name, err, c.want)
		}
	}
}

func TestDigestChangesWithWhatRuns(t *testing.T) {
	files := map[string]string{"plugin.yaml": small, "main.py": "pass", "lib/a.py": "1", "lib/b.py": "2"}
	digest := func(dir string) string {
		p, _, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		return p.Digest
	}
	dir := tree(t, files)
	first := digest(dir)
	if !regexp.MustCompile(`^sha256:[0-9a-f]{64}$`).MatchString(first) || first != digest(tree(t, files)) {
		t.Fatalf("digest %q is not the same for the same files", first)
	}
	for name, change := range map[string]func(dir string) error{
		"content":      func(dir string) error { return os.WriteFile(dir+"/lib/a.py", []byte("3"), 0o600) },
		"a new file":   func(dir string) error { return os.WriteFile(dir+"/lib/c.py", nil, 0o600) },
		"a name":       func(dir string) error { return os.Rename(dir+"/lib/a.py", dir+"/lib/aa.py") },
		"executable":   func(dir string) error { return os.Chmod(dir+"/lib/a.py", 0o700) },
		"a link":       func(dir string) error { return os.Symlink("a.py", dir+"/lib/l.py") },
		"another link": func(dir string) error { return os.Symlink("b.py", dir+"/lib/l.py") },
		"files swapped": func(dir string) error {
			os.Rename(dir+"/lib/a.py", dir+"/x")
			os.Rename(dir+"/lib/b.py", dir+"/lib/a.py")
			return os.Rename(dir+"/x", dir+"/lib/b.py")
		},
	} {
		dir := tree(t, files)
		if err := change(dir); err != nil {
			t.Fatal(err)
		}
		if digest(dir) == first {
			t.Errorf("%s: the digest is the same", name)
		}
	}
	for _, name := range []string{"__pycache__/a.pyc", ".git/HEAD", "lib/__pycache__/b.pyc"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if digest(dir) != first {
		t.Error("what running leaves changed the digest")
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(reference))
	f.Add([]byte(nest(reference)))
	f.Add([]byte("plugin: {runtime: 3}"))
	f.Add([]byte("configuration: {a: {items: {items: {default: [1]}}}}"))
	f.Fuzz(func(t *testing.T, src []byte) {
		m, _, err := ParseManifest("f", src)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Errorf("the error names no file: %v", err)
			}
			return
		}
		if err := m.ID.Validate(); err != nil || !filepath.IsLocal(m.Runtime.EntryPoint) {
			t.Errorf("accepted %+v", m)
		}
		if _, err := m.Configuration.Apply(nil); err != nil && !strings.Contains(err.Error(), "is required") {
			t.Errorf("the defaults do not fit their own schema: %v", err)
		}
	})
}

func TestRunsAreWarmUnlessTheManifestSaysNo(t *testing.T) {
	for text, cold := range map[string]bool{"": false, ", warm: true": false, ", warm: false": true} {
		m, _, err := ParseManifest("f", []byte("{id: a, version: 1.0.0, type: action, runtime: {entry_point: main.py"+text+"}}"))
		if err != nil || m.Runtime.Cold != cold {
			t.Errorf("%q: cold %v, %v; want %v", text, m.Runtime.Cold, err, cold)
		}
	}
}
