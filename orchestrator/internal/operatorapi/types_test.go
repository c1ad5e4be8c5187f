package operatorapi

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

var update = flag.Bool("update", false, "write the golden file")

// TestTypesOnlyGainFields holds what scripts rely on: every field that was ever
// printed is still there, under its name and of its kind. New ones are added to the
// golden file with -update.
func TestTypesOnlyGainFields(t *testing.T) {
	now := map[string]bool{}
	var lines []string
	for _, v := range []any{Health{}, NewToken{}, Token{}, Agent{}, Applied{}, Workflow{}, RunDetail{}, Log{}, Event{}, Audit{}, Session{}, User{}, Invitation{}, NewAPIToken{}, APIToken{},
		Published{}, Plugin{}, Assigned{}, Publisher{}, Secret{}, Rotation{}} {
		for _, line := range fields(reflect.TypeOf(v).Name(), reflect.TypeOf(v)) {
			now[line] = true
			lines = append(lines, line)
		}
	}
	golden := filepath.Join("testdata", "types.golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	before := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, line := range before {
		if !now[line] {
			t.Errorf("%s is gone or changed: scripts rely on it", line)
		}
	}
	if len(before) != len(lines) {
		t.Errorf("%d fields, %d in %s: run this test with -update", len(lines), len(before), golden)
	}
}

// fields lists the JSON fields of a type below prefix, down to scalars.
func fields(prefix string, typ reflect.Type) []string {
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice && typ.Elem().Kind() != reflect.Uint8 {
		if typ.Kind() == reflect.Slice {
			prefix += "[]"
		}
		typ = typ.Elem()
	}
	if typ == reflect.TypeFor[api.Time]() {
		return []string{prefix + " time"}
	}
	if typ.Kind() != reflect.Struct {
		return []string{fmt.Sprintf("%s %s", prefix, typ.Kind())}
	}
	var out []string
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous:
			out = append(out, fields(prefix, f.Type)...)
		case name != "" && name != "-":
			out = append(out, fields(prefix+"."+name, f.Type)...)
		}
	}
	return out
}
