package plugin

import (
	"bytes"
	"encoding/json"
	goflag "flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"github.com/stavily/agents/shared/pkg/api"
)

var update = goflag.Bool("update", false, "write docs/plugins/manifest.md and manifest.schema.json anew")

const docs = "../../../docs/plugins/"

// entry is what people are told of one key of plugin.yaml, and what JSON Schema is.
type entry struct {
	key    string // as a path; the keys of a property stand under "*"
	schema string // JSON Schema of its value, without a description
	text   string // Markdown of one line
}

const (
	text    = `{"type": "string"}`
	texts   = `{"type": "array", "items": {"type": "string"}}`
	paths   = `{"type": "array", "items": {"type": "string", "pattern": "^(/|[A-Za-z]:[\\\\/]|\\$\\{config\\.[^}]+\\}$)"}}`
	number  = `{"type": "number"}`
	natural = `{"type": "integer", "minimum": 0}`
	truth01 = `{"type": "boolean"}`
	file    = `{"type": "string", "pattern": "^[^/\\\\:][^\\\\:]*$"}`
)

// entries is the manifest, in the order in which it is explained.
var entries = []entry{
	{"id", `{"type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,62}$"}`, "What the plugin is called everywhere: 1 to 63 of `a-z`, `0-9`, `.`, `_`, `-`, beginning with a letter or digit. **Required.**"},
	{"name", text, "Its name for people; the id when it is left out."},
	{"description", text, "What it does, in a sentence."},
	{"version", `{"type": "string", "pattern": "^v?[0-9]+(\\.[0-9]+){0,2}([-+][0-9A-Za-z.+-]+)?$"}`, "A [semantic version](https://semver.org). An agent never goes back to a lower one unless it is told to. **Required.**"},
	{"author", text, "Who wrote it."},
	{"license", text, "An SPDX expression, such as `Apache-2.0`."},
	{"type", `{"enum": ["trigger", "sensor", "monitor", "action", "output"]}`, "`trigger` or `sensor`: notices, and runs on sensor agents. `monitor`: a sensor of contract script. `action`: does. `output`: tells. The last two run on action agents. **Required.**"},
	{"runtime", "", "How it is run. **Required.**"},
	{"runtime.type", `{"enum": ["python", "executable", "bash", "node"]}`, "What runs the entry point; `python` when that ends in `.py`."},
	{"runtime.version", text, "Of Python: `3.8+`, a range such as `>=3.8, <4`, or a version, which means that or a later one of the same major version. An interpreter that does not fit is not used."},
	{"runtime.entry_point", file, "The file to run, below the plugin's directory. **Required.**"},
	{"runtime.requirements", file, "A file of Python requirements. They are installed into an environment of this version's own, from `wheels/` in the plugin's directory first."},
	{"runtime.contract", `{"enum": ["stdio", "script"]}`, "How agent and plugin talk: see [the contracts](contracts.md). When it is left out: `script` for a monitor; an action may turn out to be either; else `stdio`."},
	{"runtime.warm", truth01, "`false`: each run of an action or output is a new start, and never forked from a process that has done the imports."},
	{"runtime.system_packages", truth01, "`true`: the environment sees the Python packages of the system, and a requirement that they meet is not installed again."},
	{"input", `{"const": "file"}`, "Contract script: its input is given as `--input FILE`."},
	{"limits", "", "What it says that it needs. The owner's limits hold beside these: the smaller counts."},
	{"limits.memory", `{"type": ["string", "integer"], "pattern": "^[0-9]+ *([kKmMgG][iI]?)?[bB]?$", "minimum": 1}`, "Of all its processes: `64MB` (10⁶), `64MiB` (2²⁰), or bytes."},
	{"limits.cpu", `{"type": ["number", "string"], "exclusiveMinimum": 0, "maximum": 1024, "pattern": "^[0-9]*\\.?[0-9]+$"}`, "A share of one processor: `0.5` is half of one."},
	{"limits.execution_time", `{"type": ["string", "number"], "exclusiveMinimum": 0}`, "Of one run or check: `180s`, `5m`, a number of seconds, or `unlimited`."},
	{"permissions", "", "What it asks to reach. The host's owner decides: see [permissions](permissions.md). What is left out is nothing."},
	{"permissions.network", `{"anyOf": [{"type": "boolean"}, {"type": "array", "items": {"type": ["string", "integer"]}}]}`, "`false`, or a list of `host:port` and `port`, or `true` for everything, which few owners grant. `\"${config.url}\"` is what the owner configured."},
	{"permissions.filesystem", "", "Absolute paths, or `\"${config.KEY}\"` for those that the owner configures."},
	{"permissions.filesystem.read", paths, "To read: files, and directories with all below them."},
	{"permissions.filesystem.write", paths, "To read and write. A sensor is never given any."},
	{"permissions.filesystem.stat", paths, "To see names, sizes and file systems, and no content."},
	{"permissions.system_calls", texts, "For people to read; nothing checks it."},
	{"configuration", "", "What the host's owner sets, once for each monitor or for the plugin: name → property. Without it, everything is passed on unchecked."},
	{"parameters", "", "What each call of an action or output gives: name → property."},
	{"events", "", "Of a sensor: what it sends, type → name → property, as in `disk.space.high: {mount: {type: string}}`. Workflows are held to it when they are applied: a field that no event has is a mistake with line and column. It changes nothing of what runs."},
	{"*.type", `{"enum": ["string", "integer", "number", "boolean", "array", "object", "any", "str", "text", "int", "float", "double", "bool", "list", "dict", "map"]}`, "`string`, `integer`, `number`, `boolean`, `array`, `object` or `any`. A value of another type is converted where nothing is lost: `\"85\"` to 85."},
	{"*.description", text, "What it is for."},
	{"*.default", `{}`, "Taken where no value is set; checked like one."},
	{"*.required", truth01, "`true`: there must be a value."},
	{"*.secret", truth01, "`true`: the value is never shown, not in logs, not in errors, not to another plugin."},
	{"*.enum", `{"type": "array", "minItems": 1}`, "The values that it can have."},
	{"*.pattern", `{"type": "string"}`, "A regular expression ([RE2](https://github.com/google/re2/wiki/Syntax)) that the text must match somewhere."},
	{"*.minimum", number, "The smallest number."},
	{"*.maximum", number, "The largest number."},
	{"*.min_length", natural, "Of text in characters, of a list in items."},
	{"*.max_length", natural, "Of text in characters, of a list in items."},
	{"*.items", `{"$ref": "#/$defs/property"}`, "Of an array: what each item is, with the same keys."},
	{"*.format", text, "For people and forms, such as `uri`; nothing checks it."},
	{"*.examples", `{}`, "For people."},
	{"tags", texts, "Words to find it by."},
	{"categories", texts, "Words to find it by."},
}

// keysOf are the keys that the decoder reads, as paths.
func keysOf(t reflect.Type, prefix string) (out []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		key := prefix + f.Tag.Get("yaml")
		out = append(out, key)
		if f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[yaml.Node]() {
			out = append(out, keysOf(f.Type, key+".")...)
		}
	}
	return out
}

// What is told of plugin.yaml is what the decoder reads, key by key.
func TestEveryKeyIsExplained(t *testing.T) {
	read := append(keysOf(reflect.TypeFor[manifestFile](), ""), keysOf(reflect.TypeFor[propertyFile](), "*.")...)
	var told []string
	for _, e := range entries {
		told = append(told, e.key)
	}
	for _, key := range read {
		if !slices.Contains(told, key) {
			t.Errorf("%s is read and not explained: add it to entries", key)
		}
	}
	for _, key := range told {
		if !slices.Contains(read, key) {
			t.Errorf("%s is explained and not read", key)
		}
	}
}

// jsonSchemaOf is the JSON Schema of the keys below prefix.
func jsonSchemaOf(prefix string) map[string]any {
	properties := map[string]any{}
	for _, e := range entries {
		name, inside := strings.CutPrefix(e.key, prefix)
		if !inside || strings.Contains(name, ".") || name == "" {
			continue
		}
		var s map[string]any
		switch {
		case e.key == "configuration" || e.key == "parameters":
			s = map[string]any{"type": "object", "additionalProperties": map[string]any{"$ref": "#/$defs/property"}}
		case e.key == "events":
			s = map[string]any{"type": "object", "additionalProperties": map[string]any{
				"type": "object", "additionalProperties": map[string]any{"$ref": "#/$defs/property"},
			}}
		case e.schema == "":
			s = jsonSchemaOf(e.key + ".")
		default:
			if err := json.Unmarshal([]byte(e.schema), &s); err != nil {
				panic(e.key + ": " + err.Error())
			}
		}
		s["description"] = strings.NewReplacer("**", "", "`", "").Replace(e.text)
		properties[name] = s
	}
	// What is unknown is only warned of by an agent; an editor's warning is this.
	return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
}

func manifestSchema() []byte {
	flat := jsonSchemaOf("")
	flat["required"] = []string{"id", "version", "type", "runtime"}
	flat["properties"].(map[string]any)["runtime"].(map[string]any)["required"] = []string{"entry_point"}
	whole := map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"title":   "plugin.yaml of a Stavily plugin",
		"$defs":   map[string]any{"property": jsonSchemaOf("*."), "manifest": flat},
		"if":      map[string]any{"required": []string{"plugin"}},
		"then": map[string]any{
			"type": "object", "additionalProperties": false,
			"properties": map[string]any{"plugin": map[string]any{"$ref": "#/$defs/manifest"}},
		},
		"else": map[string]any{"$ref": "#/$defs/manifest"},
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(whole); err != nil {
		panic(err)
	}
	return out.Bytes()
}

const referenceHead = `# plugin.yaml

<!-- Made by shared/pkg/plugin/reference_test.go from what the agent reads; change it there. -->

Every plugin has one in its directory. All keys stand at the top, or all of them under one key ` + "`plugin:`" + `; both forms are in use. A manifest that
is not valid is refused with file, line and reason, and the plugin as it was before stays in force. A key that is not known is warned of.
` + "`stavily plugin validate DIR`" + ` checks it as an agent does, and [manifest.schema.json](manifest.schema.json) tells editors the same; with the YAML extension
of many of them, this first line does it:

` + "```yaml\n# yaml-language-server: $schema=PATH/manifest.schema.json\n```" + `

`

func referencePage() []byte {
	var out bytes.Buffer
	out.WriteString(referenceHead)
	table := func(title, intro string, take func(key string) bool) {
		fmt.Fprintf(&out, "## %s\n\n%s| key | |\n| --- | --- |\n", title, intro)
		for _, e := range entries {
			if take(e.key) {
				fmt.Fprintf(&out, "| `%s` | %s |\n", strings.TrimPrefix(e.key, "*."), strings.ReplaceAll(e.text, "|", "\\|"))
			}
		}
		out.WriteString("\n")
	}
	top := func(key string) string { first, _, _ := strings.Cut(key, "."); return first }
	table("What it is", "", func(k string) bool {
		return !strings.Contains(k, ".") && !slices.Contains([]string{"runtime", "limits", "permissions", "configuration", "parameters", "events", "input"}, k)
	})
	table("How it is run", "", func(k string) bool { return top(k) == "runtime" || k == "input" })
	table("What it needs", "", func(k string) bool { return top(k) == "limits" || top(k) == "permissions" })
	table("What it takes, and what it sends", "", func(k string) bool { return k == "configuration" || k == "parameters" || k == "events" })
	table("A property", "Of `configuration`, `parameters` and `events`, and of `items`. The SDK prints these lines from a dataclass: `python3 -m stavily.manifest main.py`.\n\n", func(k string) bool { return top(k) == "*" })
	out.WriteString("Examples: [disk-space](../../plugins/sensors/disk-space/plugin.yaml), [run-command](../../plugins/actions/run-command/plugin.yaml), [webhook](../../plugins/outputs/webhook/plugin.yaml).\n")
	return out.Bytes()
}

func TestTheReferenceIsUpToDate(t *testing.T) {
	for name, want := range map[string][]byte{"manifest.md": referencePage(), "manifest.schema.json": manifestSchema()} {
		if *update {
			if err := os.WriteFile(docs+name, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(docs + name)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("docs/plugins/%s is not what the decoder says (%v): go test ./shared/pkg/plugin -run TestTheReference -update", name, err)
		}
	}
}

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	published, err := os.ReadFile(docs + "manifest.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(published))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("manifest.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// judge gives what the schema and what the decoder say of a manifest.
func judge(t *testing.T, s *jsonschema.Schema, src []byte) (bySchema, byDecoder error) {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(src, &v); err != nil {
		t.Fatalf("%v in %s", err, src)
	}
	raw, err := toJSON(v)
	if err != nil {
		t.Fatal(err)
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	_, byDecoder = decodeManifest("plugin.yaml", src)
	return s.Validate(instance), byDecoder
}

// Real manifests fit the schema that editors get, in both forms.
func TestRealManifestsFitTheSchema(t *testing.T) {
	s := compiled(t)
	found := 0
	for _, pattern := range []string{"../../../plugins/*/*/plugin.yaml", "../../../kit/templates/*/plugin.yaml", "../../../test/e2e/testdata/*/plugin.yaml", "../../../test/e2e/testdata/*/*/plugin.yaml"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			src, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			src = regexp.MustCompile(`\[\[[a-z]+\]\]`).ReplaceAll(src, []byte("x")) // of a template
			found++
			nested := append([]byte("plugin:\n"), bytes.ReplaceAll(append([]byte("  "), src...), []byte("\n"), []byte("\n  "))...)
			for form, src := range map[string][]byte{"flat": src, "nested": nested} {
				if bytes.HasPrefix(bytes.TrimSpace(src), []byte("plugin:\n  plugin:")) {
					continue // it is nested itself
				}
				if bySchema, byDecoder := judge(t, s, src); bySchema != nil || byDecoder != nil {
					t.Errorf("%s, %s: schema: %v, decoder: %v", name, form, bySchema, byDecoder)
				}
			}
		}
	}
	if found < 5 {
		t.Errorf("only %d manifests were looked at", found)
	}
}

// What the decoder refuses the schema refuses, as far as a schema can.
func TestTheSchemaRefusesWhatTheAgentRefuses(t *testing.T) {
	const good = `{id: x, version: 1.0.0, type: sensor, runtime: {type: python, entry_point: main.py}, limits: {memory: 64MB, cpu: "0.5", execution_time: unlimited}, permissions: {network: ["a.example:443", 80], filesystem: {read: ["/etc", "${config.path}"]}}, configuration: {path: {type: string, default: /x}}}`
	s := compiled(t)
	if bySchema, byDecoder := judge(t, s, []byte(good)); bySchema != nil || byDecoder != nil {
		t.Fatalf("schema: %v, decoder: %v", bySchema, byDecoder)
	}
	for _, c := range []struct{ from, to string }{
		{"id: x, ", ""}, {"id: x", "id: ../x"}, {"id: x", "id: -o"}, {"id: x", "id: X"},
		{"version: 1.0.0, ", ""}, {"version: 1.0.0", "version: new"},
		{"type: sensor", "type: daemon"}, {"type: sensor, ", ""},
		{"type: python", "type: perl"}, {", entry_point: main.py", ""}, {"main.py", "/main.py"}, {"main.py", `'a\b.py'`},
		{"main.py", "main.py, contract: grpc"}, {"main.py", "main.py, warm: maybe"},
		{"64MB", "many"}, {"64MB", "-1"}, {`"0.5"`, "0"}, {`"0.5"`, "much"}, {"unlimited", "0"},
		{`["a.example:443", 80]`, "some"}, {`"/etc"`, "etc"}, {"type: string", "type: strng"},
	} {
		src := strings.Replace(good, c.from, c.to, 1)
		if bySchema, byDecoder := judge(t, s, []byte(src)); bySchema == nil || byDecoder == nil {
			t.Errorf("%s → %s: schema: %v, decoder: %v", c.from, c.to, bySchema, byDecoder)
		}
	}
	if bySchema, _ := judge(t, s, []byte(strings.Replace(good, "limits", "limit", 1))); bySchema == nil {
		t.Error("an unknown key is not told to editors")
	}
	for id := range map[string]bool{strings.Repeat("a", 63): true, strings.Repeat("a", 64): false} {
		if bySchema, _ := judge(t, s, []byte(strings.Replace(good, "id: x", "id: "+id, 1))); (bySchema == nil) != (api.PluginID(id).Validate() == nil) {
			t.Errorf("an id of %d characters: %v", len(id), bySchema)
		}
	}
}
