package plugin

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func rawList(items ...string) []json.RawMessage {
	out := make([]json.RawMessage, len(items))
	for i, item := range items {
		out[i] = json.RawMessage(item)
	}
	return out
}

// object decodes a JSON object into raw values.
func object(t *testing.T, s string) map[string]json.RawMessage {
	t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal([]byte(s), &m); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return m
}

func schemaOf(t *testing.T, configuration string) Schema {
	t.Helper()
	m, _, err := ParseManifest("f", []byte("id: a\nversion: 1.0.0\ntype: action\nruntime: {entry_point: main.py}\nconfiguration:\n"+configuration))
	if err != nil {
		t.Fatal(err)
	}
	return m.Configuration
}

const various = `  number: {type: number, minimum: 0, maximum: 100}
  whole: {type: integer}
  text: {type: string, pattern: "^/", min_length: 2, max_length: 5}
  flag: {type: boolean}
  list: {type: array, items: {type: integer, maximum: 9}, max_length: 3}
  thing: {type: object}
  choice: {type: string, enum: [a, b]}
  level: {type: integer, enum: [1, 2]}
  hidden: {type: integer, secret: true}
`

func TestApplyConvertsWithoutLoss(t *testing.T) {
	s := schemaOf(t, various)
	for _, c := range []struct{ in, want string }{
		{`{}`, `{}`},
		{`{"number": 85.5, "whole": 3, "flag": false}`, `{"number": 85.5, "whole": 3, "flag": false}`},
		{`{"number": "85.5", "whole": "3", "flag": "true"}`, `{"number": 85.5, "whole": 3, "flag": true}`},
		{`{"whole": 5.0}`, `{"whole": 5}`},
		{`{"whole": 1e3}`, `{"whole": 1000}`},
		{`{"whole": 9007199254740993}`, `{"whole": 9007199254740993}`},
		{`{"list": [1, "2", 3.0]}`, `{"list": [1, 2, 3]}`},
		{`{"thing": {"a": [1]}}`, `{"thing": {"a": [1]}}`},
		{`{"level": "2", "choice": "b"}`, `{"level": 2, "choice": "b"}`},
		{`{"number": null, "text": null}`, `{}`},
		{`{"text": "/é/é"}`, `{"text": "/é/é"}`},
	} {
		got, err := s.Apply(object(t, c.in))
		if err != nil {
			t.Errorf("Apply(%s): %v", c.in, err)
			continue
		}
		squeeze := cmpopts.AcyclicTransformer("text", func(r json.RawMessage) string { return strings.ReplaceAll(string(r), " ", "") })
		if diff := cmp.Diff(object(t, c.want), got, squeeze); diff != "" {
			t.Errorf("Apply(%s) (-want +got):\n%s", c.in, diff)
		}
	}
}

func TestApplyRefuses(t *testing.T) {
	s := schemaOf(t, various)
	for _, c := range []struct{ in, want string }{
		{`{"number": "many"}`, `number: must be a number, is many`},
		{`{"number": "0x10"}`, `number: must be a number`},
		{`{"number": "Inf"}`, `number: must be a number`},
		{`{"number": 100.1}`, `number: must be at most 100, is 100.1`},
		{`{"number": -1}`, `number: must be at least 0, is -1`},
		{`{"whole": 1.5}`, `whole: must be a whole number, is 1.5`},
		{`{"whole": 1e30}`, `whole: must be a whole number`},
		{`{"flag": 1}`, `flag: must be true or false, is 1`},
		{`{"flag": "yes"}`, `flag: must be true or false`},
		{`{"text": ["/"]}`, `text: must be text`},
		{`{"text": "relative"}`, `text: must have at most 5 characters, has 8`},
		{`{"text": "rel"}`, `text: must match ^/, is "rel"`},
		{`{"text": "/"}`, `text: must have at least 2 characters`},
		{`{"list": 1}`, `list: must be a list`},
		{`{"list": [1, 10]}`, `list: item 2: must be at most 9, is 10`},
		{`{"list": [1, 2, 3, 4]}`, `list: must have at most 3 items, has 4`},
		{`{"thing": []}`, `thing: must be an object`},
		{`{"choice": "c"}`, `choice: must be one of "a", "b", is "c"`},
		{`{"numbr": 1}`, `numbr: is not known: did you mean "number"?`},
		{`{"x": 1}`, `x: is not known: the plugin takes number, whole,`},
	} {
		if got, err := s.Apply(object(t, c.in)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Apply(%s) = %v, %v; want %s", c.in, got, err, c.want)
		}
	}
	_, err := s.Apply(object(t, `{"hidden": "geheim", "number": 200}`))
	if err == nil || strings.Contains(err.Error(), "geheim") || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("err = %v; want two mistakes and no secret", err)
	}
}

// What is in a secret list is as secret, however deep.
func TestErrorsHideTheItemsOfASecret(t *testing.T) {
	s := schemaOf(t, `
  pins: {type: array, secret: true, items: {type: integer, minimum: 5}}
  keys: {type: array, secret: true, items: {type: string, pattern: "^k-"}}
  deep: {type: array, secret: true, items: {type: array, items: {type: string, enum: [a]}}}
  open: {type: array, items: {type: array, secret: true, items: {type: integer}}}
`)
	for _, in := range []string{`{"pins": ["geheim"]}`, `{"pins": [3]}`, `{"keys": ["k-1", "geheim"]}`, `{"deep": [["a", "geheim"]]}`, `{"open": [["geheim"]]}`} {
		_, err := s.Apply(object(t, in))
		if err == nil || strings.Contains(err.Error(), "geheim") || !strings.Contains(err.Error(), "something else") {
			t.Errorf("Apply(%s): %v; want a mistake and no secret", in, err)
		}
	}
}

func TestApplyFillsDefaults(t *testing.T) {
	s := schemaOf(t, "  threshold: {type: number, default: \"85\"}\n  mounts: {type: list, default: []}\n  name: {type: string, required: true}\n  off: {type: boolean, default: false}\n")
	got, err := s.Apply(object(t, `{"name": "x", "off": true}`))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]json.RawMessage{"threshold": []byte("85"), "mounts": []byte("[]"), "name": []byte(`"x"`), "off": []byte("true")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := s.Apply(nil); err == nil || err.Error() != "name: is required" {
		t.Errorf("err = %v", err)
	}
	free := object(t, `{"anything": {"goes": 1}}`)
	if got, err := (Schema)(nil).Apply(free); err != nil || len(got) != 1 {
		t.Errorf("without a schema: %v, %v", got, err)
	}
}

func TestValues(t *testing.T) {
	got, err := Values(map[string]any{"a": 1, "b": []any{"x", map[string]any{"c": nil}}})
	if err != nil || string(got["b"]) != `["x",{"c":null}]` {
		t.Errorf("Values = %s, %v", got, err)
	}
	if _, err := Values(map[string]any{"m": map[any]any{1: 2}}); err == nil || !strings.HasPrefix(err.Error(), "m: ") {
		t.Errorf("err = %v; want one that names the key", err)
	}
}

func TestFlags(t *testing.T) {
	s := schemaOf(t, "  cpu_trigger_percentage: {type: number}\n  verbose: {type: boolean}\n  hosts: {type: list}\n  unset: {type: string, default: x}\n")
	for _, c := range []struct {
		in   string
		want []string
	}{
		{`{"cpu_trigger_percentage": 50}`, []string{"--cpu-trigger-percentage", "50"}},
		{`{"zeta": "z", "alpha": "a b", "hosts": ["x", "y", 3], "verbose": true, "cpu_trigger_percentage": 5.5}`,
			[]string{"--cpu-trigger-percentage", "5.5", "--verbose", "--hosts", "x", "y", "3", "--alpha", "a b", "--zeta", "z"}},
		{`{"verbose": false, "hosts": [], "zeta": null}`, nil},
		{`{"offset": -5, "name": "--help", "deep": {"a": 1}}`, []string{"--deep", `{"a": 1}`, "--name=--help", "--offset", "-5"}},
	} {
		got, err := Flags(object(t, c.in), s)
		if err != nil {
			t.Errorf("Flags(%s): %v", c.in, err)
		}
		if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("Flags(%s) (-want +got):\n%s", c.in, diff)
		}
	}
	for _, in := range []string{`{"hosts": ["a", "--rm"]}`, `{"name": "a\u0000b"}`, `{"hosts": ["a\u0000"]}`} {
		if got, err := Flags(object(t, in), s); err == nil {
			t.Errorf("Flags(%s) = %q", in, got)
		}
	}
}
