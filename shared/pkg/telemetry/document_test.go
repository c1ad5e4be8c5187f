package telemetry

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/metrics.md anew")

const root = "../../../"

// kinds are the methods of Registry that declare, and what they declare.
var kinds = map[string]string{
	"Counter": "counter", "CounterVec": "counter", "CounterFunc": "counter", "Gauge": "gauge", "GaugeVec": "gauge", "GaugeFunc": "gauge",
	"GaugesFunc":   "gauge",
	"HistogramVec": "histogram",
}

// declared finds the metrics that the sources below dirs declare. Names, helps and labels
// stand in the calls as texts, so that they can be found, here and by people.
func declared(t *testing.T, dirs ...string) []Described {
	t.Helper()
	var out []Described
	for _, dir := range dirs {
		err := filepath.WalkDir(root+dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if d, is := declaration(t, path, n); is {
					out = append(out, d)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.SortFunc(out, func(a, b Described) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func declaration(t *testing.T, path string, n ast.Node) (d Described, is bool) {
	t.Helper()
	call, is := n.(*ast.CallExpr)
	if !is || len(call.Args) < 2 {
		return d, false
	}
	method, is := call.Fun.(*ast.SelectorExpr)
	if !is || kinds[method.Sel.Name] == "" {
		return d, false
	}
	name, isText := text(call.Args[0])
	help, helps := text(call.Args[1])
	if !isText || !helps {
		t.Errorf("%s: a metric is declared with a name or help that is no text: write it out", path)
		return d, false
	}
	d = Described{Name: name, Kind: kinds[method.Sel.Name], Help: help}
	rest := call.Args[2:]
	switch {
	case method.Sel.Name == "GaugesFunc":
		rest = rest[:1]
	case !strings.HasSuffix(method.Sel.Name, "Vec"):
		return d, true
	}
	if d.Kind == "histogram" {
		rest = rest[1:]
	}
	for _, arg := range rest {
		label, is := text(arg)
		if !is {
			t.Errorf("%s: metric %s has a label that is no text: write it out", path, name)
		}
		d.Labels = append(d.Labels, label)
	}
	return d, true
}

func text(e ast.Expr) (string, bool) {
	lit, is := e.(*ast.BasicLit)
	if !is || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}

// documented are the parts of docs/metrics.md that are written by this test.
var documented = []struct {
	mark, prefix string
	dirs         []string
}{
	{"both", "stavily_agent_", []string{"shared/pkg/agent"}},
	{"sensor", "stavily_agent_", []string{"sensor-agent"}},
	{"action", "stavily_agent_", []string{"action-agent"}},
	{"server", "stavily_server_", []string{"orchestrator"}},
	{"process", "", nil},
}

func part(t *testing.T, prefix string, dirs []string) []Described {
	t.Helper()
	if dirs == nil {
		return NewRegistry("").Describe()
	}
	out := declared(t, dirs...)
	for i := range out {
		out[i].Name = prefix + out[i].Name
	}
	return out
}

func table(list []Described) string {
	var b strings.Builder
	b.WriteString("| metric | kind | labels | what it is |\n| --- | --- | --- | --- |\n")
	for _, d := range list {
		labels := strings.Join(d.Labels, "`, `")
		if labels != "" {
			labels = "`" + labels + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.Name, d.Kind, labels, strings.ReplaceAll(d.Help, "|", `\|`))
	}
	return b.String()
}

// TestMetricsAreDocumented holds the page against what the programs declare:
// go test ./shared/pkg/telemetry -run Documented -update
func TestMetricsAreDocumented(t *testing.T) {
	const path = root + "docs/metrics.md"
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	after := before
	for _, p := range documented {
		begin, end := []byte("<!-- "+p.mark+" -->\n"), []byte("<!-- end -->")
		head, rest, found := bytes.Cut(after, begin)
		_, tail, ends := bytes.Cut(rest, end)
		list := part(t, p.prefix, p.dirs)
		if !found || !ends || len(list) == 0 {
			t.Fatalf("%s has no part %s, or nothing is declared for it (%d)", path, p.mark, len(list))
		}
		after = bytes.Join([][]byte{head, begin, []byte(table(list)), end, tail}, nil)
	}
	if *update {
		if err := os.WriteFile(path, after, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(before, after) {
		t.Errorf("%s is not what the programs declare; write it with: go test ./shared/pkg/telemetry -run Documented -update", path)
	}
}
