package pyenv

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/stavily/agents/shared/internal/pyenv/wheeltest"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/pkg/plugin"
)

func TestMain(m *testing.M) {
	sandbox.Main()
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(goleak.IgnoreTopFunction("github.com/stavily/agents/shared/internal/sandbox.forkLoop")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// host is what this machine gives; builds run at the highest level, or at what
// STAVILY_TEST_LEVEL says.
var host = sync.OnceValues(func() (*sandbox.Host, error) {
	dir, err := os.MkdirTemp("", "pyenv-probe-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	return sandbox.Probe(context.Background(), sandbox.ProbeOptions{Dir: dir})
})

// workshop is a Builder with the directories that it needs.
type workshop struct {
	*Builder
	t    testing.TB
	base string
	log  *bytes.Buffer

	level sandbox.Level
}

func newWorkshop(t testing.TB, change ...func(*Options)) *workshop {
	t.Helper()
	found, err := host()
	if err != nil {
		t.Fatal(err)
	}
	level := found.Level
	if l := os.Getenv("STAVILY_TEST_LEVEL"); l != "" {
		level = sandbox.Level(l)
	}
	base := t.TempDir()
	w := &workshop{t: t, base: base, log: &bytes.Buffer{}, level: level}
	o := Options{
		Dir: filepath.Join(base, "env"), Temp: filepath.Join(base, "run-environment-"),
		Interpreters: NewInterpreters(os.Getenv("PYTHON"), nil),
		Log:          slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Confine: func(_ context.Context, s *sandbox.Spec, _ bool) (func() error, error) {
			s.Host, s.Level = found, level
			return func() error { return nil }, nil
		},
	}
	for _, c := range change {
		c(&o)
	}
	if _, err := o.Interpreters.First(t.Context()); err != nil {
		t.Skip(err)
	}
	if w.Builder, err = New(o); err != nil {
		t.Fatal(err)
	}
	return w
}

// plugin writes a plugin with these files; main.py is there anyway.
func (w *workshop) plugin(id string, files map[string][]byte) *plugin.Plugin {
	w.t.Helper()
	dir := filepath.Join(w.base, "plugins", id)
	manifest := "{id: " + id + ", version: 1.0.0, type: action, runtime: {entry_point: main.py, requirements: requirements.txt}}"
	all := map[string][]byte{"plugin.yaml": []byte(manifest), "main.py": nil, "requirements.txt": nil}
	for name, content := range files {
		all[name] = content
	}
	for name, content := range all {
		put(w.t, filepath.Join(dir, filepath.FromSlash(name)), content)
	}
	p, _, err := plugin.Load(dir)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func put(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// with are the files of a plugin that requires lines and brings wheels.
func with(t testing.TB, lines string, wheels ...wheeltest.Wheel) map[string][]byte {
	files := map[string][]byte{"requirements.txt": []byte(lines)}
	for _, w := range wheels {
		files[w.File()] = w.Bytes(t)
	}
	return files
}

// run runs a program with a plugin's interpreter where plugins run, and gives what it
// prints.
func (w *workshop) run(i Interpreter, p *plugin.Plugin, program string) string {
	w.t.Helper()
	out, theirs, err := os.Pipe()
	if err != nil {
		w.t.Fatal(err)
	}
	defer out.Close()
	temp := w.t.TempDir()
	spec := sandbox.Spec{
		Path: i.Path, Args: []string{i.Path, "-c", program}, Dir: p.Dir, Code: append(slices.Clone(i.Prefix), p.Dir), Temp: temp,
		Stdout: theirs, Stderr: theirs, Limits: sandbox.Limits{Memory: 256 << 20},
	}
	if _, err := w.o.Confine(w.t.Context(), &spec, false); err != nil {
		w.t.Fatal(err)
	}
	process, err := sandbox.Start(w.t.Context(), spec)
	theirs.Close()
	if err != nil {
		w.t.Fatal(err)
	}
	said, err := io.ReadAll(io.LimitReader(out, 1<<20))
	if err != nil {
		w.t.Fatal(err)
	}
	if exit, err := process.Wait(); err != nil || !exit.Success() {
		w.t.Fatalf("%s: %v, %v: %s", program, exit, err, said)
	}
	return strings.TrimSpace(string(said))
}

// left are the names of what is in the directory of environments.
func (w *workshop) left() []string {
	w.t.Helper()
	entries, err := os.ReadDir(w.o.Dir)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}
