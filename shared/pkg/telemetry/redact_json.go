package telemetry

import (
	"bytes"
	"encoding/json"
)

// RedactJSON returns a JSON document without secrets: none in a text, as a key, or as a number's
// digits, however they are escaped. One that has none is returned as it is, byte by byte. What is
// no JSON is redacted as text and returned as one.
func (r *Redactor) RedactJSON(raw []byte) []byte {
	if r == nil || r.replacer.Load() == nil || len(raw) == 0 {
		return raw
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		return r.asText(raw)
	}
	v, changed := r.value(v)
	if !changed {
		return raw
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)              // it would get longer, and may be too long then
	if err := enc.Encode(v); err != nil { // it was JSON before
		return r.asText(raw)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

func (r *Redactor) asText(raw []byte) []byte {
	text, err := json.Marshal(r.Redact(string(raw)))
	if err != nil { // a text always marshals
		return []byte(`"` + Redacted + `"`)
	}
	return text
}

// value redacts what was decoded, and says whether it is another now.
func (r *Redactor) value(v any) (out any, changed bool) {
	switch v := v.(type) {
	case string:
		clean := r.Redact(v)
		return clean, clean != v
	case json.Number:
		if clean := r.Redact(v.String()); clean != v.String() {
			return clean, true
		}
	case []any:
		for i := range v {
			var is bool
			v[i], is = r.value(v[i])
			changed = changed || is
		}
		return v, changed
	case map[string]any:
		clean := make(map[string]any, len(v))
		for key, value := range v {
			value, is := r.value(value)
			name := r.Redact(key)
			clean[name] = value
			changed = changed || is || name != key
		}
		return clean, changed
	}
	return v, false
}
