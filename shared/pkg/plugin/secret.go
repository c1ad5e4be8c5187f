package plugin

import (
	"encoding/json"

	"github.com/stavily/agents/internal/limits"
)

// Secrets are the texts in values that the schema calls secret, also within lists and
// objects. Numbers and truth values are none: they would stand in every other line.
func (s Schema) Secrets(values map[string]json.RawMessage) []string {
	var out []string
	for _, p := range s {
		if raw, given := values[p.Name]; given && p.secret() {
			var v any
			if err := limits.UnmarshalJSON(raw, &v); err == nil { // what cannot be read is never given to the plugin
				out = appendTexts(out, v)
			}
		}
	}
	return out
}

// secret reports whether a property holds something secret.
func (p *Property) secret() bool { return p.Secret || p.Items != nil && p.Items.secret() }

func appendTexts(out []string, v any) []string {
	switch v := v.(type) {
	case string:
		return append(out, v)
	case []any:
		for _, item := range v {
			out = appendTexts(out, item)
		}
	case map[string]any:
		for _, item := range v {
			out = appendTexts(out, item)
		}
	}
	return out
}
