package strictyaml

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// MaxBytes is the largest file that is looked at: far more than any hand-written
// one, and little enough that the parser's memory stays in the tens of MiB.
const MaxBytes = 1 << 20

// maxDepth is how deep a document may nest; the workflow language needs about ten.
const maxDepth = 64

// Option changes how Load reads.
type Option func(*loader)

// WarnUnknown makes unknown keys warnings ([Doc.Unknown]) instead of errors.
func WarnUnknown() Option { return func(l *loader) { l.warnUnknown = true } }

// Doc remembers where every value of a loaded file stood.
type Doc struct {
	file    string
	root    *yaml.Node // nil for an empty file
	unknown Errors
}

type loader struct {
	doc         *Doc
	warnUnknown bool
	errs        Errors
}

// Load decodes the one document in src into v, a pointer to a struct whose fields
// have yaml tags. file is only used in messages. The error is an [Errors] with
// every mistake found; v is then not to be used. An empty file leaves v as it is.
func Load(file string, src []byte, v any, opts ...Option) (*Doc, error) {
	l := &loader{doc: &Doc{file: file}}
	for _, o := range opts {
		o(l)
	}
	if len(src) > MaxBytes {
		return nil, Errors{{File: file, Message: fmt.Sprintf("is larger than %d bytes", MaxBytes)}}
	}
	var node yaml.Node
	if err := yaml.Load(src, &node); err != nil {
		if empty(src) {
			return l.doc, nil
		}
		return nil, fromLibrary(file, err)
	}
	l.doc.root = node.Content[0]
	l.check(l.doc.root, reflect.TypeOf(v), "", 1)
	if len(l.errs) == 0 {
		if err := node.Load(v); err != nil {
			l.errs = fromLibrary(file, err)
		}
	}
	if l.warnUnknown {
		l.doc.unknown = l.doc.unknown.Sort()
	}
	return l.doc, l.errs.Err()
}

// empty reports whether src holds nothing but comments, space and a marker.
func empty(src []byte) bool {
	for line := range strings.Lines(string(src)) {
		line = strings.TrimSpace(line)
		if line != "" && line != "---" && !strings.HasPrefix(line, "#") {
			return false
		}
	}
	return true
}

// check walks the document beside the Go type that it will be decoded into. A
// type that decodes itself, and a map, take any key; duplicates and anchors are
// found everywhere.
func (l *loader) check(n *yaml.Node, t reflect.Type, path string, depth int) {
	if depth > maxDepth {
		l.fail(n, fmt.Sprintf("nested deeper than %d", maxDepth))
		return
	}
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		l.fail(n, "anchors and aliases are not taken here: write the value out")
		return
	}
	switch n.Kind {
	case yaml.SequenceNode:
		for i, item := range n.Content {
			l.check(item, element(t, reflect.Slice), fmt.Sprintf("%s[%d]", path, i), depth+1)
		}
	case yaml.MappingNode:
		l.checkMapping(n, t, path, depth)
	}
}

func (l *loader) checkMapping(n *yaml.Node, t reflect.Type, path string, depth int) {
	known := fields(t)
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if first, twice := seen[key.Value]; twice {
			l.fail(key, fmt.Sprintf("key %q stands twice: first at line %d", key.Value, first))
			continue
		}
		seen[key.Value] = key.Line
		next := element(t, reflect.Map)
		if known != nil {
			field, ok := known[key.Value]
			if !ok {
				l.unknownKey(key, known, path)
				continue
			}
			next = field
		}
		l.check(value, next, join(path, key.Value), depth+1)
	}
}

func (l *loader) unknownKey(key *yaml.Node, known map[string]reflect.Type, path string) {
	msg := fmt.Sprintf("unknown key %q", key.Value)
	if path != "" {
		msg += " in " + path
	}
	names := make([]string, 0, len(known))
	for name := range known {
		names = append(names, name)
	}
	slices.Sort(names)
	if near := Nearest(key.Value, names); near != "" {
		msg += fmt.Sprintf(": did you mean %q?", near)
	}
	e := &Error{File: l.doc.file, Line: key.Line, Column: key.Column, Message: msg}
	if l.warnUnknown {
		l.doc.unknown = append(l.doc.unknown, e)
	} else {
		l.errs = append(l.errs, e)
	}
}

func (l *loader) fail(n *yaml.Node, msg string) {
	l.errs = append(l.errs, &Error{File: l.doc.file, Line: n.Line, Column: n.Column, Message: msg})
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

var unmarshaler = reflect.TypeFor[yaml.Unmarshaler]()

// fields maps the yaml names of a struct to their types; nil means that any key
// is taken (maps, interfaces, and types that decode themselves).
func fields(t reflect.Type) map[string]reflect.Type {
	t = deref(t)
	if t == nil || t.Kind() != reflect.Struct || t == reflect.TypeFor[yaml.Node]() || reflect.PointerTo(t).Implements(unmarshaler) {
		return nil
	}
	out := make(map[string]reflect.Type, t.NumField())
	for f := range t.Fields() {
		name, opts, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case opts == "inline":
			for k, v := range fields(f.Type) {
				out[k] = v
			}
		case name != "" && name != "-":
			out[name] = f.Type
		}
	}
	return out
}

// element is the type of the items of a slice or map type, or nil.
func element(t reflect.Type, kind reflect.Kind) reflect.Type {
	if t = deref(t); t != nil && t.Kind() == kind {
		return t.Elem()
	}
	return nil
}

func deref(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}
