package config

import (
	"bytes"
	"cmp"
	"encoding"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

var update = flag.Bool("update", false, "write docs/configuration.md and the schemas in configs anew")

// said is what the comments of one struct say.
type said struct {
	doc    string
	fields map[string]string // by the name in Go
}

// comments reads what the source of this package says of its structs.
func comments(t *testing.T) map[string]said {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]said{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if d, ok := d.(*ast.GenDecl); ok && d.Tok == token.TYPE {
				for _, spec := range d.Specs {
					spec := spec.(*ast.TypeSpec)
					if s, ok := spec.Type.(*ast.StructType); ok {
						out[spec.Name.Name] = said{line(cmp.Or(spec.Doc, d.Doc)), fieldComments(s)}
					}
				}
			}
		}
	}
	return out
}

func fieldComments(s *ast.StructType) map[string]string {
	out := map[string]string{}
	for _, f := range s.Fields.List {
		var parts []string
		for _, group := range []*ast.CommentGroup{f.Doc, f.Comment} {
			if text := line(group); text != "" {
				parts = append(parts, text)
			}
		}
		for _, name := range f.Names {
			out[name.Name] = strings.Join(parts, " ")
		}
	}
	return out
}

var (
	goLink    = regexp.MustCompile(`\[([A-Z][A-Za-z.]*)\]`)
	dangerous = strings.NewReplacer("|", `\|`, "<", "&lt;")
)

// line is a comment as one line of text.
func line(group *ast.CommentGroup) string {
	if group == nil {
		return ""
	}
	return goLink.ReplaceAllString(strings.Join(strings.Fields(group.Text()), " "), "$1")
}

func capital(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

// place is one section or key, where the structs have it.
type place struct {
	key    string // dotted; of a section without its keys
	text   string // Markdown of one line
	typ    reflect.Type
	nested []place // of a section
}

// places walks the struct in the order of its fields.
func places(t *testing.T, known map[string]said, prefix string, section reflect.Type) (out []place) {
	t.Helper()
	for i := range section.NumField() {
		f := section.Field(i)
		name := f.Tag.Get("yaml")
		if name == "-" {
			continue
		}
		p := place{key: prefix + name, text: known[section.Name()].fields[f.Name], typ: f.Type}
		if isSection(f.Type) {
			p.nested = places(t, known, p.key+".", f.Type)
			p.text = cmp.Or(p.text, strings.Replace(known[f.Type.Name()].doc, f.Type.Name()+" ", "", 1))
			p.text = capital(p.text)
		} else if p.text == "" {
			t.Errorf("%s.%s has no comment: say in a sentence what it means, its unit and what it may be", section.Name(), f.Name)
		}
		out = append(out, p)
	}
	return out
}

// isSection tells what appendLeaves goes into.
func isSection(typ reflect.Type) bool {
	return typ.Kind() == reflect.Struct && !reflect.PointerTo(typ).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) && typ != reflect.TypeFor[Reach]()
}

// typeName is what a value is, for people.
func typeName(typ reflect.Type) string {
	switch typ {
	case reflect.TypeFor[Duration]():
		return "duration"
	case reflect.TypeFor[Size]():
		return "size"
	case reflect.TypeFor[Reach]():
		return "word or list"
	}
	switch typ.Kind() {
	case reflect.Slice:
		return "list"
	case reflect.Map:
		return "map"
	case reflect.Bool:
		return "true/false"
	case reflect.Int, reflect.Float64:
		return "number"
	}
	return "text"
}

// defaults tells for each key what holds when nobody sets it.
func defaults(t *testing.T) func(key string) string {
	t.Helper()
	const base = "/B"
	load := func(typ api.AgentType) *Loaded {
		return mustLoad(t, LoadOptions{Type: typ, Flags: parseFlags(t, "--agent-id=id", "--base-url=https://h", "--base-dir="+base)})
	}
	sensor, action := load(api.Sensor), load(api.Action)
	show := func(l *Loaded, key string) string {
		text := string(display(find(&l.Config, key).value))
		return strings.ReplaceAll(text, filepath.Clean(base), "<base_dir>")
	}
	return func(key string) string {
		switch key {
		case "agent.id", "api.base_url":
			return "**required**"
		case "agent.base_dir":
			return "`/var/lib/stavily/agent-ID` where that can be written, else `./agent-ID`"
		case "agent.type":
			return "the binary's"
		case "agent.name":
			return "agent.id"
		}
		s, a := show(sensor, key), show(action, key)
		if s != a {
			return fmt.Sprintf("`%s`, of an action agent `%s`", s, a)
		}
		return "`" + s + "`"
	}
}

const pageHead = `# Configuration

<!-- Made from the structs of shared/pkg/config and their comments: go test ./shared/pkg/config -run TestGenerated -update -->

One YAML file, ` + "`<base_dir>/config/agent.yaml`" + ` unless ` + "`--config` or `STAVILY_CONFIG`" + ` names another; none is needed where flags and variables say enough.
A flag wins over a variable, a variable over the file, the file over the default. ` + "`sensor-agent config show`" + ` prints what is in force on a
host and where each value came from, ` + "`sensor-agent config validate FILE`" + ` every mistake in a file at once, and on the agent's own host what that lacks for it (a user, a file of keys). A changed file is applied by ` + "`sensor-agent reload`" + ` or SIGHUP, whole or not at all,
and what was changed that needs a restart is said.

- A **duration** is written with a unit: ` + "`500ms`, `30s`, `5m`, `1h30m`" + `. A **size** too: KB, MB, GB are powers of 1000, KiB, MiB, GiB of 1024; a bare number is bytes.
- In a **variable**, lists are split at commas and maps are ` + "`key=value, key=value`" + `. An empty variable counts as unset. A ` + "`STAVILY_*`" + ` name that nothing
  reads is warned of with the nearest that exists. ` + "`STAVILY_BASE_DIR`" + ` is an older name of ` + "`STAVILY_AGENT_BASE_DIR`" + `.
- ` + "`{AGENT_ID}`, `{HOSTNAME}`, `{ORG_ID}` and `${NAME}`" + ` of the environment are replaced in every text. Paths are relative to the base directory.
- Unknown and duplicate keys are errors, with file, line and the nearest key that exists.

[agent.schema.json](../configs/agent.schema.json) tells editors all of this; with the YAML extension of many of them this first line does it:

` + "```yaml\n# yaml-language-server: $schema=PATH/agent.schema.json\n```" + `

[configs](../configs) has every key with its default in one commented file, and small samples.
`

// whenChanged says what a changed key needs.
func whenChanged(key string) string {
	if takesEffect(key) {
		return "reload"
	}
	return "restart"
}

func configurationPage(t *testing.T) []byte {
	known := comments(t)
	byDefault := defaults(t)
	var out bytes.Buffer
	out.WriteString(pageHead)
	var section func(p place, depth int)
	section = func(p place, depth int) {
		fmt.Fprintf(&out, "\n%s %s\n\n%s\n", strings.Repeat("#", depth), p.key, strings.TrimSuffix(dangerous.Replace(p.text), ".")+".")
		table := false
		for _, n := range p.nested {
			if n.nested != nil {
				continue
			}
			if !table {
				out.WriteString("\n| key and variable | | default | a change | meaning |\n| --- | --- | --- | --- | --- |\n")
				table = true
			}
			variable := envPrefix + strings.ToUpper(strings.ReplaceAll(n.key, ".", "_"))
			fmt.Fprintf(&out, "| `%s`<br>`%s` | %s | %s | %s | %s |\n", n.key, variable, typeName(n.typ), strings.ReplaceAll(byDefault(n.key), "|", `\|`), whenChanged(n.key), dangerous.Replace(n.text))
		}
		for _, n := range p.nested {
			if n.nested != nil {
				section(n, min(depth+1, 4))
			}
		}
	}
	for _, p := range places(t, known, "", reflect.TypeFor[Config]()) {
		section(p, 2)
	}
	fmt.Fprintf(&out, "\n## A file of plugins.config_dir\n\n%s Samples: [configs/plugins](../configs/plugins).\n\n| key | | meaning |\n| --- | --- | --- |\n",
		capital(strings.TrimPrefix(known["PluginFile"].doc, "PluginFile is ")))
	for _, p := range places(t, known, "", reflect.TypeFor[PluginFile]()) {
		fmt.Fprintf(&out, "| `%s` | %s | %s |\n", p.key, typeName(p.typ), dangerous.Replace(p.text))
	}
	return out.Bytes()
}

// schemaOf is the JSON Schema of one value, as far as its type says it.
func schemaOf(typ reflect.Type) map[string]any {
	switch typ {
	case reflect.TypeFor[Duration]():
		return map[string]any{"type": "string", "pattern": `^(0|([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|ms|s|m|h))+$|\$\{`}
	case reflect.TypeFor[Size]():
		return map[string]any{"type": []string{"string", "integer"}, "pattern": `^[0-9]+ *(([kKmMgG][iI]?)?[bB])?$`, "minimum": 0}
	case reflect.TypeFor[Reach]():
		return map[string]any{"anyOf": []any{map[string]any{"enum": networks}, map[string]any{"type": "array", "items": map[string]any{"type": []string{"string", "integer"}}}}}
	}
	switch typ.Kind() {
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(typ.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int:
		return map[string]any{"type": "integer"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	}
	return map[string]any{"type": "string"}
}

// schema is the JSON Schema of a section, with what shapes knows beyond the types.
func schema(list []place) map[string]any {
	properties := map[string]any{}
	for _, p := range list {
		var s map[string]any
		if p.nested != nil {
			s = schema(p.nested)
		} else {
			s = schemaOf(p.typ)
			for k, v := range shapes[p.key] {
				s[k] = v
			}
		}
		s["description"] = p.text
		properties[p.key[strings.LastIndex(p.key, ".")+1:]] = s
	}
	return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
}

func schemaFile(t *testing.T, title string, of reflect.Type) []byte {
	whole := schema(places(t, comments(t), "", of))
	whole["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	whole["title"] = title
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(whole); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// What people and editors are told is what the structs say.
func TestGenerated(t *testing.T) {
	for name, want := range map[string][]byte{
		"docs/configuration.md":      configurationPage(t),
		"configs/agent.schema.json":  schemaFile(t, "agent.yaml of a Stavily agent", reflect.TypeFor[Config]()),
		"configs/plugin.schema.json": schemaFile(t, "A file of plugins.config_dir of a Stavily agent", reflect.TypeFor[PluginFile]()),
	} {
		path := filepath.Join("../../..", name)
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what shared/pkg/config says (%v): go test ./shared/pkg/config -run TestGenerated -update", name, err)
		}
	}
}
