package plugins

import (
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/plugin"
)

// kinds maps the folder of a plugin to the kind that its manifest must have.
var kinds = map[string]plugin.Kind{"sensors": plugin.Sensor, "actions": plugin.Action, "outputs": plugin.Output}

// official gives every plugin's manifest and code.
func official(t *testing.T, check func(t *testing.T, dir string, m plugin.Manifest, code string)) {
	t.Helper()
	dirs, err := fs.Glob(Official, "*/*")
	if err != nil {
		t.Fatal(err)
	}
	if len(dirs) != 28 {
		t.Fatalf("found %d: %v", len(dirs), dirs)
	}
	for _, dir := range dirs {
		t.Run(dir, func(t *testing.T) {
			file := path.Join(dir, plugin.ManifestName)
			src, err := Official.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			code := ""
			for _, module := range modules(t, dir) {
				text, err := Official.ReadFile(module)
				if err != nil {
					t.Fatal(err)
				}
				code += string(text)
			}
			m, warnings, err := plugin.ParseManifest(file, src)
			if err != nil {
				t.Fatal(err)
			}
			if err := warnings.Err(); err != nil {
				t.Error(err)
			}
			check(t, dir, m, code)
		})
	}
}

// modules are the Python files of a plugin.
func modules(t *testing.T, dir string) []string {
	t.Helper()
	found, err := fs.Glob(Official, path.Join(dir, "*.py"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// What is on disk beside the tests is embedded, and no module stands twice: what several
// plugins need is in the SDK.
func TestEveryModuleIsCarriedOnce(t *testing.T) {
	all, err := filepath.Glob("*/*/*.py")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]string{}
	for _, file := range all {
		name := filepath.Base(file)
		if strings.HasPrefix(name, "test_") {
			continue
		}
		if _, err := Official.ReadFile(filepath.ToSlash(file)); err != nil {
			t.Errorf("%v: name it in embed.go", err)
		}
		if before, found := known[name]; found && name != "main.py" {
			t.Errorf("%s is in %s too: put it into the SDK's tools", file, before)
		}
		known[name] = file
	}
}

func TestManifestsAreCompleteAndInTheirPlace(t *testing.T) {
	official(t, func(t *testing.T, dir string, m plugin.Manifest, _ string) {
		if want := path.Base(dir); string(m.ID) != want {
			t.Errorf("id = %q, want the directory's name %q", m.ID, want)
		}
		if want := kinds[path.Dir(dir)]; m.Kind != want {
			t.Errorf("kind = %v, want %v", m.Kind, want)
		}
		if m.Description == "" || m.Limits.Memory == 0 || m.Limits.CPU == 0 || m.Limits.ExecutionTime == 0 {
			t.Errorf("description and limits must be there: %q, %+v", m.Description, m.Limits)
		}
		for _, p := range append(m.Configuration[:len(m.Configuration):len(m.Configuration)], m.Parameters...) {
			if p.Description == "" {
				t.Errorf("%s has no description", p.Name)
			}
		}
	})
}

// What the code reads as an attribute must be there in every run; what it reads
// with get may be absent but must be known.
var (
	attribute = regexp.MustCompile(`\b(config|params)\.(\w+)\b(?:[^(]|$)`)
	optional  = regexp.MustCompile(`\b(config|params)\.get\("(\w+)"`)
)

func permissions(m plugin.Manifest) []string {
	p := m.Permissions
	return slices.Concat(p.Read, p.Write, p.Stat, p.Network.Destinations)
}

// What an official plugin reaches is either known when it is written, or named by the
// owner of each host: none asks for everything.
func TestLeastPrivilege(t *testing.T) {
	official(t, func(t *testing.T, _ string, m plugin.Manifest, _ string) {
		if m.Permissions.Network.All || slices.Contains(permissions(m), "/") {
			t.Errorf("asks for everything: %+v", m.Permissions)
		}
	})
}

func TestManifestsAndCodeAgree(t *testing.T) {
	official(t, func(t *testing.T, _ string, m plugin.Manifest, code string) {
		schemas := map[string]plugin.Schema{"config": m.Configuration, "params": m.Parameters}
		for _, found := range attribute.FindAllStringSubmatch(code, -1) {
			p, ok := schemas[found[1]].Property(found[2])
			if !ok || !p.Required && p.Default == nil {
				t.Errorf("main.py reads %s.%s: the manifest must require it or give it a default", found[1], found[2])
			}
		}
		for _, found := range optional.FindAllStringSubmatch(code, -1) {
			p, ok := schemas[found[1]].Property(found[2])
			if !ok || p.Required || p.Default != nil {
				t.Errorf("main.py reads %s.get(%q): the manifest must have it, neither required nor with a default", found[1], found[2])
			}
		}
		for name, schema := range schemas {
			for _, p := range schema {
				fills := name == "config" && slices.Contains(permissions(m), "${config."+p.Name+"}")
				if !fills && !regexp.MustCompile(`\b`+p.Name+`\b`).MatchString(code) {
					t.Errorf("main.py never reads %s.%s, and no permission does", name, p.Name)
				}
			}
		}
	})
}
