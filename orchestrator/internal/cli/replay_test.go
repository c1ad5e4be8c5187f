package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
)

// A draft is tried on all that has come: what it would do is told, and nothing is done.
func TestReplayOfManyEvents(t *testing.T) {
	s := servertest.Start(t)
	sensor := s.Enrol(api.Sensor, "sensor-1", "a")
	batch := api.EventBatch{Stream: api.Stream{Epoch: "e"}}
	for n, percent := range []string{"50", "95", "99"} {
		batch.Events = append(batch.Events, api.Event{Seq: uint64(n + 1), ID: api.EventID("E" + percent), Type: "disk", Severity: api.Low, Timestamp: api.At(time.Now()), Data: map[string]json.RawMessage{"percent": json.RawMessage(percent)}})
	}
	if _, err := sensor.Events(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	draft := filepath.Join(t.TempDir(), "draft.yaml")
	if err := os.WriteFile(draft, []byte("name: d\ntriggers: [{event: disk}]\nwhen: event.data.percent > 90\nactions: [{id: clean, plugin: p}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := run(t, "--data-dir", s.DataDir, "replay", "--since", "1h", "-f", draft)
	for _, says := range []string{"2 of 3 events would start a run.", "E95", "E99", "clean on the host of the sensor", "1  when event.data.percent > 90"} {
		if code != exitOK || !strings.Contains(out, says) {
			t.Errorf("%d %s%s: does not say %q", code, out, errs, says)
		}
	}
	if _, out, _ := run(t, "--data-dir", s.DataDir, "replay", "--since", "1h", "--limit", "2", "-f", draft); !strings.Contains(out, "2 of 2 events would start a run.\nThey are the newest 2") {
		t.Errorf("does not say that there are more:\n%s", out)
	}
	if runs := s.Runs(); len(runs) != 0 {
		t.Errorf("%d runs", len(runs))
	}
}
