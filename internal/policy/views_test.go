package policy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// lengthy is what takes as long as an organisation's texts want: it evaluates, runs tests,
// compares texts or compiles. The server has few views of its store, for all organisations.
var lengthy = []string{"Decide", "Foresee", "TryAll", "Replay", "Definition", "differences"}

func TestNothingLengthyRunsInAView(t *testing.T) {
	for _, dir := range []string{"engine", "operatorapi", "web"} {
		bodies, views := viewsOf(t, "../../orchestrator/internal/"+dir)
		if len(views) == 0 {
			t.Errorf("%s: no views are found", dir)
		}
		for place, view := range views {
			if way := wayTo(view, bodies, map[string]bool{}); way != "" {
				t.Errorf("%s: a view of the store is open during %s; read first and compute after it", place, way)
			}
		}
	}
}

// viewsOf parses a package: the bodies of its functions by name, and the functions that it
// runs over a view by where they stand.
func viewsOf(t *testing.T, dir string) (bodies map[string][]ast.Node, views map[string]ast.Node) {
	files, err := filepath.Glob(dir + "/*.go")
	if err != nil {
		t.Fatal(err)
	}
	bodies, views = map[string][]ast.Node{}, map[string]ast.Node{}
	set := token.NewFileSet()
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(set, file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				name := n.Name.Name
				if n.Recv != nil {
					name = "." + name
				}
				bodies[name] = append(bodies[name], n.Body)
			case *ast.CallExpr:
				if slices.Contains([]string{".View", ".read"}, called(n)) {
					if f, is := n.Args[len(n.Args)-1].(*ast.FuncLit); is {
						views[set.Position(n.Pos()).String()] = f.Body
					}
				}
			}
			return true
		})
	}
	return bodies, views
}

// wayTo is by which calls, of functions of the package, something lengthy is reached.
func wayTo(body ast.Node, bodies map[string][]ast.Node, seen map[string]bool) (way string) {
	ast.Inspect(body, func(n ast.Node) bool {
		call, is := n.(*ast.CallExpr)
		if !is || way != "" {
			return way == ""
		}
		name := called(call)
		if slices.Contains(lengthy, strings.TrimPrefix(name, ".")) {
			way = name
			return false
		}
		if !seen[name] {
			seen[name] = true
			for _, next := range bodies[name] {
				if on := wayTo(next, bodies, seen); on != "" {
					way = name + ", " + on
				}
			}
		}
		return true
	})
	return way
}

// called is the name of a function, or of a method after a dot; empty for one of the reader r.
func called(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		if of, is := f.X.(*ast.Ident); !is || of.Name != "r" {
			return "." + f.Sel.Name
		}
	}
	return ""
}
