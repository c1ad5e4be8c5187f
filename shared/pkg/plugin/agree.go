package plugin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/internal/strictyaml"
)

// Disagreements compares the manifest with what the plugin's code says that it takes: the
// data of get_trigger_config, get_action_config or get_output_config, in which the SDK
// tells the dataclasses of the plugin as configuration and parameters. A section that the
// code does not tell agrees; told is false for an answer that tells neither, such as an
// older plugin's, in which there is nothing to compare.
func (m *Manifest) Disagreements(said json.RawMessage) (errs []error, told bool) {
	var sections map[string]json.RawMessage
	if isNull(said) || limits.UnmarshalJSON(said, &sections) != nil {
		return nil, false
	}
	for _, s := range []struct {
		name     string
		manifest Schema
	}{{"configuration", m.Configuration}, {"parameters", m.Parameters}} {
		if !isObject(sections[s.name]) {
			continue
		}
		told = true
		code, err := codeSchema(s.name, sections[s.name])
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: what the code says of it cannot be read: %w", s.name, err))
			continue
		}
		errs = append(errs, disagree(s.name, s.manifest, code)...)
	}
	return errs, told
}

// codeSchema reads properties as plugin.yaml has them, but in JSON, which is YAML.
func codeSchema(section string, raw json.RawMessage) (Schema, error) {
	var files map[string]propertyFile
	doc, err := strictyaml.Load("the code", raw, &files, strictyaml.WarnUnknown())
	if err != nil {
		return nil, err
	}
	d := &decoder{doc: doc}
	s := d.schema(section, files)
	return s, d.errs.Err()
}

func disagree(section string, manifest, code Schema) (errs []error) {
	for _, p := range code {
		declared, found := manifest.Property(p.Name)
		if !found {
			errs = append(errs, fmt.Errorf("%s.%s: the code takes it and plugin.yaml does not declare it: `python3 -m stavily.manifest main.py` prints the lines", section, p.Name))
			continue
		}
		for _, a := range aspects {
			if in, by := a.of(declared), a.of(p); !reflect.DeepEqual(in, by) {
				errs = append(errs, fmt.Errorf("%s.%s: %s is %s in plugin.yaml and %s in the code", section, p.Name, a.name, told(in), told(by)))
			}
		}
	}
	for _, p := range manifest {
		if _, found := code.Property(p.Name); !found {
			errs = append(errs, fmt.Errorf("%s.%s: plugin.yaml declares it and the code does not take it", section, p.Name))
		}
	}
	return errs
}

// aspects are what both say of a property. Descriptions may differ.
var aspects = []struct {
	name string
	of   func(Property) any
}{
	{"type", func(p Property) any { return string(p.Type) }},
	{"type of its items", func(p Property) any {
		if p.Items == nil {
			return nil
		}
		return string(p.Items.Type)
	}},
	{"required", func(p Property) any { return p.Required }},
	{"secret", func(p Property) any { return p.Secret }},
	{"default", func(p Property) any { return decoded(p.Default) }},
	{"enum", func(p Property) any {
		var all []any
		for _, raw := range p.Enum {
			all = append(all, decoded(raw))
		}
		return all
	}},
	{"pattern", func(p Property) any { return pattern(p.Pattern) }},
	{"minimum", func(p Property) any { return value(p.Minimum) }},
	{"maximum", func(p Property) any { return value(p.Maximum) }},
	{"min_length", func(p Property) any { return value(p.MinLength) }},
	{"max_length", func(p Property) any { return value(p.MaxLength) }},
}

// decoded makes 85 and 85.0 equal.
func decoded(raw json.RawMessage) any {
	var v any
	if isNull(raw) || limits.UnmarshalJSON(raw, &v) != nil {
		return nil
	}
	return v
}

func pattern(p *regexp.Regexp) any {
	if p == nil {
		return nil
	}
	return p.String()
}

func value[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

func told(v any) string {
	if v == nil || reflect.ValueOf(v).Kind() == reflect.Slice && reflect.ValueOf(v).Len() == 0 {
		return "not said"
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(bytes.TrimSpace(raw))
}
