package policy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const (
	maxFunctionLines = 70  // a table of contents and pure leaves read better
	maxFileLines     = 500 // longer files hold more than one idea
)

// source is one Go file of the repository.
type source struct {
	path string // slash-separated, relative to the module
	file *ast.File
	text string
}

func (s source) dir() string  { return path.Dir(s.path) }
func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

var fset = token.NewFileSet()

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(toRoot)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

const toRoot = "../.."

// sources has every Go file, of every platform. Nobody may change what is in them.
func sources(t *testing.T) []source {
	t.Helper()
	out, err := readOnce()
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 20 {
		t.Fatalf("found only %d Go files: the walk is broken", len(out))
	}
	return out
}

var readOnce = sync.OnceValues(func() (out []source, err error) {
	err = filepath.WalkDir(toRoot, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if n := d.Name(); n != ".." && strings.HasPrefix(n, ".") || n == "bin" || n == "dist" || n == "testdata" || n == "node_modules" {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(fset, name, text, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(toRoot, name)
		out = append(out, source{filepath.ToSlash(rel), file, string(text)})
		return err
	})
	return out, err
})

func below(dir, prefix string) bool { return dir == prefix || strings.HasPrefix(dir, prefix+"/") }

func (s source) imports() []string {
	var out []string
	for _, spec := range s.file.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil && strings.HasPrefix(p, Module+"/") {
			out = append(out, strings.TrimPrefix(p, Module+"/"))
		}
	}
	return out
}

func layerOf(dir string) *Layer {
	var best *Layer
	for i := range Layers {
		if l := &Layers[i]; below(dir, l.Prefix) && (best == nil || len(l.Prefix) > len(best.Prefix)) {
			best = l
		}
	}
	return best
}

func TestLayers(t *testing.T) {
	for _, s := range sources(t) {
		layer := layerOf(s.dir())
		if layer == nil {
			t.Errorf("%s: no row in Layers for its directory", s.path)
			continue
		}
		for _, imp := range s.imports() {
			allowed := below(imp, layer.Prefix) || slices.ContainsFunc(layer.May, func(p string) bool { return below(imp, p) })
			if !allowed && !s.isTest() {
				t.Errorf("%s imports %s, which the row %q does not allow", s.path, imp, layer.Prefix)
			}
			for _, n := range Never {
				if below(s.dir(), n[0]) && below(imp, n[1]) && !s.isTest() {
					t.Errorf("%s imports %s: %s never imports %s", s.path, imp, n[0], n[1])
				}
			}
		}
	}
}

var required = regexp.MustCompile(`(?m)^\s*(?:require )?([a-z0-9.-]+\.[a-z]+/\S+) v\S+$`)

func TestEveryDependencyHasAReason(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(t), "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	tools := regexp.MustCompile(`(?m)^\s*(?:tool )?(\S+/cmd/\S+)$`).FindAllStringSubmatch(string(text), -1)
	found := map[string]bool{}
	for _, m := range required.FindAllStringSubmatch(string(text), -1) {
		found[m[1]] = true
	}
	for _, m := range tools {
		for name := range Dependencies {
			if strings.HasPrefix(m[1], name+"/") {
				found[name] = true
			}
		}
	}
	for name := range found {
		if Dependencies[name] == "" {
			t.Errorf("go.mod requires %s and Dependencies gives no reason", name)
		}
	}
	for name := range Dependencies {
		if !found[name] && !strings.Contains(string(text), name+" ") {
			t.Errorf("Dependencies gives a reason for %s, which go.mod does not require", name)
		}
	}
	if len(found) < 5 {
		t.Errorf("found only %d requirements: the pattern is broken", len(found))
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	documented, dirs := map[string]int{}, map[string]bool{}
	for _, s := range sources(t) {
		if s.isTest() {
			continue
		}
		dirs[s.dir()] = true
		if s.file.Doc != nil {
			documented[s.dir()]++
		}
	}
	for dir := range dirs {
		switch n := documented[dir]; {
		case n == 0:
			t.Errorf("%s: no package documentation", dir)
		case n > 1:
			t.Errorf("%s: %d files carry package documentation, want one", dir, n)
		}
	}
}

func TestSizes(t *testing.T) {
	for _, s := range sources(t) {
		lines := strings.Count(s.text, "\n")
		if !s.isTest() && lines > maxFileLines {
			t.Errorf("%s: %d lines, at most %d: it holds more than one idea", s.path, lines, maxFileLines)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil || s.isTest() {
				continue
			}
			if n := fset.Position(f.End()).Line - fset.Position(f.Pos()).Line + 1; n > maxFunctionLines {
				t.Errorf("%s: %s has %d lines, at most %d", s.path, f.Name.Name, n, maxFunctionLines)
			}
		}
	}
}

// forbidden lists calls by qualifier and name. An empty qualifier means a method of
// anything, in a file that starts programs.
var forbidden = []struct{ qualifier, name, instead string }{
	{"io", "ReadAll", "limits.ReadAll"},
	{"ioutil", "", "os, io and limits"},
	{"bufio", "NewScanner", "limits.NewLineReader"},
	{"", "CombinedOutput", "a limits.Buffer as Stdout and Stderr"},
	{"", "Output", "a limits.Buffer as Stdout"},
	{"http", "Get", "a client with time limits"},
	{"http", "Post", "a client with time limits"},
	{"http", "DefaultClient", "a client with time limits"},
	{"http", "ListenAndServe", "an http.Server with time limits"},
	{"slog", "Default", "the logger that was passed in"},
}

func TestForbiddenCalls(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest() || below(s.dir(), "internal/limits") {
			continue
		}
		startsPrograms := isPackage(s, ast.NewIdent("exec"))
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, called := selector(n)
			if sel == nil {
				return true
			}
			id, _ := sel.X.(*ast.Ident)
			for _, f := range forbidden {
				named := f.name == "" || sel.Sel.Name == f.name
				method := f.qualifier == "" && called && !isPackage(s, id) && startsPrograms
				function := f.qualifier != "" && isPackage(s, id) && id.Name == f.qualifier
				if named && (method || function) {
					t.Errorf("%s: %s.%s: use %s", fset.Position(n.Pos()), f.qualifier, sel.Sel.Name, f.instead)
				}
			}
			return true
		})
	}
}

// selector returns the x.y that a node is, or that it calls.
func selector(n ast.Node) (sel *ast.SelectorExpr, called bool) {
	if call, ok := n.(*ast.CallExpr); ok {
		sel, called = call.Fun.(*ast.SelectorExpr)
		return sel, called
	}
	sel, _ = n.(*ast.SelectorExpr)
	return sel, false
}

// isPackage reports whether id names an import of the file rather than a value.
func isPackage(s source, id *ast.Ident) bool {
	if id == nil {
		return false
	}
	return slices.ContainsFunc(s.file.Imports, func(spec *ast.ImportSpec) bool {
		if spec.Name != nil {
			return spec.Name.Name == id.Name
		}
		p, err := strconv.Unquote(spec.Path.Value)
		return err == nil && path.Base(p) == id.Name
	})
}

// Where a word or name that is otherwise refused has its place.
var exceptions = map[string][]string{
	"InsecureSkipVerify": {"shared/pkg/pki/"},
	"context.Background": {"shared/pkg/agent/main.go", "orchestrator/cmd/", "test/"},
}

func TestRestrictedNames(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest() || below(s.dir(), "internal/policy") {
			continue
		}
		for name, places := range exceptions {
			allowed := slices.ContainsFunc(places, func(p string) bool { return strings.HasPrefix(s.path, p) })
			if !allowed && strings.Contains(s.text, name) {
				t.Errorf("%s: %s has its place only in %v", s.path, name, places)
			}
		}
	}
}

// The words are put together here so that this file does not match itself.
var stubWords = regexp.MustCompile(`(?i)\b(` + strings.Join([]string{"TO" + "DO", "FIX" + "ME", "not " + "implemented", "un" + "implemented", "place" + "holder value", "in a real " + "system"}, "|") + `)\b`)

func TestNoStubs(t *testing.T) {
	for _, s := range sources(t) {
		for i, line := range strings.Split(s.text, "\n") {
			if m := stubWords.FindString(line); m != "" {
				t.Errorf("%s:%d: %q: finish it or leave it out", s.path, i+1, m)
			}
		}
	}
}

var uselessNames = regexp.MustCompile(`^(util|utils|common|types|manager|enhanced|base|helper|helpers|misc)$`)

func TestPackageNames(t *testing.T) {
	for _, s := range sources(t) {
		if name := s.file.Name.Name; uselessNames.MatchString(name) {
			t.Errorf("%s: package %s says nothing: name it for the thing it holds", s.path, name)
		}
	}
}
