package server

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/shared/pkg/api"
)

// TestReadiness: the server says 503 and why while its disk is nearly full.
func TestReadiness(t *testing.T) {
	free := int64(1 << 30)
	e := engine.New(nil, nil, engine.Options{Logger: slog.New(slog.DiscardHandler), Disk: engine.Disk{
		Keep: engine.DefaultKeepFree, Space: func() (int64, int64, error) { return free, 10 << 30, nil },
	}})
	ask := func() (int, api.Health) {
		var h api.Health
		answer := httptest.NewRecorder()
		tellReadiness(answer, e)
		if err := json.Unmarshal(answer.Body.Bytes(), &h); err != nil {
			t.Errorf("%v: %s", err, answer.Body)
		}
		return answer.Code, h
	}
	if code, h := ask(); code != http.StatusOK || h.Status != "ready" || len(h.Conditions) > 0 {
		t.Errorf("with room it says %d %+v", code, h)
	}
	free = 1 << 20
	if code, h := ask(); code != http.StatusServiceUnavailable || len(h.Conditions) != 1 || h.Conditions[0].Name != "disk" || h.Conditions[0].Remedy == "" {
		t.Errorf("without room it says %d %+v", code, h)
	}
}
