package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"
)

// Formats of Show.
const (
	YAML = "yaml"
	JSON = "json"
)

// Show prints every key with its value in force and its origin: in YAML, which can
// be loaded again, as a comment beside it; in JSON as
// {"api.timeout": {"value": "30s", "origin": "default"}, …}.
func (l *Loaded) Show(w io.Writer, format string) error {
	var out []byte
	switch format {
	case YAML:
		out = l.yaml()
	case JSON:
		out = l.json()
	default:
		return fmt.Errorf("format %q: must be %s or %s", format, YAML, JSON)
	}
	_, err := w.Write(out)
	return err
}

// originColumn is where comments begin; longer values push theirs to the right.
const originColumn = 56

func (l *Loaded) yaml() []byte {
	var b bytes.Buffer
	var open []any // the sections that the line before is in
	for _, leaf := range leaves(&l.Config) {
		sections := leaf.path[:len(leaf.path)-1]
		for depth := range sections {
			if depth >= len(open) || open[depth] != sections[depth] {
				fmt.Fprintf(&b, "%s%s:\n", strings.Repeat("  ", depth), sections[depth])
				open = sections[:depth+1]
			}
		}
		line := fmt.Sprintf("%s%s: %s", strings.Repeat("  ", len(sections)), leaf.path[len(sections)], display(leaf.value))
		fmt.Fprintf(&b, "%s%s # %s\n", line, strings.Repeat(" ", max(0, originColumn-utf8.RuneCountInString(line))), l.Origin(leaf.key()))
	}
	return b.Bytes()
}

func (l *Loaded) json() []byte {
	type entry struct {
		Value  json.RawMessage `json:"value"`
		Origin string          `json:"origin"`
	}
	all := map[string]entry{}
	for _, leaf := range leaves(&l.Config) {
		all[leaf.key()] = entry{display(leaf.value), l.Origin(leaf.key())}
	}
	return append(mustJSON(json.MarshalIndent(all, "", "  ")), '\n')
}

// display writes a value as JSON, which is YAML too. A [Secret] writes itself as
// [Redacted].
func display(v reflect.Value) json.RawMessage {
	if v.Kind() == reflect.Slice && v.Len() == 0 {
		return json.RawMessage("[]")
	}
	if v.Kind() == reflect.Map && v.Len() == 0 {
		return json.RawMessage("{}")
	}
	return mustJSON(json.Marshal(v.Interface()))
}

// mustJSON is for values that always have a JSON form: texts, finite numbers,
// booleans and lists of them.
func mustJSON(b []byte, err error) []byte {
	if err != nil {
		panic(fmt.Sprintf("config: show: %v", err))
	}
	return b
}
