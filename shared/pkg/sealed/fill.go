package sealed

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/stavily/agents/internal/limits"
)

// Into returns the input with the texts in their places; the one given stays as it is.
func (c Contents) Into(input map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	out := maps.Clone(input)
	for _, f := range c.Fills {
		if len(f.Path) == 0 {
			return nil, f.missing()
		}
		raw, there := out[f.Path[0]]
		if !there {
			return nil, f.missing()
		}
		filled, err := f.into(raw, f.Path[1:])
		if err != nil {
			return nil, err
		}
		out[f.Path[0]] = filled
	}
	return out, nil
}

// into puts the text where path leads from raw, which must be a text there. What the
// way leads past stays byte by byte as it was.
func (f Fill) into(raw json.RawMessage, path []string) (json.RawMessage, error) {
	if len(path) == 0 {
		var was string
		if err := limits.UnmarshalJSON(raw, &was); err != nil {
			return nil, f.missing()
		}
		return json.Marshal(f.Text)
	}
	var object map[string]json.RawMessage
	if err := limits.UnmarshalJSON(raw, &object); err == nil {
		inner, there := object[path[0]]
		if !there {
			return nil, f.missing()
		}
		if object[path[0]], err = f.into(inner, path[1:]); err != nil {
			return nil, err
		}
		return json.Marshal(object)
	}
	var list []json.RawMessage
	n, err := strconv.Atoi(path[0])
	if limits.UnmarshalJSON(raw, &list) != nil || err != nil || n < 0 || n >= len(list) {
		return nil, f.missing()
	}
	if list[n], err = f.into(list[n], path[1:]); err != nil {
		return nil, err
	}
	return json.Marshal(list)
}

func (f Fill) missing() error {
	return fmt.Errorf("the input has no text at %.200q for the secret that belongs there", strings.Join(f.Path, "."))
}
