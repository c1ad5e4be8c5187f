package plugins

import (
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// owners is what a host's owner writes in config/plugins, as far as an example shows it.
type owners struct {
	Plugin   string         `yaml:"plugin"`
	Interval string         `yaml:"interval"`
	Config   map[string]any `yaml:"config"`
}

// step is one of a workflow.
type step struct {
	Plugin string         `yaml:"plugin"`
	With   map[string]any `yaml:"with"`
	On     []string       `yaml:"on"`
}

// steps is the part of a workflow that an example shows.
type steps struct {
	Actions []step `yaml:"actions"`
	Outputs []step `yaml:"outputs"`
}

var fence = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```")

// load decodes an example strictly.
func load(t *testing.T, file, text string, into any) {
	t.Helper()
	if _, err := strictyaml.Load(file, []byte(text), into, strictyaml.WarnUnknown()); err != nil {
		t.Errorf("%v in\n%s", err, text)
	}
}

// Each README has an example that its plugin takes, and tells of every key, event and parameter.
func TestReadmesAreRight(t *testing.T) {
	official(t, func(t *testing.T, dir string, m plugin.Manifest, code string) {
		file := path.Join(dir, "README.md")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		examples := 0
		for _, found := range fence.FindAllStringSubmatch(string(text), -1) {
			switch example := found[1]; {
			case strings.HasPrefix(example, "plugin: "):
				examples++
				ownersExample(t, m, file, example)
			case strings.HasPrefix(example, "- plugin: "):
				stepsExample(t, m, file, "actions:\n  "+strings.ReplaceAll(example, "\n", "\n  "))
			case strings.HasPrefix(example, "outputs:\n"):
				stepsExample(t, m, file, example)
			}
		}
		if examples == 0 {
			t.Errorf("%s has no example that begins with `plugin:`", file)
		}
		told := string(text)
		for _, p := range slices.Concat(m.Configuration, m.Parameters) {
			if !strings.Contains(told, "`"+p.Name+"`") && !strings.Contains(told, p.Name+":") {
				t.Errorf("%s does not tell of %s", file, p.Name)
			}
		}
		for _, emitted := range regexp.MustCompile(`emit\("([a-z.]+[a-z])"`).FindAllStringSubmatch(code, -1) {
			if !strings.Contains(told, "`"+emitted[1]+"`") {
				t.Errorf("%s does not tell of event %s", file, emitted[1])
			}
		}
	})
}

func ownersExample(t *testing.T, m plugin.Manifest, file, text string) {
	t.Helper()
	var o owners
	load(t, file, text, &o)
	values, err := plugin.Values(o.Config)
	if err == nil {
		_, err = m.Configuration.Apply(values)
	}
	if err != nil || o.Plugin != string(m.ID) {
		t.Errorf("%s: plugin %s does not take its example for %s: %v", file, m.ID, o.Plugin, err)
	}
}

func stepsExample(t *testing.T, m plugin.Manifest, file, text string) {
	t.Helper()
	var s steps
	load(t, file, text, &s)
	for _, one := range slices.Concat(s.Actions, s.Outputs) {
		if one.Plugin != string(m.ID) {
			t.Errorf("%s: an example is for %s", file, one.Plugin)
		}
		for name := range one.With {
			if _, known := m.Parameters.Property(name); !known && m.Kind == plugin.Action {
				t.Errorf("%s: an example sets %s, which is no parameter", file, name)
			}
		}
	}
	if len(s.Actions)+len(s.Outputs) == 0 {
		t.Errorf("%s: an example has no step", file)
	}
}
