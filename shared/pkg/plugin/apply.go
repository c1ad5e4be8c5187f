package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/internal/strictyaml"
)

// Values turns decoded YAML or JSON into the form that Apply takes.
func Values(values map[string]any) (map[string]json.RawMessage, error) {
	out := make(map[string]json.RawMessage, len(values))
	for name, v := range values {
		raw, err := toJSON(v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = raw
	}
	return out, nil
}

// Apply checks values against the schema and returns them with the defaults
// filled in. Null counts as absent. A value of another type is converted where
// nothing is lost by it ("85" for a number, 5.0 for an integer, 8080 for text);
// every other mistake, and a key that the schema does not have, is an error that
// names the key; all of them are found at once, joined.
func (s Schema) Apply(values map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	if len(s) == 0 {
		return maps.Clone(values), nil
	}
	out := make(map[string]json.RawMessage, len(s))
	var errs []error
	for _, p := range s {
		raw, ok := values[p.Name]
		switch {
		case ok && !isNull(raw):
			checked, err := p.check(raw)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", p.Name, err))
			}
			out[p.Name] = checked
		case p.Default != nil:
			out[p.Name] = p.Default
		case p.Required:
			errs = append(errs, fmt.Errorf("%s: is required", p.Name))
		}
	}
	errs = append(errs, s.unknown(values)...)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return out, nil
}

func (s Schema) unknown(values map[string]json.RawMessage) []error {
	names := make([]string, len(s))
	for i, p := range s {
		names[i] = p.Name
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if slices.Contains(names, name) {
			continue
		}
		hint := "the plugin takes " + strings.Join(names, ", ")
		if near := strictyaml.Nearest(name, names); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		errs = append(errs, fmt.Errorf("%s: is not known: %s", name, hint))
	}
	return errs
}

func isNull(raw json.RawMessage) bool {
	t := bytes.TrimSpace(raw)
	return len(t) == 0 || string(t) == "null"
}

// Fits says what is wrong with a value, if anything.
func (p Property) Fits(raw json.RawMessage) error {
	_, err := p.check(raw)
	return err
}

// check converts one value to the property's type and holds it to its limits.
func (p *Property) check(raw json.RawMessage) (json.RawMessage, error) {
	var v any
	if err := limits.UnmarshalJSON(raw, &v); err != nil {
		return nil, err
	}
	out, err := p.convert(bytes.TrimSpace(raw), v)
	if err != nil {
		return nil, err
	}
	if err := limits.UnmarshalJSON(out, &v); err != nil {
		return nil, err
	}
	if err := p.checkEnum(out, v); err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case string:
		return out, p.checkText(v)
	case float64:
		return out, p.checkNumber(out, v)
	case []any:
		return p.checkItems(out, len(v))
	}
	return out, nil
}

// convert gives raw in the property's type. v is raw, decoded.
func (p *Property) convert(raw json.RawMessage, v any) (json.RawMessage, error) {
	switch text, isText := v.(string); p.Type {
	case String:
		switch v.(type) {
		case string:
			return raw, nil
		case float64, bool:
			return quote(string(raw)), nil
		}
	case Integer, Number:
		if isText {
			raw = json.RawMessage(strings.TrimSpace(text))
		}
		if number, ok := asNumber(raw, p.Type); ok {
			return number, nil
		}
	case Boolean:
		if _, ok := v.(bool); ok {
			return raw, nil
		}
		if text == "true" || text == "false" {
			return json.RawMessage(text), nil
		}
	case Array:
		if _, ok := v.([]any); ok {
			return raw, nil
		}
	case Object:
		if _, ok := v.(map[string]any); ok {
			return raw, nil
		}
	default:
		return raw, nil
	}
	return nil, fmt.Errorf("must be %s, is %s", article(p.Type), p.shown(raw))
}

// asNumber reads a JSON number exactly; an integer may be written as 5.0.
func asNumber(raw json.RawMessage, t Type) (json.RawMessage, bool) {
	s := string(raw)
	if _, err := strconv.ParseInt(s, 10, 64); err == nil && json.Valid(raw) {
		return raw, true
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !json.Valid(raw) || math.IsInf(f, 0) {
		return nil, false
	}
	if t == Number {
		return raw, true
	}
	const exact = 1 << 53 // beyond it float64 skips whole numbers
	if f != math.Trunc(f) || math.Abs(f) > exact {
		return nil, false
	}
	return json.RawMessage(strconv.FormatInt(int64(f), 10)), true
}

func quote(s string) json.RawMessage {
	raw, err := json.Marshal(s)
	if err != nil {
		return nil // a string always marshals
	}
	return raw
}

func article(t Type) string {
	switch t {
	case String:
		return "text"
	case Integer:
		return "a whole number"
	case Number:
		return "a number"
	case Boolean:
		return "true or false"
	case Array:
		return "a list"
	}
	return "an object"
}

// shown bounds what an error repeats of a value, and hides a secret.
func (p *Property) shown(raw json.RawMessage) string {
	const most = 60
	switch {
	case p.Secret:
		return "something else"
	case len(raw) > most:
		return string(bytes.ToValidUTF8(raw[:most], nil)) + "…"
	}
	return string(raw)
}

func (p *Property) checkEnum(raw json.RawMessage, v any) error {
	if len(p.Enum) == 0 {
		return nil
	}
	allowed := make([]string, len(p.Enum))
	for i, e := range p.Enum {
		var want any
		if err := limits.UnmarshalJSON(e, &want); err == nil && reflect.DeepEqual(v, want) {
			return nil
		}
		allowed[i] = string(e)
	}
	return fmt.Errorf("must be one of %s, is %s", strings.Join(allowed, ", "), p.shown(raw))
}

func (p *Property) checkText(s string) error {
	n := utf8.RuneCountInString(s)
	switch {
	case p.MinLength != nil && n < *p.MinLength:
		return fmt.Errorf("must have at least %d characters, has %d", *p.MinLength, n)
	case p.MaxLength != nil && n > *p.MaxLength:
		return fmt.Errorf("must have at most %d characters, has %d", *p.MaxLength, n)
	case p.Pattern != nil && !p.Pattern.MatchString(s):
		return fmt.Errorf("must match %s, is %s", p.Pattern, p.shown(quote(s)))
	}
	return nil
}

func (p *Property) checkNumber(raw json.RawMessage, f float64) error {
	switch {
	case p.Minimum != nil && f < *p.Minimum:
		return fmt.Errorf("must be at least %v, is %s", *p.Minimum, p.shown(raw))
	case p.Maximum != nil && f > *p.Maximum:
		return fmt.Errorf("must be at most %v, is %s", *p.Maximum, p.shown(raw))
	}
	return nil
}

func (p *Property) checkItems(raw json.RawMessage, n int) (json.RawMessage, error) {
	switch {
	case p.MinLength != nil && n < *p.MinLength:
		return nil, fmt.Errorf("must have at least %d items, has %d", *p.MinLength, n)
	case p.MaxLength != nil && n > *p.MaxLength:
		return nil, fmt.Errorf("must have at most %d items, has %d", *p.MaxLength, n)
	case p.Items == nil:
		return raw, nil
	}
	var items []json.RawMessage
	if err := limits.UnmarshalJSON(raw, &items); err != nil {
		return nil, err
	}
	each := *p.Items
	each.Secret = each.Secret || p.Secret
	for i, item := range items {
		checked, err := each.check(item)
		if err != nil {
			return nil, fmt.Errorf("item %d: %w", i+1, err)
		}
		items[i] = checked
	}
	return json.Marshal(items)
}
