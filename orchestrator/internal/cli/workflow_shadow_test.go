package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// A workflow in mode shadow starts nothing, and its report tells what it would have started, for
// whom, and what decided against the rest; a live one has none.
func TestShadowReport(t *testing.T) {
	s := servertest.Start(t)
	text := "name: d\ntriggers: [{event: disk}]\nwhen: event.data.percent > 90\nactions: [{id: clean, plugin: p}]\n"
	s.Do(http.MethodPost, pathWorkflows, operatorapi.ApplyRequest{File: "d", Text: text + "mode: shadow\n"}, nil)
	s.Do(http.MethodPost, pathWorkflows, operatorapi.ApplyRequest{File: "e", Text: strings.Replace(text, "name: d", "name: e", 1)}, nil)
	for agent, percents := range map[string][]int{"sensor-1": {50, 95, 99, 60}, "sensor-2": {97}} {
		batch := api.EventBatch{Stream: api.Stream{Epoch: "e"}}
		for n, percent := range percents {
			batch.Events = append(batch.Events, api.Event{
				Seq: uint64(n + 1), ID: api.EventID(fmt.Sprint("E", percent)), Type: "disk", Severity: api.Low, Timestamp: api.At(time.Now()),
				Data: map[string]json.RawMessage{"percent": json.RawMessage(fmt.Sprint(percent))},
			})
		}
		if _, err := s.Enrol(api.Sensor, api.AgentID(agent), "a").Events(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	code, out, errs := run(t, "--data-dir", s.DataDir, "workflow", "shadow", "d")
	for _, says := range []string{
		"of 5 events 3 would have started a run.", "2  clean  p  on the host of the sensor  for events of sensor-1",
		"1  clean  p  on the host of the sensor  for events of sensor-2", "2  when event.data.percent > 90", "E97", "E99",
	} {
		if code != exitOK || !strings.Contains(out, says) {
			t.Errorf("%d %s%s: does not say %q", code, out, errs, says)
		}
	}
	var r workflow.ShadowReport
	if _, out, _ := run(t, "--data-dir", s.DataDir, "workflow", "shadow", "e", "-o", "json"); json.Unmarshal([]byte(out), &r) != nil || r.Events != 0 {
		t.Errorf("of a live workflow: %s", out)
	}
	if code, _, errs := run(t, "--data-dir", s.DataDir, "workflow", "shadow", "none"); code != exitFailed || !strings.Contains(errs, "none") {
		t.Errorf("of none: %d %s", code, errs)
	}
	if code, _, errs := run(t, "--data-dir", s.DataDir, "workflow", "shadow", "d", "--since", "soon"); code != exitUsage || !strings.Contains(errs, "--since") {
		t.Errorf("since soon: %d %s", code, errs)
	}
	for _, one := range s.Runs() {
		if one.Workflow == "d" {
			t.Errorf("run %s of a workflow in shadow", one.ID)
		}
	}
	shadowPage(t, s)
}

func shadowPage(t *testing.T, s *servertest.Server) {
	t.Helper()
	ann := s.Browser("ann", account.Viewer)
	for name, want := range map[string]bool{"d": true, "e": false} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, ann.URL+"/workflows/"+name, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := ann.Send(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := limits.ReadAll(resp.Body, 1<<20)
		if err != nil || strings.Contains(string(text), "Of 5 events of the last seven days 3 would have started a run.") != want {
			t.Errorf("page of %s: %v\n%s", name, err, text)
		}
	}
}
