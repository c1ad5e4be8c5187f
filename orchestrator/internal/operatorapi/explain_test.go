package operatorapi_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// An event is explained by the clause that decided and its value, for each workflow that it
// came near, and by where its runs stand.
func TestExplain(t *testing.T) {
	s := servertest.Start(t)
	sensor, other := s.Enrol(api.Sensor, "s", "h"), s.Enrol(api.Sensor, "other", "h2")
	for _, text := range []string{
		"name: condition\ntriggers: [{event: disk.*}]\nwhen: event.data.percent >= 90\nactions: [{plugin: cleaner}]\n",
		"name: cooldown\ncooldown: 1h\ntriggers: [{event: disk.full}]\noutputs: [{plugin: slack}]\n",
		"name: elsewhere\ntriggers: [{event: memory.full}]\noutputs: [{plugin: slack}]\n",
		"name: off\nmode: off\ntriggers: [{event: disk.full}]\noutputs: [{plugin: slack}]\n",
		"name: works\ntriggers: [{event: disk.full}]\nactions: [{plugin: cleaner}]\n",
	} {
		s.Apply(text)
	}
	send := func(c *servertest.Agent, seq uint64, id api.EventID, typ string) {
		t.Helper()
		_, err := c.Events(t.Context(), api.EventBatch{Stream: api.Stream{Epoch: "e"}, Events: []api.Event{{
			Seq: seq, ID: id, Type: typ, Severity: api.High, Timestamp: api.At(time.Now()), Data: map[string]json.RawMessage{"percent": json.RawMessage("42")},
		}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	send(sensor, 1, "E1", "disk.full")
	send(sensor, 2, "E2", "disk.full")
	send(sensor, 3, "E3", "cpu.high")
	send(other, 1, "E3", "disk.full")

	explain := func(id string) (out []operatorapi.Explanation) {
		t.Helper()
		if err := s.Operator.Do(t.Context(), http.MethodGet, "/api/v1/events/"+id+"/explanation", nil, nil, &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	second := explain("E2")
	if len(second) != 1 || second[0].Event.Type != "disk.full" || second[0].Event.Agent != "s" {
		t.Fatalf("explained %+v", second)
	}
	got := map[string]string{}
	for _, e := range second[0].Evaluations {
		got[e.Workflow] = e.Decision.Reason
		if (e.Run != nil) != e.Decision.Run || len(e.Decision.Clauses) < 2 {
			t.Errorf("%s: %+v", e.Workflow, e)
		}
		if e.Run != nil && (e.Run.Status != "running" || len(e.Run.Steps) != 1 || !strings.Contains(e.Run.Steps[0].Message, "no action agent")) {
			t.Errorf("%s: run %+v", e.Workflow, e.Run)
		}
	}
	for name, want := range map[string]string{
		"condition": "when is not met: event.data.percent >= 90 (event.data.percent = 42)",
		"cooldown":  "cooldown, 1h0m0s left",
		"off":       "the workflow is off",
		"works":     "everything is met",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
	if len(got) != 4 {
		t.Errorf("evaluated by %v, and one of them is for other events", got)
	}
	// Two agents gave the same id to events of theirs.
	if both := explain("E3"); len(both) != 2 || both[0].Event.Agent != "other" || len(both[0].Evaluations) != 4 || both[1].Event.Type != "cpu.high" || len(both[1].Evaluations) != 0 {
		t.Errorf("explained %+v", both)
	}
	err := s.Operator.Do(t.Context(), http.MethodGet, "/api/v1/events/E9/explanation", nil, nil, nil)
	if api.CodeOf(err) != api.CodeNotFound {
		t.Errorf("an event that is not there: %v", err)
	}
}

// A workflow in the shadow, and a draft that an old event is replayed against, decide and
// say what they would do, and do nothing.
func TestShadowAndReplay(t *testing.T) {
	s := servertest.Start(t)
	sensor := s.Enrol(api.Sensor, "s", "h")
	const text = "name: clean\nmode: shadow\ncooldown: 1h\ntriggers: [{event: disk.full}]\nactions: [{id: clean, plugin: cleaner, with: {path: \"${{ event.data.mount }}\"}}]\n"
	s.Apply(text)
	for seq := range uint64(2) {
		id := api.EventID([]string{"E1", "E2"}[seq])
		_, err := sensor.Events(t.Context(), api.EventBatch{Stream: api.Stream{Epoch: "e"}, Events: []api.Event{{
			Seq: seq + 1, ID: id, Type: "disk.full", Severity: api.High, Timestamp: api.At(time.Now()), Data: map[string]json.RawMessage{"mount": json.RawMessage(`"/var"`)},
		}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	decision := func(id string) workflow.Decision {
		t.Helper()
		var out []operatorapi.Explanation
		if err := s.Operator.Do(t.Context(), http.MethodGet, "/api/v1/events/"+id+"/explanation", nil, nil, &out); err != nil || len(out) != 1 || len(out[0].Evaluations) != 1 {
			t.Fatalf("explained %+v, %v", out, err)
		}
		return out[0].Evaluations[0].Decision
	}
	first := decision("E1")
	if !first.Run || !first.Shadow || len(first.Begins) != 1 || string(first.Begins[0].Input["path"]) != `"/var"` || !first.Begins[0].Target.SameHost {
		t.Errorf("in the shadow: %+v", first)
	}
	if second := decision("E2"); second.Run || second.Reason != "cooldown, 1h0m0s left" {
		t.Errorf("within the cooldown of what was not run: %+v", second)
	}
	replay := func(r operatorapi.ReplayRequest) (v operatorapi.Evaluation, err error) {
		return v, s.Operator.Do(t.Context(), http.MethodPost, "/api/v1/events/E1/replay", nil, r, &v)
	}
	v, err := replay(operatorapi.ReplayRequest{File: "draft.yaml", Text: strings.NewReplacer("cooldown: 1h\n", "", "mode: shadow", "mode: live", "cleaner", "other").Replace(text)})
	if err != nil || !v.Decision.Run || len(v.Decision.Begins) != 1 || v.Decision.Begins[0].Plugin != "other" {
		t.Errorf("a draft: %+v, %v", v, err)
	}
	if v, err := replay(operatorapi.ReplayRequest{Workflow: "clean"}); err != nil || v.Version != 1 || v.Decision.Run {
		t.Errorf("what is in effect, within its cooldown: %+v, %v", v, err)
	}
	for name, c := range map[string]struct {
		r    operatorapi.ReplayRequest
		code api.Code
	}{
		"nothing":          {operatorapi.ReplayRequest{}, api.CodeInvalid},
		"both":             {operatorapi.ReplayRequest{Workflow: "clean", Text: text}, api.CodeInvalid},
		"no such workflow": {operatorapi.ReplayRequest{Workflow: "none"}, api.CodeNotFound},
		"no such version":  {operatorapi.ReplayRequest{Workflow: "clean", Version: 9}, api.CodeNotFound},
		"a mistake":        {operatorapi.ReplayRequest{File: "f", Text: "name: x\nbogus: 1\n"}, api.CodeInvalid},
		"no such sender":   {operatorapi.ReplayRequest{Agent: "none", Workflow: "clean"}, api.CodeNotFound},
	} {
		if _, err := replay(c.r); api.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	if runs := s.Runs(); len(runs) != 0 {
		t.Errorf("something ran: %+v", runs)
	}
}
