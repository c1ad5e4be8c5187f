package plugin

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stavily/agents/internal/limits"
)

// Flags is the command line that contract script gives a program for the values
// that were set explicitly: cpu_trigger: 50 becomes --cpu-trigger 50, a list the
// flag followed by its items, true the bare flag; false, null, an empty list and
// what is only a default become nothing. The order is the schema's, then, for
// names that it does not have, the alphabet.
//
// Text that begins with "-" is joined to its flag with "=", so that no value can
// be taken for a flag; as an item of a list, where that is impossible, it is an
// error.
func Flags(explicit map[string]json.RawMessage, s Schema) ([]string, error) {
	names := make([]string, 0, len(explicit))
	for _, p := range s {
		names = append(names, p.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(explicit)) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	var out []string
	for _, name := range names {
		raw, ok := explicit[name]
		if !ok || isNull(raw) {
			continue
		}
		args, err := flag("--"+strings.ReplaceAll(name, "_", "-"), raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, args...)
	}
	return out, nil
}

func flag(name string, raw json.RawMessage) ([]string, error) {
	var v any
	if err := limits.UnmarshalJSON(raw, &v); err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case bool:
		if v {
			return []string{name}, nil
		}
		return nil, nil
	case []any:
		return listFlag(name, raw)
	case string:
		if strings.ContainsRune(v, 0) {
			return nil, errNUL
		}
		if strings.HasPrefix(v, "-") {
			return []string{name + "=" + v}, nil
		}
		return []string{name, v}, nil
	}
	return []string{name, string(raw)}, nil
}

var errNUL = fmt.Errorf("holds a NUL, which no argument can")

func listFlag(name string, raw json.RawMessage) ([]string, error) {
	var items []json.RawMessage
	if err := limits.UnmarshalJSON(raw, &items); err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return nil, nil
	}
	out := []string{name}
	for i, item := range items {
		var text string
		if err := json.Unmarshal(item, &text); err != nil {
			out = append(out, string(item)) // numbers and the like stand as they are
			continue
		}
		switch {
		case strings.HasPrefix(text, "-"):
			return nil, fmt.Errorf("item %d, %q, would be taken for a flag: it must not begin with '-'", i+1, text)
		case strings.ContainsRune(text, 0):
			return nil, errNUL
		}
		out = append(out, text)
	}
	return out, nil
}
