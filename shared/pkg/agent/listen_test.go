package agent

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
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
