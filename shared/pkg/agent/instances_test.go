package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/internal/lockfile"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
)

// living runs an agent that waits for its certificate, until the test ends.
func living(t *testing.T, id, base string, port int) (ended <-chan error) {
	t.Helper()
	file := filepath.Join(base, "config", "agent.yaml")
	write(t, file, fmt.Sprintf("agent: {id: %s, base_dir: %q}\napi: {base_url: \"https://127.0.0.1:1\"}\nhealth: {port: %d, bind: 127.0.0.1}\nmetrics: {port: 0}\nlogging: {output: file}\n", id, base, port))
	loaded, err := config.Load(config.LoadOptions{Type: api.Sensor, Hostname: "host", Environ: []string{"STAVILY_CONFIG=" + file}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	out := make(chan error, 1)
	done := make(chan struct{})
	go func() { defer close(done); out <- run(ctx, loaded, nil, sensorRole) }()
	t.Cleanup(func() { cancel(); <-done })
	return out
}

// awaitFile waits until a file holds a text.
func awaitFile(t *testing.T, path, text string) {
	t.Helper()
	var b []byte
	for range 500 {
		if b, _ = os.ReadFile(path); strings.Contains(string(b), text) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s does not hold %q: %s", path, text, b)
}

// Several agents of one type live on one host, also where they want the same port, and
// no two in one directory (R119, F18, F33).
func TestSeveralAgentsOnOneHost(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	one, two := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")
	first := living(t, "web-01", one, port)
	awaitFile(t, filepath.Join(one, "data", "state", "health.addr"), fmt.Sprint(port))
	second := living(t, "web-02", two, port)
	awaitFile(t, filepath.Join(two, "logs", "agent.log"), "endpoint is not served")
	awaitFile(t, filepath.Join(two, "data", "state", "metrics.addr"), "127.0.0.1:") // the port that was chosen
	awaitFile(t, filepath.Join(two, "logs", "agent.log"), "not enrolled")           // it is at work all the same
	if err := <-living(t, "web-01", one, 0); !errors.Is(err, lockfile.ErrHeld) || !strings.Contains(err.Error(), fmt.Sprintf("by process %d", os.Getpid())) {
		t.Errorf("a second agent in %s ends with %v, want who has it", one, err)
	}
	select {
	case err := <-first:
		t.Errorf("the first ended: %v", err)
	case err := <-second:
		t.Errorf("the second ended: %v", err)
	default:
	}
	for _, name := range []string{"logs/audit/audit.log", "logs/agent.log"} { // R121
		if info, err := os.Stat(filepath.Join(one, filepath.FromSlash(name))); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v, want it written", name, err)
		}
	}
}
