package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/shared/pkg/api"
)

// binDir holds the programs, built once for all tests of this package, or those that
// STAVILY_E2E_BIN has: of several versions, for one.
var binDir string

// helpers are what this program is when it is started with the variable of that name,
// which orders it. They return only when they fail.
var helpers = map[string]func(order string) error{}

func TestMain(m *testing.M) {
	for name, help := range helpers {
		if order, asked := os.LookupEnv(name); asked {
			fmt.Fprintln(os.Stderr, help(order))
			os.Exit(1)
		}
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	if binDir = os.Getenv("STAVILY_E2E_BIN"); binDir != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "stavily-e2e-bin-")
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

// kills is how often a crash test kills.
func kills(t *testing.T) int {
	t.Helper()
	text, set := os.LookupEnv("STAVILY_E2E_COUNT")
	if !set {
		return 5
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("STAVILY_E2E_COUNT=%q: must be a positive number", text)
	}
	return n
}

// world is a server and what a test needs around it.
type world struct {
	*cluster.Cluster
	t   *testing.T
	ctx context.Context
	dir string
}

// newWorld starts a server. At the end of the test everything is stopped, and what
// the processes printed is shown if the test failed. env has further variables of every
// process.
func newWorld(t *testing.T, env ...string) *world {
	t.Helper()
	return newWorldFor(t, 0, nil, env...)
}

// patience is many times what a test takes by itself, on a busy machine too: it ends what hangs.
const patience = 5 * time.Minute

// newWorldFor does it for a test that waits for longer by itself, with arguments of the server.
func newWorldFor(t *testing.T, longer time.Duration, args []string, env ...string) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real processes")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience+longer)
	t.Cleanup(cancel)
	w := &world{t: t, ctx: ctx, dir: t.TempDir()}
	var mu sync.Mutex
	var printed strings.Builder
	log := func(process, line string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(&printed, "%s: %s\n", process, line)
	}
	w.Cluster = cluster.New(cluster.Options{Dir: w.dir, Bin: binDir, Log: log, Args: args, Env: env})
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Errorf("stop the processes: %v", err)
		}
		if t.Failed() {
			mu.Lock()
			defer mu.Unlock()
			t.Logf("the processes printed:\n%s", printed.String())
		}
	})
	w.must(w.StartServer(ctx))
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// agent enrols an agent with further plugins from testdata and with files of
// config/plugins, by name; it does not start it.
func (w *world) agent(id api.AgentID, typ api.AgentType, plugins []string, settings map[string]string) *cluster.Agent {
	w.t.Helper()
	a, err := w.AddAgent(w.ctx, id, typ)
	w.must(err)
	for _, p := range plugins {
		w.must(os.CopyFS(filepath.Join(a.Base, "data", "plugins", p), os.DirFS(filepath.Join("testdata", "plugins", p))))
	}
	for name, text := range settings {
		w.must(a.Configure(name, text))
	}
	return a
}

func (w *world) start(ids ...api.AgentID) {
	w.t.Helper()
	for _, id := range ids {
		w.must(w.StartAgent(w.ctx, id))
	}
}

func (w *world) apply(text string) {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), "workflow.yaml")
	w.must(os.WriteFile(file, []byte(text), 0o600))
	_, err := w.CLI(w.ctx, "workflows", "apply", "-f", file)
	w.must(err)
}

// cli decodes what a command prints with -o json.
func cli[T any](w *world, args ...string) (out T) {
	w.t.Helper()
	text, err := w.CLI(w.ctx, append(args, "-o", "json")...)
	w.must(err)
	if err := json.Unmarshal(text, &out); err != nil {
		w.t.Fatalf("stavily %s: %v in %q", strings.Join(args, " "), err, text)
	}
	return out
}

type run struct {
	ID      string `json:"id"`
	Status  string `json:"status"`
	EventID string `json:"event_id"`
	Steps   []struct {
		Step    string      `json:"step"`
		Status  string      `json:"status"`
		Attempt int         `json:"attempt"`
		Message string      `json:"message"`
		Result  *api.Result `json:"result"`
	} `json:"steps"`
}

func (w *world) runs() []run        { return cli[[]run](w, "runs", "list", "--limit", "500") }
func (w *world) show(id string) run { return cli[run](w, "runs", "show", id) }
func (w *world) events() []eventRecord {
	return cli[[]eventRecord](w, "events", "list", "--limit", "500")
}

type eventRecord struct {
	api.Event
	Agent api.AgentID `json:"agent"`
}

// await asks until check returns nil, and fails with its last error.
func (w *world) await(what string, check func() error) {
	w.t.Helper()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-w.ctx.Done():
			w.t.Fatalf("%s: %v", what, errors.Join(err, w.ctx.Err()))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// awaitRun waits until exactly one run exists and has ended.
func (w *world) awaitRun() run {
	w.t.Helper()
	var found run
	w.await("one run that ended", func() error {
		runs := w.runs()
		if len(runs) != 1 {
			return fmt.Errorf("%d runs", len(runs))
		}
		found = w.show(runs[0].ID)
		if !ended(found.Status) {
			return fmt.Errorf("the run is %s: %+v", found.Status, found.Steps)
		}
		return nil
	})
	return found
}

// compact is JSON without the spaces that the command line adds for people.
func compact(t *testing.T, raw json.RawMessage) string {
	t.Helper()
	var out bytes.Buffer
	if err := json.Compact(&out, raw); err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	return out.String()
}

func ended(status string) bool {
	return status == "completed" || status == "failed" || status == "cancelled"
}

// effects reads the lines that plugins appended to a file.
func effects(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(text))
}

// home is where a plugin of an agent keeps a file.
func (w *world) home(agent api.AgentID, plugin, file string) string {
	return filepath.Join(w.Agent(agent).Base, "data", "state", "plugins", plugin, file)
}
