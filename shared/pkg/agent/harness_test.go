package agent

import (
	"bytes"
	"context"
	"crypto"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/stavily/agents/shared/internal/pyenv"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/pki"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

// sharedCache is where the SDK is unpacked, once for all tests.
var sharedCache string

func TestMain(m *testing.M) {
	sandbox.Main() // this binary is also what confines the plugins of its tests
	var err error
	if sharedCache, err = os.MkdirTemp("", "agent-test-"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(sharedCache)
	if code == 0 {
		if err := goleak.Find(goleak.IgnoreTopFunction("github.com/stavily/agents/shared/internal/sandbox.forkLoop")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

var interpreter = sync.OnceValues(func() (pyenv.Interpreter, error) {
	return pyenv.ResolvePython(context.Background(), os.Getenv("PYTHON"))
})

// lines is a log that a test reads while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// count is how many lines hold all of the texts.
func (l *lines) count(texts ...string) int {
	n := 0
line:
	for line := range strings.Lines(l.String()) {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				continue line
			}
		}
		n++
	}
	return n
}

// loadConfig is the configuration of agent web-01 in a base directory of its own,
// with these STAVILY_* variables besides.
func loadConfig(t *testing.T, typ api.AgentType, environ ...string) *config.Loaded {
	t.Helper()
	loaded, err := config.Load(config.LoadOptions{Type: typ, Hostname: "host", Environ: append([]string{
		"STAVILY_AGENT_ID=web-01", "STAVILY_BASE_DIR=" + filepath.Join(t.TempDir(), "base"),
		"STAVILY_API_BASE_URL=https://127.0.0.1:1", "STAVILY_API_RATE_LIMIT_REQUESTS_PER_SECOND=1000",
		"STAVILY_PLUGINS_PYTHON_INTERPRETER=" + os.Getenv("PYTHON"),
	}, environ...)})
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

// testRuntime is a Runtime with its base directory, before anything runs on it.
func testRuntime(t *testing.T, typ api.AgentType, environ ...string) (*Runtime, *lines) {
	t.Helper()
	cfg := &loadConfig(t, typ, environ...).Config
	release, err := openBase(cfg.Agent.BaseDir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { release() })
	log := &lines{}
	rt, err := newRuntime(cfg, Role{Type: typ, Program: string(typ) + "-agent"}, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return rt, log
}

// enrolled stores a certificate with this identity where the agent looks for one.
func enrolled(t *testing.T, cfg *config.Config, ca *pkitest.Authority, identity string) {
	t.Helper()
	leaf := ca.Issue(pkitest.Agent("spiffe://stavily/org/" + identity))
	auth := cfg.API.Auth
	err := pki.SaveCredentials(pki.Files{Cert: auth.CertFile, Key: auth.KeyFile, CA: auth.CAFile},
		leaf.PrivateKey.(crypto.Signer), pkitest.PEM(leaf.Leaf), pkitest.PEM(ca.Cert))
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// names are the entries of a directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// condition is the one with this name, or nil.
func condition(rt *Runtime, name string) *api.Condition {
	for _, c := range rt.Health.Snapshot().Conditions {
		if c.Name == name {
			return &c
		}
	}
	return nil
}

var sensorRole = Role{Type: api.Sensor, Program: "sensor-agent", Summary: "Watches."}
