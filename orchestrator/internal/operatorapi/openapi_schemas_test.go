package operatorapi

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// module is what the paths of our packages begin with, and where they lie from here.
const module, root = "github.com/stavily/agents/", "../../.."

// schemas makes JSON Schemas of Go types, with their comments as descriptions.
type schemas struct {
	t       *testing.T
	made    object // by name
	sources map[string]*source
}

// of is the schema of a type: a reference where the type has a name.
func (s *schemas) of(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[json.RawMessage]():
		return object{}
	case reflect.TypeFor[time.Duration]():
		s.t.Errorf("a Duration is no type of the wire")
	}
	if t.Kind() == reflect.Pointer {
		return s.of(t.Elem())
	}
	if t.PkgPath() != "" {
		return s.named(t)
	}
	return s.plain(t)
}

func (s *schemas) plain(t reflect.Type) object {
	switch t.Kind() {
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string", "contentEncoding": "base64"}
		}
		return object{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Int, reflect.Int64, reflect.Uint64, reflect.Int32, reflect.Uint32:
		return object{"type": "integer"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Interface:
		return object{}
	}
	s.t.Errorf("%s: no schema is known for a %s", t, t.Kind())
	return object{}
}

// named makes the schema of a type with a name once, and refers to it. Names of other
// packages have theirs in front.
func (s *schemas) named(t reflect.Type) object {
	name := t.Name()
	if pkg := filepath.Base(t.PkgPath()); pkg != "operatorapi" {
		name = pkg + "." + name
	}
	ref := object{"$ref": "#/components/schemas/" + name}
	if s.made[name] != nil {
		return ref
	}
	schema := object{}
	s.made[name] = schema // before its fields, which may refer to it
	src := s.source(t.PkgPath())
	describe(schema, src.types[t.Name()])
	switch {
	case t == reflect.TypeFor[api.Time]():
		schema["type"], schema["format"] = []any{"string", "null"}, "date-time"
	case t.Implements(reflect.TypeFor[json.Marshaler]()):
		s.t.Errorf("%s writes its own JSON: say here which", t)
	case t.Kind() == reflect.Struct:
		properties, required := object{}, []any{}
		s.fields(t, properties, &required)
		schema["type"], schema["properties"] = "object", properties
		if len(required) > 0 {
			schema["required"] = required
		}
	default:
		for k, v := range s.plain(t) {
			schema[k] = v
		}
		if values := src.values[t.Name()]; t.Kind() == reflect.String && len(values) > 1 {
			schema["enum"] = values
		}
	}
	return ref
}

// fields adds what encoding/json writes of a struct, with those that are embedded.
func (s *schemas) fields(t reflect.Type, properties object, required *[]any) {
	comments := s.source(t.PkgPath()).fields[t.Name()]
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			s.fields(f.Type, properties, required)
			continue
		}
		if name == "-" || !f.IsExported() {
			continue
		}
		if name == "" {
			s.t.Errorf("%s.%s has no name on the wire", t, f.Name)
		}
		schema := s.of(f.Type)
		if options == "" {
			*required = append(*required, name)
			schema = orNull(f.Type, schema)
		}
		describe(schema, comments[f.Name])
		properties[name] = schema
	}
}

// orNull allows what encoding/json writes of a nil.
func orNull(t reflect.Type, schema object) object {
	switch t.Kind() {
	case reflect.Slice, reflect.Map:
		if typ, ok := schema["type"]; ok {
			schema["type"] = []any{typ, "null"}
		}
	case reflect.Pointer:
		return object{"oneOf": []any{schema, object{"type": "null"}}}
	}
	return schema
}

func describe(schema object, comment string) {
	if comment != "" {
		schema["description"] = comment
	}
}

// source is what the comments and constants of a package say.
type source struct {
	types  map[string]string
	fields map[string]map[string]string
	values map[string][]any // of the constants of a type of strings
}

func (s *schemas) source(pkg string) *source {
	if src := s.sources[pkg]; src != nil {
		return src
	}
	dir, ours := strings.CutPrefix(pkg, module)
	if !ours {
		s.t.Fatalf("package %s is not ours: its types are no types of the wire", pkg)
	}
	src := &source{map[string]string{}, map[string]map[string]string{}, map[string][]any{}}
	s.sources[pkg] = src
	files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			s.t.Fatal(err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments)
		if err != nil {
			s.t.Fatal(err)
		}
		src.read(file)
	}
	for _, values := range src.values {
		slices.SortFunc(values, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
	}
	return src
}

func (src *source) read(file *ast.File) {
	for _, d := range file.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range decl.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				doc := spec.Doc
				if doc == nil {
					doc = decl.Doc
				}
				src.types[spec.Name.Name] = sentence(doc)
				if st, ok := spec.Type.(*ast.StructType); ok {
					src.fields[spec.Name.Name] = commentsOf(st)
				}
			case *ast.ValueSpec:
				typ, named := spec.Type.(*ast.Ident)
				if !named || decl.Tok != token.CONST || len(spec.Values) != 1 {
					continue
				}
				if literal, ok := spec.Values[0].(*ast.BasicLit); ok && literal.Kind == token.STRING {
					value, _ := strconv.Unquote(literal.Value)
					src.values[typ.Name] = append(src.values[typ.Name], value)
				}
			}
		}
	}
}

func commentsOf(st *ast.StructType) map[string]string {
	out := map[string]string{}
	for _, f := range st.Fields.List {
		text := sentence(f.Doc)
		if text == "" {
			text = sentence(f.Comment)
		}
		for _, name := range f.Names {
			out[name.Name] = text
		}
	}
	return out
}

func sentence(c *ast.CommentGroup) string {
	return strings.ReplaceAll(strings.TrimSpace(c.Text()), "\n", " ")
}
