package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

func probe(t *testing.T, h http.Handler, path, remote string) (int, api.Health) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.RemoteAddr = remote
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var body api.Health
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("GET %s: %q: %v", path, w.Body, err)
	}
	return w.Code, body
}

func TestProbesLookBeforeTheyAnswer(t *testing.T) {
	h := newHealth(time.Now)
	handler := healthHandler(h, "/health", "/ready")
	const local, remote = "127.0.0.1:5", "192.0.2.1:5"

	if code, body := probe(t, handler, "/health", local); code != 200 || body.Status != "ok" {
		t.Errorf("/health of a well agent = %d %+v, want 200 ok", code, body)
	}
	h.Set("not_enrolled", Degraded, true, "no certificate", "enrol")
	if code, _ := probe(t, handler, "/health", local); code != 200 {
		t.Errorf("/health of an agent that is not enrolled = %d, want 200: a restart would not help", code)
	}
	code, body := probe(t, handler, "/ready", local)
	if code != 503 || len(body.Conditions) != 1 || body.Conditions[0].Remedy != "enrol" {
		t.Errorf("/ready = %d %+v, want 503 with the remedy", code, body)
	}
	if _, body := probe(t, handler, "/ready", remote); len(body.Conditions) != 0 {
		t.Errorf("a remote caller sees details: %+v", body)
	}
	h.Set("stuck", Failing, true, "m", "r")
	if code, _ := probe(t, handler, "/health", local); code != 503 {
		t.Errorf("/health of a stuck agent = %d, want 503", code)
	}
}

// An address that cannot be written down is, as soon as it can be: without it nobody finds an
// endpoint on a free port.
func TestAnAddressIsRecordedLater(t *testing.T) {
	base := t.TempDir()
	stateFile := filepath.Join(base, stateDir, "health.addr")
	if err := errors.Join(makeBase(base), os.MkdirAll(filepath.Join(stateFile, "in the way"), 0o700)); err != nil {
		t.Fatal(err)
	}
	log := &lines{}
	l := &listener{name: "health", base: base, log: slog.New(slog.NewTextHandler(log, nil))}
	synctest.Test(t, func(t *testing.T) {
		end := l.record(t.Context(), "127.0.0.1:7")
		if err := os.RemoveAll(stateFile); err != nil {
			t.Fatal(err)
		}
		time.Sleep(listenRetry)
		synctest.Wait()
		if text := read(t, stateFile); text != "127.0.0.1:7\n" {
			t.Errorf("recorded %q", text)
		}
		end()
	})
	if log.count("not recorded", "health") != 1 {
		t.Errorf("the log does not tell it once:\n%s", log)
	}
}

// A port that is taken is told, tried again, and served when it is free; the state file
// names the port while it is served and no longer.
func TestAPortThatIsTakenIsServedLater(t *testing.T) {
	base := t.TempDir()
	if err := makeBase(base); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := taken.Addr().String()
	stateFile := filepath.Join(base, stateDir, "health.addr")
	write(t, stateFile, "127.0.0.1:1\n") // of a process that was killed
	h, log := newHealth(time.Now), &lines{}
	l := &listener{name: "health", addr: addr, handler: healthHandler(h, "/health", "/ready"), base: base, health: h,
		log: slog.New(slog.NewTextHandler(log, nil))}

	if err := l.serve(t.Context()); err == nil {
		t.Fatal("a taken port was bound")
	}
	synctest.Test(t, func(t *testing.T) {
		again := make(chan net.Addr, 1)
		l.bound = func(a net.Addr) { again <- a }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		synctest.Wait()
		if c := h.Snapshot().Conditions; len(c) != 1 || c[0].Name != "listen_health" || !strings.Contains(c[0].Remedy, "health.port") {
			t.Errorf("conditions %+v, want listen_health with the key to set", c)
		}
		if _, err := os.Stat(stateFile); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the state file of a former process is there: %v", err)
		}
		begin := time.Now()
		if err := taken.Close(); err != nil {
			t.Fatal(err)
		}
		if got := <-again; got.String() != addr || time.Since(begin) != listenRetry {
			t.Errorf("bound %s after %v, want %s after %v", got, time.Since(begin), addr, listenRetry)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	if log.count("endpoint is not served", "health") != 1 {
		t.Errorf("the log does not tell it once:\n%s", log)
	}
	bound := make(chan net.Addr, 1)
	l.bound = func(a net.Addr) { bound <- a }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	if got := (<-bound).String(); got != addr || read(t, stateFile) != addr+"\n" {
		t.Errorf("bound %s and recorded %q, want %s", got, read(t, stateFile), addr)
	}
	if c := h.Snapshot().Conditions; len(c) != 0 {
		t.Errorf("conditions %+v though it is served", c)
	}
	var out strings.Builder
	if err := askHealth(t.Context(), stateFile, "/health", &out); err != nil || !strings.Contains(out.String(), `"ok"`) {
		t.Errorf("askHealth: %v, %q", err, &out)
	}
	h.Set("not_enrolled", Degraded, true, "m", "enrol it")
	if err := askHealth(t.Context(), stateFile, "/ready", &out); !errors.Is(err, errUnhealthy) || !strings.Contains(out.String(), "enrol it") {
		t.Errorf("askHealth of one that is not ready: %v, %q", err, &out)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
	if err := askHealth(t.Context(), stateFile, "/health", &out); !errors.Is(err, errUnhealthy) {
		t.Errorf("askHealth of one that has ended: %v", err)
	}
}

func TestReachable(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:80": "127.0.0.1:80", "[::]:80": "localhost:80", "0.0.0.0:80": "localhost:80", "192.0.2.1:80": "192.0.2.1:80", "junk": "junk",
	} {
		if got := reachable(addr); got != want {
			t.Errorf("reachable(%s) = %s, want %s", addr, got, want)
		}
	}
}
