package plugin

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Type is the type of a value, as JSON has them. Any takes all.
type Type string

// The types.
const (
	String  Type = "string"
	Integer Type = "integer"
	Number  Type = "number"
	Boolean Type = "boolean"
	Array   Type = "array"
	Object  Type = "object"
	Any     Type = "any"
)

// typeNames maps what manifests say to types.
var typeNames = map[string]Type{
	"string": String, "str": String, "text": String,
	"integer": Integer, "int": Integer,
	"number": Number, "float": Number, "double": Number,
	"boolean": Boolean, "bool": Boolean,
	"array": Array, "list": Array,
	"object": Object, "dict": Object, "map": Object,
	"any": Any, "": Any,
}

// TypeNamed is the type that a manifest or a plugin calls so, empty where there is none.
func TypeNamed(name string) Type { return typeNames[strings.ToLower(name)] }

// Schema says what a plugin takes, in the manifest's order. An empty one takes
// everything.
type Schema []Property

// Property is one value that a plugin takes. Format and Examples are for people;
// nothing checks them.
type Property struct {
	Name        string
	Type        Type
	Description string
	Default     json.RawMessage // nil: none
	Required    bool
	Secret      bool // never shown, not even in errors
	Enum        []json.RawMessage
	Pattern     *regexp.Regexp // RE2, matched anywhere in the text
	Minimum     *float64
	Maximum     *float64
	MinLength   *int // of text in characters, of an array in items
	MaxLength   *int
	Items       *Property // of an array; its Name is empty
	Format      string
	Examples    json.RawMessage
}

// Property finds a property by its name.
func (s Schema) Property(name string) (Property, bool) {
	i := slices.IndexFunc(s, func(p Property) bool { return p.Name == name })
	if i < 0 {
		return Property{}, false
	}
	return s[i], true
}

// propertyFile is a Property as written.
type propertyFile struct {
	Type        string        `yaml:"type"`
	Description string        `yaml:"description"`
	Default     any           `yaml:"default"`
	Required    bool          `yaml:"required"`
	Enum        []any         `yaml:"enum"`
	Pattern     string        `yaml:"pattern"`
	Minimum     *float64      `yaml:"minimum"`
	Maximum     *float64      `yaml:"maximum"`
	MinLength   *int          `yaml:"min_length"`
	MaxLength   *int          `yaml:"max_length"`
	Items       *propertyFile `yaml:"items"`
	Format      string        `yaml:"format"`
	Examples    any           `yaml:"examples"`
	Secret      bool          `yaml:"secret"`
}

// schema converts one section of the manifest, in the order in which it is written.
func (d *decoder) schema(section string, files map[string]propertyFile) Schema {
	return d.schemaAt(d.at(section), files)
}

func (d *decoder) schemaAt(at place, files map[string]propertyFile) Schema {
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		lineA, columnA := d.doc.Pos(at.key1(a).path)
		lineB, columnB := d.doc.Pos(at.key1(b).path)
		if lineA != lineB {
			return lineA - lineB
		}
		return columnA - columnB
	})
	var s Schema
	for _, name := range names {
		p := d.property(at.key1(name), files[name])
		p.Name = name
		s = append(s, p)
	}
	return s
}

func (d *decoder) property(at place, f propertyFile) Property {
	p := Property{
		Description: f.Description, Required: f.Required, Secret: f.Secret,
		Minimum: f.Minimum, Maximum: f.Maximum, MinLength: f.MinLength, MaxLength: f.MaxLength, Format: f.Format,
	}
	var ok bool
	if p.Type, ok = typeNames[strings.ToLower(f.Type)]; !ok {
		at.key1("type").fail("must be string, integer, number, boolean, array, object or any, not %q", f.Type)
		p.Type = Any
	}
	if f.Pattern != "" {
		var err error
		if p.Pattern, err = regexp.Compile(f.Pattern); err != nil {
			// Older manifests use what only backtracking engines know (lookahead).
			at.key1("pattern").warn("is not checked: %v", err)
		}
	}
	if f.Items != nil {
		items := d.property(at.key1("items"), *f.Items)
		p.Items = &items
	}
	for i, v := range f.Enum {
		p.Enum = append(p.Enum, d.literal(at.key1("enum").key1(i), v))
	}
	if f.Examples != nil {
		p.Examples = d.literal(at.key1("examples"), f.Examples)
	}
	if f.Default != nil {
		raw := d.literal(at.key1("default"), f.Default)
		checked, err := p.check(raw)
		if err != nil && raw != nil {
			at.key1("default").fail("%v", err)
		}
		p.Default = checked
	}
	return p
}

// key1 is the place of a key or index below p.
func (p place) key1(step any) place { return place{p.d, append(slices.Clone(p.path), step)} }

// literal writes a YAML value as JSON.
func (d *decoder) literal(at place, v any) json.RawMessage {
	raw, err := toJSON(v)
	if err != nil {
		at.fail("%v", err)
		return nil
	}
	return raw
}

// toJSON refuses what YAML has and JSON has not.
func toJSON(v any) (json.RawMessage, error) {
	switch v := v.(type) {
	case time.Time:
		return nil, fmt.Errorf("%s is read as a date: write it in quotes", v.Format(time.DateOnly))
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return nil, fmt.Errorf("%v is not a finite number", v)
		}
	case []any:
		for _, item := range v {
			if _, err := toJSON(item); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for _, item := range v {
			if _, err := toJSON(item); err != nil {
				return nil, err
			}
		}
	case map[any]any:
		return nil, fmt.Errorf("has a key that is not text: write it in quotes")
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("is not something that JSON can say: %w", err)
	}
	return raw, nil
}
