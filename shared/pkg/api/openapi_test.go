package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/shared/pkg/api"
)

func document(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(api.OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context(), openapi3.EnableExamplesValidation()); err != nil {
		t.Fatal(err)
	}
	return doc
}

// constants returns the string constants of this package's source by their declared
// type, "" for those without one, each as name → value.
func constants(t *testing.T) map[string]map[string]string {
	t.Helper()
	out := map[string]map[string]string{}
	for _, name := range []string{"paths.go", "ids.go", "errors.go", "posture.go", "types.go", "assignments.go", "monitors.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			literal, ok := spec.Values[0].(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			typ := ""
			if id, ok := spec.Type.(*ast.Ident); ok {
				typ = id.Name
			}
			value, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			if out[typ] == nil {
				out[typ] = map[string]string{}
			}
			out[typ][spec.Names[0].Name] = value
			return true
		})
	}
	return out
}

func values(m map[string]string) []string { return slices.Sorted(maps.Values(m)) }

func TestOpenAPIPaths(t *testing.T) {
	var want []string
	for name, path := range constants(t)[""] {
		if strings.HasPrefix(name, "Path") {
			want = append(want, path)
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(document(t).Paths.Map()))); diff != "" {
		t.Errorf("paths (-paths.go +openapi.yaml):\n%s", diff)
	}
}

// TestOpenAPICalls holds methods, paths and bodies against what the client sends.
func TestOpenAPICalls(t *testing.T) {
	doc := document(t)
	operations := 0
	for _, item := range doc.Paths.Map() {
		operations += len(item.Operations())
	}
	const downloads = 2 // FetchPackage, and files for scripts, whose answers are no documents
	if operations != len(calls)+downloads {
		t.Errorf("%d operations in openapi.yaml, %d calls of the client", operations, len(calls)+downloads)
	}
	filled := strings.NewReplacer("{agent_id}", string(agentID), "{id}", "01J9")
	for _, k := range calls {
		method, uri, _ := strings.Cut(k.request, " ")
		path, _, _ := strings.Cut(uri, "?")
		var op *openapi3.Operation
		for pattern, item := range doc.Paths.Map() {
			if filled.Replace(pattern) == path {
				op = item.GetOperation(method)
			}
		}
		if op == nil {
			t.Errorf("%s: %s is not in openapi.yaml", k.name, k.request)
			continue
		}
		if k.body != nil {
			if got, want := op.RequestBody.Value.Content["application/json"].Schema.Ref, reference(k.body); got != want {
				t.Errorf("%s: request is %s, want %s", k.name, got, want)
			}
		} else if op.RequestBody != nil {
			t.Errorf("%s: has a request body, want none", k.name)
		}
		if got, want := op.Responses.Status(200).Value.Content["application/json"].Schema.Ref, reference(k.response); got != want {
			t.Errorf("%s: response is %s, want %s", k.name, got, want)
		}
		// This client names no version to Monitors, so it is never told that it has the set.
		if got := op.Responses.Status(204) != nil; got != (k.mayBeEmpty() || k.name == "Monitors") {
			t.Errorf("%s: may answer 204: %v", k.name, got)
		}
		if op.Responses.Default() == nil {
			t.Errorf("%s: says nothing about errors", k.name)
		}
	}
}

func reference(v any) string { return "#/components/schemas/" + reflect.TypeOf(v).Name() }

// wireTypes collects every named type of this package that goes over the wire, from
// the bodies of all calls on.
func wireTypes() map[string]reflect.Type {
	found := map[string]reflect.Type{}
	var walk func(reflect.Type)
	walk = func(t reflect.Type) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			if t != reflect.TypeFor[json.RawMessage]() {
				walk(t.Elem())
			}
			return
		}
		if t.PkgPath() == "" || found[t.Name()] != nil {
			return
		}
		found[t.Name()] = t
		if t.Kind() == reflect.Struct && t != reflect.TypeFor[api.Time]() {
			for i := range t.NumField() {
				if name, _ := jsonName(t.Field(i)); name != "-" {
					walk(t.Field(i).Type)
				}
			}
		}
	}
	walk(reflect.TypeFor[api.ErrorBody]())
	for _, k := range calls {
		walk(reflect.TypeOf(k.response))
		if k.body != nil {
			walk(reflect.TypeOf(k.body))
		}
	}
	return found
}

func jsonName(f reflect.StructField) (name string, optional bool) {
	name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name, options == "omitempty" || options == "omitzero"
}

// goForm and schemaForm write a type in one notation, so that they can be compared.
func goForm(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[json.RawMessage]():
		return "any"
	case t.Kind() == reflect.Pointer:
		return goForm(t.Elem())
	case t.Kind() == reflect.Slice:
		return "array of " + goForm(t.Elem())
	case t.Kind() == reflect.Map:
		return "map of " + goForm(t.Elem())
	case t.PkgPath() != "":
		return t.Name()
	}
	switch t.Kind() {
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "integer"
	case reflect.Float64:
		return "number"
	case reflect.Bool:
		return "boolean"
	}
	return t.Kind().String()
}

func schemaForm(s *openapi3.SchemaRef) (form string, nullable bool) {
	if s.Ref != "" {
		return strings.TrimPrefix(s.Ref, "#/components/schemas/"), false
	}
	v := s.Value
	if len(v.OneOf) == 2 && v.OneOf[1].Value.Type.Is("null") {
		form, _ = schemaForm(v.OneOf[0])
		return form, true
	}
	types := slices.DeleteFunc(v.Type.Slice(), func(name string) bool { nullable = nullable || name == "null"; return name == "null" })
	switch {
	case len(types) == 0:
		return "any", nullable
	case types[0] == "array":
		item, _ := schemaForm(v.Items)
		return "array of " + item, nullable
	case types[0] == "object" && v.AdditionalProperties.Schema != nil:
		value, _ := schemaForm(v.AdditionalProperties.Schema)
		return "map of " + value, nullable
	case types[0] == "object" && v.AdditionalProperties.Has != nil:
		return "map of any", nullable
	}
	return types[0], nullable
}

// TestOpenAPISchemas compares every type of the wire with the schema of its name:
// fields both ways, their types, required against omitempty, null against what Go
// writes for a nil pointer or slice.
func TestOpenAPISchemas(t *testing.T) {
	schemas := document(t).Components.Schemas
	types := wireTypes()
	if diff := cmp.Diff(slices.Sorted(maps.Keys(types)), slices.Sorted(maps.Keys(schemas))); diff != "" {
		t.Errorf("types (-Go +openapi.yaml):\n%s", diff)
	}
	for name, typ := range types {
		schema := schemas[name]
		if typ.Kind() != reflect.Struct || schema == nil || typ == reflect.TypeFor[api.Time]() {
			continue
		}
		var want, required []string
		for i := range typ.NumField() {
			field := typ.Field(i)
			key, optional := jsonName(field)
			if key == "-" {
				continue
			}
			if !optional {
				required = append(required, key)
			}
			canBeNil := field.Type.Kind() == reflect.Pointer || field.Type.Kind() == reflect.Slice
			nilIsNull := !optional && canBeNil && name != "ErrorBody" // which always has its error
			want = append(want, fmt.Sprintf("%s: %s, null: %v", key, goForm(field.Type), nilIsNull))
		}
		var got []string
		for key, property := range schema.Value.Properties {
			form, nullable := schemaForm(property)
			got = append(got, fmt.Sprintf("%s: %s, null: %v", key, form, nullable))
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-Go +openapi.yaml):\n%s", name, diff)
		}
		if diff := cmp.Diff(required, schema.Value.Required); diff != "" {
			t.Errorf("%s: required (-Go +openapi.yaml):\n%s", name, diff)
		}
	}
}

// TestOpenAPIEnums compares the enums of named types with their constants, in order
// of value.
func TestOpenAPIEnums(t *testing.T) {
	schemas := document(t).Components.Schemas
	checked := 0
	for typ, byName := range constants(t) {
		schema := schemas[typ]
		if schema == nil {
			continue
		}
		checked++
		var enum []string
		for _, v := range schema.Value.Enum {
			enum = append(enum, v.(string))
		}
		slices.Sort(enum)
		if diff := cmp.Diff(values(byName), enum); diff != "" {
			t.Errorf("%s (-Go +openapi.yaml):\n%s", typ, diff)
		}
	}
	if checked != 6 { // AgentType, Severity, InstructionStatus, SandboxLevel, PackageState, Code
		t.Errorf("%d enums were compared, want 6", checked)
	}
}

func TestOpenAPIErrorCodes(t *testing.T) {
	statuses, ok := document(t).Components.Schemas["Code"].Value.Extensions["x-http-status"].(map[string]any)
	if !ok {
		t.Fatal("schema Code has no x-http-status")
	}
	codes := constants(t)["Code"]
	if len(codes) != len(statuses) {
		t.Errorf("x-http-status has %d codes, errors.go %d", len(statuses), len(codes))
	}
	for _, code := range codes {
		want := (&api.Error{Code: api.Code(code)}).Status()
		if got := fmt.Sprint(statuses[code]); got != strconv.Itoa(want) {
			t.Errorf("x-http-status of %s is %s, want %d", code, got, want)
		}
	}
}

func TestOpenAPIIDs(t *testing.T) {
	schemas := document(t).Components.Schemas
	samples := []string{"", "a", "A", "0", "-a", ".a", "a.b_c-d", "a/b", "a b", "ä", "aä", "..", "_a", "a-", "aB", "B.", "a\n", "a\x00", "z9", "Z", "01JGK4P6ZQ0V5X4M8T7R3N2B1C", strings.Repeat("a", 63), strings.Repeat("a", 64)}
	for name, validate := range map[string]func(string) error{
		"OrgID":         func(s string) error { return api.OrgID(s).Validate() },
		"AgentID":       func(s string) error { return api.AgentID(s).Validate() },
		"PluginID":      func(s string) error { return api.PluginID(s).Validate() },
		"EventID":       func(s string) error { return api.EventID(s).Validate() },
		"InstructionID": func(s string) error { return api.InstructionID(s).Validate() },
		"RunID":         func(s string) error { return api.RunID(s).Validate() },
	} {
		pattern := regexp.MustCompile(schemas[name].Value.Pattern)
		for _, s := range samples {
			if got, want := pattern.MatchString(s), validate(s) == nil; got != want {
				t.Errorf("%s: pattern matches %q: %v, Validate allows it: %v", name, s, got, want)
			}
		}
	}
}

// TestOpenAPIExamples decodes every example strictly into the Go type of its schema
// and compares what Go writes of it. That examples fit their schemas is part of the
// document's validation.
func TestOpenAPIExamples(t *testing.T) {
	types := wireTypes()
	examples := 0
	check := func(where string, content openapi3.Content) {
		media := content["application/json"]
		typ := types[strings.TrimPrefix(media.Schema.Ref, "#/components/schemas/")]
		if typ == nil || len(media.Examples) == 0 {
			t.Errorf("%s: no example, or of no type of ours (%s)", where, media.Schema.Ref)
			return
		}
		for name, example := range media.Examples {
			examples++
			text, err := json.Marshal(example.Value.Value)
			if err != nil {
				t.Fatal(err)
			}
			v := reflect.New(typ).Interface()
			dec := json.NewDecoder(bytes.NewReader(text))
			dec.DisallowUnknownFields()
			if err := dec.Decode(v); err != nil {
				t.Errorf("%s, %s: %v", where, name, err)
				continue
			}
			written, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			var got, want any
			if json.Unmarshal(written, &got) != nil || json.Unmarshal(text, &want) != nil {
				t.Fatal("what was marshalled does not unmarshal")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, %s (-openapi.yaml +Go):\n%s", where, name, diff)
			}
		}
	}
	doc := document(t)
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			if op.RequestBody != nil {
				check(method+" "+path, op.RequestBody.Value.Content)
			}
			for status, r := range op.Responses.Map() {
				if r.Value.Content["application/json"] != nil {
					check(method+" "+path+" "+status, r.Value.Content)
				}
			}
		}
	}
	if examples < 2*len(calls) {
		t.Errorf("only %d examples were looked at", examples)
	}
}

// TestNoPluginsIsNotSilence: an agent without plugins says so, one that does not say
// leaves the field out.
func TestNoPluginsIsNotSilence(t *testing.T) {
	for _, plugins := range [][]api.PluginInfo{nil, {}} {
		b, err := json.Marshal(api.Heartbeat{Plugins: plugins})
		if err != nil {
			t.Fatal(err)
		}
		var got api.Heartbeat
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		if (got.Plugins == nil) != (plugins == nil) {
			t.Errorf("plugins %#v arrive as %#v", plugins, got.Plugins)
		}
	}
}
