package policy

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/importer"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/config"
)

const configPackage = Module + "/shared/pkg/config"

// listed is a package as `go list -json` tells it.
type listed struct {
	ImportPath, Dir, Export string
	GoFiles, Imports        []string
}

// packages lists what the agents are linked from, with export data to check types by.
func packages(t *testing.T) []listed {
	t.Helper()
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("go is not in PATH")
	}
	cmd := exec.Command(tool, "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,Imports", "./sensor-agent/...", "./action-agent/...")
	cmd.Dir = root(t)
	var out, failed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &failed
	if err := cmd.Run(); err != nil {
		t.Fatalf("go list: %v: %s", err, &failed)
	}
	var all []listed
	for dec := json.NewDecoder(&out); ; {
		var p listed
		if err := dec.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// selections type-checks one package and gives what it selects of package config:
// fields and methods, as Struct.Name, by the function that they stand in.
func selections(t *testing.T, p listed, imp types.Importer, files map[string]*ast.File) map[string][]string {
	t.Helper()
	var syntax []*ast.File
	for _, name := range p.GoFiles {
		syntax = append(syntax, files[path.Join(p.Dir, name)])
	}
	info := &types.Info{Selections: map[*ast.SelectorExpr]*types.Selection{}}
	if _, err := (&types.Config{Importer: imp}).Check(p.ImportPath, fset, syntax, info); err != nil {
		t.Fatalf("%s: %v", p.ImportPath, err)
	}
	out := map[string][]string{}
	for _, file := range syntax {
		written := targets(file)
		for _, d := range file.Decls {
			in := ""
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil {
				in = strings.TrimPrefix(types.ExprString(f.Recv.List[0].Type), "*") + "." + f.Name.Name
			}
			ast.Inspect(d, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok || written[sel] {
					return true
				}
				if s := info.Selections[sel]; s != nil && s.Obj().Pkg() != nil && s.Obj().Pkg().Path() == configPackage {
					out[in] = append(out[in], typeOf(s.Recv())+"."+s.Obj().Name())
				}
				return true
			})
		}
	}
	return out
}

// targets are the selectors that are assigned to: that is no reading.
func targets(file *ast.File) map[*ast.SelectorExpr]bool {
	out := map[*ast.SelectorExpr]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if a, ok := n.(*ast.AssignStmt); ok {
			for _, left := range a.Lhs {
				if sel, ok := left.(*ast.SelectorExpr); ok {
					out[sel] = true
				}
			}
		}
		return true
	})
	return out
}

func typeOf(t types.Type) string {
	if p, ok := t.Underlying().(*types.Pointer); ok {
		t = p.Elem()
	}
	if named, ok := t.(*types.Named); ok {
		return named.Obj().Name()
	}
	return t.String()
}

// settled are the keys that have done their work when the configuration is loaded.
var settled = map[string]string{
	"agent.type":           "is compared with the binary",
	"api.retry.backoff":    "has one value",
	"security.tls.enabled": "has one value, and a sentence for the other",
	"tracing.exporter":     "has one value",
}

// A key that nothing reads does not exist: each field is read outside of the package
// that decodes it, by itself or through a method that is called there.
func TestEveryKeyIsRead(t *testing.T) {
	t.Parallel()
	files := map[string]*ast.File{}
	for _, s := range sources(t) {
		files[path.Join(root(t), s.path)] = s.file
	}
	all := packages(t)
	imp := importer.ForCompiler(fset, "gc", func(name string) (io.ReadCloser, error) {
		i := slices.IndexFunc(all, func(p listed) bool { return p.ImportPath == name })
		return os.Open(all[i].Export)
	})
	read := map[string]bool{}
	var inside map[string][]string // by the method of package config that reads them
	for _, p := range all {
		switch {
		case p.ImportPath == configPackage:
			inside = selections(t, p, imp, files)
		case slices.Contains(p.Imports, configPackage), slices.Contains(p.Imports, Module+"/shared/pkg/agent"):
			for _, names := range selections(t, p, imp, files) {
				for _, name := range names {
					read[name] = true
				}
			}
		}
	}
	for method, names := range inside {
		if read[method] {
			for _, name := range names {
				read[name] = true
			}
		}
	}
	for _, of := range []reflect.Type{reflect.TypeFor[config.Config](), reflect.TypeFor[config.PluginFile]()} {
		unread(t, of, "", read)
	}
}

func unread(t *testing.T, section reflect.Type, prefix string, read map[string]bool) {
	t.Helper()
	for i := range section.NumField() {
		f := section.Field(i)
		key := prefix + f.Tag.Get("yaml")
		if !read[section.Name()+"."+f.Name] && settled[key] == "" {
			t.Errorf("%s (%s.%s) is read by nothing outside of shared/pkg/config: let something read it, or remove it", key, section.Name(), f.Name)
			continue
		}
		if f.Type.Kind() == reflect.Struct && f.Type.PkgPath() == configPackage && f.Type.NumField() > 0 && f.Type.Field(0).Tag.Get("yaml") != "" {
			unread(t, f.Type, key+".", read)
		}
	}
}
