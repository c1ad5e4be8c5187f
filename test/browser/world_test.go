package browser

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/shared/pkg/api"
)

// binDir holds the programs, built once for all tests of this package.
var binDir string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "stavily-browser-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := cluster.Build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	binDir = dir
	return m.Run()
}

// world is a server with an action agent that has the plugin worker.
type world struct {
	*cluster.Cluster
	t   *testing.T
	ctx context.Context

	mu      sync.Mutex // guards printed
	printed []string
}

// password is what the first admin chooses.
const password = "correct horse battery staple"

func newWorld(t *testing.T) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real processes")
	}
	chromium(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	w := &world{t: t, ctx: ctx}
	var env []string
	if python := os.Getenv("PYTHON"); python != "" {
		env = append(env, "STAVILY_PLUGINS_PYTHON_INTERPRETER="+python)
	}
	w.Cluster = cluster.New(cluster.Options{Dir: t.TempDir(), Bin: binDir, Log: w.hear, Env: env})
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Errorf("stop the processes: %v", err)
		}
		if t.Failed() {
			t.Log(strings.Join(w.printed, "\n"))
		}
	})
	w.must(w.StartServer(ctx))
	a, err := w.AddAgent(ctx, "act-1", api.Action)
	w.must(err)
	w.must(os.CopyFS(filepath.Join(a.Base, "data", "plugins", "worker"), os.DirFS("testdata/plugins/worker")))
	w.must(w.StartAgent(ctx, "act-1"))
	return w
}

func (w *world) hear(process, line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.printed = append(w.printed, process+": "+line)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

var linkPattern = regexp.MustCompile(`https://[0-9.]+:[0-9]+/welcome\?link=\S+`)

// link is the one-time link of the first admin, which the server prints.
func (w *world) link() string {
	w.t.Helper()
	for range 100 {
		w.mu.Lock()
		found := linkPattern.FindString(strings.Join(w.printed, "\n"))
		w.mu.Unlock()
		if found != "" {
			return strings.TrimRight(found, `"`)
		}
		time.Sleep(50 * time.Millisecond)
	}
	w.t.Fatal("the server has printed no link for the first admin")
	return ""
}

// admin is a browser in which the first admin has logged in.
func (w *world) admin() *browser {
	w.t.Helper()
	link := w.link()
	base, query, _ := strings.Cut(link, "/welcome")
	b := open(w.t, base)
	b.visit("/welcome" + query)
	b.see("Welcome, admin")
	b.shoot("welcome")
	b.fill("[name=password]", password)
	b.fill("[name=again]", password)
	b.press("Set the password")
	b.see("Everything is fine.")
	return b
}

// apply puts a workflow into effect with the command line.
func (w *world) apply(text string) {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), "workflow.yaml")
	w.must(os.WriteFile(file, []byte(text), 0o600))
	_, err := w.CLI(w.ctx, "workflows", "apply", "-f", file)
	w.must(err)
}
