package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPackageOf(t *testing.T) {
	for symbol, want := range map[string]string{
		"runtime.mallocgc":                                     "runtime",
		"net/http.(*Transport).dialConn.func1.2":               "net/http",
		"go.yaml.in/yaml/v4/internal/libyaml.(*Parser).scan":   "go.yaml.in/yaml/v4/internal/libyaml",
		"type:*github.com/stavily/agents/shared/pkg/api.Event": "github.com/stavily/agents/shared/pkg/api",
		"type:.eq.net/netip.Addr":                              "net/netip",
		"go:itab.*os.File,io.Writer":                           "os",
		"slices.SortFunc[go.shape.[]a/b.T,go.shape.struct{}]":  "slices",
		"gopkg.in/yaml%2ev3.Unmarshal":                         "gopkg.in/yaml.v3",
		"go:func.*":                                            "(rest)",
		"type:func(int) bool":                                  "(rest)",
	} {
		if got := packageOf(symbol); got != want {
			t.Errorf("packageOf(%q) = %q, want %q", symbol, got, want)
		}
	}
}

// An agent that has grown is refused with the names of what grew.
func TestGrowthIsNamed(t *testing.T) {
	before := sizes{"sensor-agent", 12_000_000, map[string]int{"net/http": 400_000, "os": 90_000}}
	for name, c := range map[string]struct {
		now  sizes
		want []string // nil: fine
	}{
		"the same":         {before, nil},
		"a little":         {sizes{"sensor-agent", before.file + tolerance, map[string]int{"net/http": 500_000}}, nil},
		"a new dependency": {sizes{"sensor-agent", before.file + tolerance + 1, map[string]int{"net/http": 400_000, "x/y": 300_000}}, []string{"has grown", "+300000  x/y (new)"}},
		"what was there":   {sizes{"sensor-agent", before.file + tolerance + 1, map[string]int{"net/http": 700_000, "os": 90_000}}, []string{"+300000  net/http (grew)"}},
		"over the budget":  {sizes{"sensor-agent", most + 1, map[string]int{}}, []string{"at most 14000000"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.now.judge(before)
			if (err == nil) != (c.want == nil) {
				t.Fatalf("judged %v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v: without %q", err, want)
				}
			}
		})
	}
}

func TestTableReadsAsWritten(t *testing.T) {
	all := []sizes{{"action-agent", 13_000_000, map[string]int{"net": 100_000, "os": 90_000}}, {"sensor-agent", 12_000_000, map[string]int{"net": listed}}}
	path := filepath.Join(t.TempDir(), "sizes.txt")
	if err := write(path, all); err != nil {
		t.Fatal(err)
	}
	got, err := read(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range all {
		if diff := cmp.Diff(want, got[want.agent], cmp.AllowUnexported(sizes{})); diff != "" {
			t.Error(diff)
		}
	}
}
