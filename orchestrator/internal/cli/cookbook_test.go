package cli

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/plugins"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// official are the manifests of the official plugins.
func official(t *testing.T) map[api.PluginID]plugin.Manifest {
	t.Helper()
	files, err := fs.Glob(plugins.Official, "*/*/"+plugin.ManifestName)
	if err != nil || len(files) == 0 {
		t.Fatalf("%d manifests, %v", len(files), err)
	}
	out := map[api.PluginID]plugin.Manifest{}
	for _, file := range files {
		src, err := plugins.Official.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m, _, err := plugin.ParseManifest(file, src)
		if err != nil {
			t.Fatal(err)
		}
		out[m.ID] = m
	}
	return out
}

// fits checks what the tests of a workflow give its steps against their plugins.
func fits(t *testing.T, d *workflow.Definition, known map[api.PluginID]plugin.Manifest) {
	t.Helper()
	steps := append(append([]workflow.StepDefinition{}, d.Actions...), d.Outputs...)
	plugged := map[string]api.PluginID{}
	for _, s := range steps {
		if s.Plugin == "" { // it waits for an event, or for people
			continue
		}
		plugged[s.ID] = s.Plugin
		if s.Undo != nil {
			plugged[s.Undo.ID] = s.Undo.Plugin
		}
		if _, ok := known[s.Plugin]; !ok {
			t.Errorf("%s: step %s: there is no official plugin %s", d.Name, s.ID, s.Plugin)
		}
	}
	started := map[string]bool{}
	trials, err := d.TryAll(t.Context())
	if err != nil {
		t.Error(err)
	}
	for _, trial := range trials {
		for step, input := range trial.Inputs {
			step, _, _ = strings.Cut(step, "[") // on one of several agents
			step, _, _ = strings.Cut(step, "@") // about an approval
			started[step] = true
			m := known[plugged[step]]
			if len(m.Parameters) == 0 {
				continue
			}
			if _, err := m.Parameters.Apply(input); err != nil {
				t.Errorf("%s: test %q: step %s: %v", d.Name, trial.Name, step, err)
			}
		}
	}
	for step := range plugged {
		if !started[step] {
			t.Errorf("%s: no test starts step %s", d.Name, step)
		}
	}
	if len(trials) < 2 {
		t.Errorf("%s: %d tests", d.Name, len(trials))
	}
}

func parsed(t *testing.T, file, text string) *workflow.Definition {
	t.Helper()
	d, err := workflow.Parse(file, []byte(text))
	if err != nil {
		t.Error(err)
	}
	return d
}

func TestCookbook(t *testing.T) {
	known := official(t)
	files, err := filepath.Glob("../../../docs/cookbook/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d workflows, %v", len(files), err)
	}
	index, err := os.ReadFile("../../../docs/cookbook/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := parsed(t, file, string(text)); d != nil {
				fits(t, d, known)
			}
			if !strings.Contains(string(index), "("+filepath.Base(file)+")") {
				t.Error("the index does not link it")
			}
		})
	}
}

var yamlBlock = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")

// Every document that the language's page shows is right, and its tests pass.
func TestLanguagePage(t *testing.T) {
	text, err := os.ReadFile("../../../docs/workflows.md")
	if err != nil {
		t.Fatal(err)
	}
	documents := 0
	for n, block := range yamlBlock.FindAllStringSubmatch(string(text), -1) {
		if !strings.HasPrefix(block[1], "name:") {
			continue // a part of one
		}
		documents++
		if d := parsed(t, fmt.Sprintf("docs/workflows.md, block %d", n+1), block[1]); d != nil {
			if _, err := d.TryAll(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	if documents < 2 {
		t.Errorf("%d documents", documents)
	}
}

// What the official plugins' pages show of workflows is right: their expressions read what
// there is, and their values are what the plugin takes.
func TestPluginPages(t *testing.T) {
	pages, err := filepath.Glob("../../../plugins/*/*/README.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for n, block := range yamlBlock.FindAllStringSubmatch(string(text), -1) {
			name := fmt.Sprintf("%s, block %d", path.Join("plugins", page), n+1)
			switch {
			case strings.HasPrefix(block[1], "- "):
				shown++
				parsed(t, name, "name: page\ntriggers: [{event: a}]\nactions:\n"+block[1])
			case strings.HasPrefix(block[1], "outputs:"), strings.HasPrefix(block[1], "actions:"):
				shown++
				parsed(t, name, "name: page\ntriggers: [{event: a}]\n"+block[1])
			}
		}
	}
	if shown < 8 {
		t.Errorf("%d examples", shown)
	}
}

// The commands that the language's page begins with do what it says, with its first document.
func TestLanguagePageCommands(t *testing.T) {
	page, err := os.ReadFile("../../../docs/workflows.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := regexp.MustCompile("(?ms)^```bash\n(.*?)^```$").FindStringSubmatch(string(page))
	document := yamlBlock.FindStringSubmatch(string(page))
	if commands == nil || document == nil {
		t.Fatal("there is no first document, or there are no commands")
	}
	s := servertest.Start(t)
	t.Chdir(t.TempDir())
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile("clean.yaml", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(document[1] + "cooldown: 1h\n") // the version before, to go back to
	if code, _, errs := run(t, "--data-dir", s.DataDir, "workflow", "apply", "-f", "clean.yaml"); code != exitOK {
		t.Fatal(errs)
	}
	write(document[1])
	ran := 0
	for line := range strings.Lines(commands[1]) {
		line, _, _ = strings.Cut(line, "#")
		line, _, _ = strings.Cut(line, ">")
		args := strings.Fields(line)
		if len(args) == 0 {
			continue
		}
		ran++
		code, out, errs := run(t, append([]string{"--data-dir", s.DataDir}, args[1:]...)...)
		if args[0] != "stavily" || code != exitOK || out == "" {
			t.Errorf("%s = %d, %q %s", line, code, out, errs)
		}
	}
	if ran < 7 {
		t.Errorf("%d commands", ran)
	}
}
