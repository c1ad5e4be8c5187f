package strictyaml

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
)

type step struct {
	Name string         `yaml:"name"`
	With map[string]any `yaml:"with"`
}

type kind string

type sample struct {
	Kind  kind           `yaml:"kind"`
	Port  int            `yaml:"port"`
	On    bool           `yaml:"on"`
	Rate  float64        `yaml:"rate"`
	Steps []step         `yaml:"steps"`
	Named map[string]int `yaml:"named"`
	Self  self           `yaml:"self"`
	Inner struct {
		Path string `yaml:"path"`
	} `yaml:"inner"`
}

type self struct{ text string }

func (s *self) UnmarshalYAML(n *yaml.Node) error {
	if n.Value == "bad" {
		return errors.New("must not be bad")
	}
	s.text = n.Value
	return nil
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"unknown", "prot: 1\n", `f:1:1: unknown key "prot": did you mean "port"?`},
		{"unknown, nothing near", "zebra: 1\n", `f:1:1: unknown key "zebra"`},
		{"unknown inside", "inner:\n  pth: x\n", `f:2:3: unknown key "pth" in inner: did you mean "path"?`},
		{"unknown in a list", "steps:\n- name: a\n  wth: {}\n", `f:3:3: unknown key "wth" in steps[0]: did you mean "with"?`},
		{"twice", "port: 1\nport: 2\n", `f:2:1: key "port" stands twice: first at line 1`},
		{"twice in a map", "named: {a: 1, a: 2}\n", `f:1:15: key "a" stands twice: first at line 1`},
		{"all at once", "prot: 1\nonn: true\n", "f:1:1: unknown key \"prot\": did you mean \"port\"?\nf:2:1: unknown key \"onn\": did you mean \"on\"?"},
		{"number", "port: x\n", `f:1:7: must be a whole number, not "x"`},
		{"bool", "on: 3\n", `f:1:5: must be true or false, not "3"`},
		{"list", "steps: 3\n", `f:1:8: must be a list, not "3"`},
		{"mapping", "inner: []\n", `f:1:8: must be a mapping, not a list`},
		{"named text", "kind: []\n", `f:1:7: must not be a list`},
		{"named struct", "steps: [x]\n", `f:1:9: must not be "x"`},
		{"own type", "self: bad\n", `f:1:7: must not be bad`},
		{"two documents", "port: 1\n---\nport: 2\n", "f: holds more than one document: keep one a file and remove the '---' between them"},
		{"syntax", "port: [1\n", "f:2:1: did not find expected ',' or ']' (while parsing a flow sequence that begins at line 1)"},
		{"alias", "port: &p 1\n", "f:1:7: anchors and aliases are not taken here: write the value out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Load("f", []byte(c.in), new(sample))
			if got := fmt.Sprint(err); got != c.want {
				t.Errorf("Load(%q)\n got %s\nwant %s", c.in, got, c.want)
			}
		})
	}
}

func TestSizeIsBounded(t *testing.T) {
	_, err := Load("f", make([]byte, MaxBytes+1), new(sample))
	if err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("err = %v, want a refusal by size", err)
	}
}

func TestEmptyIsNothing(t *testing.T) {
	for _, in := range []string{"", "# only a comment\n", "---\n"} {
		if _, err := Load("f", []byte(in), new(sample)); err != nil {
			t.Errorf("Load(%q): %v", in, err)
		}
	}
}

func TestWarnUnknown(t *testing.T) {
	var v sample
	doc, err := Load("f", []byte("port: 1\nextra: 2\n"), &v, WarnUnknown())
	if err != nil || v.Port != 1 {
		t.Fatalf("Load: %+v, %v", v, err)
	}
	if diff := cmp.Diff(Errors{{"f", 2, 1, `unknown key "extra"`}}, doc.Unknown()); diff != "" {
		t.Errorf("unknown (-want +got):\n%s", diff)
	}
}

func TestPositions(t *testing.T) {
	doc, err := Load("f", []byte("steps:\n  - name: a\n    with:\n      path: /x\n"), new(sample))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path []any
		want string
	}{
		{[]any{"steps", 0, "with", "path"}, "f:4:13: m"},
		{[]any{"steps", 0, "with", "absent"}, "f:4:7: m"},
		{[]any{"steps", 7}, "f:2:3: m"},
		{nil, "f:1:1: m"},
	} {
		if got := doc.Errorf(c.path, "m").Error(); got != c.want {
			t.Errorf("Errorf(%v) = %s, want %s", c.path, got, c.want)
		}
	}
	if !doc.Has([]any{"steps", 0}) || doc.Has([]any{"steps", 1}) {
		t.Error("Has is wrong about steps")
	}
}

func TestNearest(t *testing.T) {
	names := []string{"timeout", "plugin", "with", "when"}
	for word, want := range map[string]string{"timout": "timeout", "plugins": "plugin", "wth": "with", "xyz": "", "": ""} {
		if got := Nearest(word, names); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte("port: 1\nsteps: [{name: a, with: {b: [1]}}]\n"))
	f.Add([]byte(strings.Repeat("[", 500)))
	f.Add([]byte("a: &x [*x]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		doc, err := Load("f", b, new(sample))
		if err == nil && doc == nil {
			t.Error("no document and no error")
		}
	})
}
