package kit

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/stavily/agents/shared/pkg/plugin"
)

// python is the interpreter of the tests.
func python() string { return cmp.Or(os.Getenv("PYTHON"), "python3") }

// command runs one of the commands as the program stavily has them.
func command(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	root := &cobra.Command{Use: "stavily", SilenceErrors: true, SilenceUsage: true}
	root.PersistentFlags().StringP("output", "o", "table", "")
	root.AddCommand(Commands()...)
	var b strings.Builder
	root.SetOut(&b)
	root.SetErr(&b)
	root.SetArgs(args)
	err = root.ExecuteContext(t.Context())
	return b.String(), err
}

func TestNewMakesValidPlugins(t *testing.T) {
	dir := t.TempDir()
	for _, kind := range []string{"sensor", "action", "output"} {
		for _, name := range []string{"x", "disk-space", "1.2_three", "import", "os", "session", "stavily", "-"} {
			name = strings.Trim(name, "-")
			if name == "" {
				continue
			}
			id := kind + "." + name
			if kind == "sensor" {
				id = name
			}
			if out, err := command(t, "plugin", "new", id, "--type", kind, "--dir", dir); err != nil {
				t.Fatalf("%s: %v\n%s", id, err, out)
			}
			v, err := validate(t.Context(), filepath.Join(dir, id), python())
			if err != nil || !v.Valid || len(v.Warnings) > 0 {
				t.Errorf("%s: %+v, %v", id, v, err)
			}
			p, _, err := plugin.Load(filepath.Join(dir, id))
			if err != nil || string(p.ID) != id || string(p.Kind) != kind {
				t.Errorf("%s: %+v, %v", id, p, err)
			}
		}
	}
	before, err := os.ReadFile(filepath.Join(dir, "x", "main.py"))
	if err != nil || strings.Contains(string(before), "[[") {
		t.Errorf("a template is not filled in: %v\n%s", err, before)
	}
	if out, err := command(t, "plugin", "new", "x", "--type", "action", "--dir", dir); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("it is made again: %v\n%s", err, out)
	}
	if after, err := os.ReadFile(filepath.Join(dir, "x", "main.py")); err != nil || string(after) != string(before) {
		t.Errorf("what was there is changed: %v", err)
	}
}

func TestNewRefusesNames(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{
		{"../x", "--type", "sensor"}, {"X", "--type", "sensor"}, {"a b", "--type", "sensor"}, {"a/b", "--type", "sensor"}, {strings.Repeat("a", 64), "--type", "sensor"},
		{"--type", "sensor", "--", "-o"}, {"ok"}, {"ok", "--type", "monitor"}, {"--type", "sensor"}, {".", "--type", "sensor"}, {"", "--type", "sensor"},
	} {
		if out, err := command(t, append([]string{"plugin", "new", "--dir", dir}, args...)...); err == nil {
			t.Errorf("new %q: %s", args, out)
		}
	}
	if made, err := os.ReadDir(dir); err != nil || len(made) > 0 {
		t.Errorf("made %v, %v", made, err)
	}
}

// Every mistake has its place, and one does not hide another.
func TestValidate(t *testing.T) {
	dir := pluginDir(t, map[string]string{
		"plugin.yaml": `type: sensr
runtime: {type: python, entry_point: main.py, contract: stdio}
configuration:
  limit: {type: integer, default: many}
`, "main.py": "def f(:\n    pass\n", "more.py": "x = (\n"})
	out, err := command(t, "plugin", "validate", dir)
	if err == nil || !strings.Contains(err.Error(), "has 4 mistakes") {
		t.Errorf("%v\n%s", err, out)
	}
	for _, want := range []string{"plugin.yaml:5:7: type: must be", "plugin.yaml:8:35: configuration.limit.default:", "main.py:1:", "more.py:1:"} {
		if !strings.Contains(out, filepath.Join(dir, want)) {
			t.Errorf("without %s:\n%s", want, out)
		}
	}
	dir = pluginDir(t, map[string]string{
		"plugin.yaml": sensorManifest + `configuration:
  limit: {type: integer, default: 1, required: true, examples: [2, x]}
  token: {type: string, secret: true, default: a, description: d}
`, "main.py": sensing("config.limit, config['limt'], config.get('tokn'), config.items()")})
	v, err := validate(t.Context(), dir, python())
	if err != nil || v.Valid || len(v.Mistakes) != 2 || !strings.Contains(v.Mistakes[0].String(), "main.py:7:19: look() reads 'limt'") {
		t.Errorf("%+v, %v", v, err)
	}
	var warnings []string
	for _, w := range v.Warnings {
		warnings = append(warnings, strings.TrimPrefix(w.String(), dir+"/"))
	}
	want := []string{
		`plugin.yaml:8:10: configuration.limit: has no description: people who set it see nothing else`,
		`plugin.yaml:8:10: configuration.limit: is required and has a default: the default always holds, so leave ` + "`required`" + ` out`,
		`plugin.yaml:8:10: configuration.limit: the example "x" does not hold: limit: must be a whole number, is x`,
		`plugin.yaml:9:10: configuration.token: is secret and has a default that everybody can read`,
	}
	if !slices.Equal(warnings, want) {
		t.Errorf("warnings\n%s\nwant\n%s", strings.Join(warnings, "\n"), strings.Join(want, "\n"))
	}
	if _, err := command(t, "plugin", "validate", t.TempDir()); err == nil || !strings.Contains(err.Error(), "plugin.yaml") {
		t.Errorf("an empty directory: %v", err)
	}
}

// What is wrong with a manifest is all that is said of a plugin that has no Python.
func TestValidateWithoutPython(t *testing.T) {
	dir := pluginDir(t, map[string]string{"plugin.yaml": "type: sensor\nruntime: {type: bash, entry_point: main.sh, contract: stdio}\n", "main.sh": "#!/bin/sh\n"})
	manifest := filepath.Join(dir, "plugin.yaml")
	text, err := os.ReadFile(manifest)
	if err := errors.Join(err, os.WriteFile(manifest, []byte(strings.Replace(string(text), "version: 1.0.0", "version: one", 1)), 0o600)); err != nil {
		t.Fatal(err)
	}
	v, err := validate(t.Context(), dir, python())
	if err != nil || v.Valid || len(v.Mistakes) != 1 || !strings.Contains(v.Mistakes[0].String(), "version") || len(v.Warnings) > 0 {
		t.Errorf("%+v, %v; want the version alone", v, err)
	}
}

// Whoever reads the help of a command finds an example.
func TestHelpHasExamples(t *testing.T) {
	for _, group := range Commands() {
		for _, c := range group.Commands() {
			if c.Example == "" || c.Short == "" {
				t.Errorf("%s has no example", c.CommandPath())
			}
		}
	}
}

func TestSampleTakesWhatTheSchemaOffers(t *testing.T) {
	dir := pluginDir(t, map[string]string{"plugin.yaml": actionManifest + `parameters:
  path: {type: string, required: true, examples: [/a, /b]}
  mode: {type: string, required: true, enum: [fast, slow]}
  times: {type: integer}
`, "main.py": acting("pass")})
	p, _, err := plugin.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := setting{config: valuesFlag{}, params: valuesFlag{}}
	if err := s.params.Set("times=3"); err != nil {
		t.Fatal(err)
	}
	i, err := s.instruction(p, 1)
	if err != nil || string(i.InputData["path"]) != `"/a"` || string(i.InputData["mode"]) != `"fast"` || string(i.InputData["times"]) != "3" {
		t.Errorf("%s, %v", i.InputData, err)
	}
	s.params["nothing"] = "x"
	if _, err := s.instruction(p, 1); err == nil || !strings.Contains(err.Error(), "--param: nothing: is not known") {
		t.Error(err)
	}
	for _, wrong := range []string{"", "x", "=1"} {
		if err := s.config.Set(wrong); err == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
}
