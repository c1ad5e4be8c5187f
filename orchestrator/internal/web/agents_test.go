package web_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/shared/pkg/api"
)

// The page of an agent shows what its work came to, the page of the run what each step took
// and what the workflow would make of the same event now.
func TestUseOfResources(t *testing.T) {
	s, admin := dashboard(t)
	act := s.Enrol(api.Action, "act-2", "host-2")
	if page := admin.get("/agents/act-2", http.StatusOK); strings.Contains(page, "processor time") {
		t.Errorf("an agent that did nothing has used something:\n%s", page)
	}
	s.Apply("name: works\ntriggers: [{manual: {}}]\nactions: [{id: work, plugin: worker, agents: {ids: [act-2]}}]\n")
	for _, status := range []api.InstructionStatus{api.Completed, api.Failed} {
		s.Do(http.MethodPost, "/api/v1/workflows/works/run", operatorapi.StartRequest{By: "alice"}, nil)
		got, err := act.Poll(t.Context(), 10*time.Second, 1)
		if err != nil || got.Instruction == nil {
			t.Fatalf("polled %+v, %v", got, err)
		}
		i := got.Instruction
		if _, err := act.Progress(t.Context(), i.ID, api.Progress{Status: api.Executing, Attempt: i.Attempt, Lease: i.Lease, BootID: "b"}); err != nil {
			t.Fatal(err)
		}
		result := api.Result{Status: status, Attempt: i.Attempt, Lease: i.Lease, ResourceUsage: &api.ResourceUsage{CPUSeconds: 1.25, MaxRSSBytes: 34_000_000, StoredBytes: 5_600_000}}
		for range 2 { // its answer was lost: it counts once
			if _, err := act.Result(t.Context(), i.ID, result); err != nil {
				t.Fatal(err)
			}
		}
	}
	page := admin.get("/agents/act-2", http.StatusOK)
	for _, want := range []string{"2 instructions in the last 24 hours, of which 1 did not complete", "2.5 s of processor time", "34.0 MB at most", "Serial"} {
		if !strings.Contains(page, want) {
			t.Errorf("the agent's page does not say %q:\n%s", want, page)
		}
	}
	run := s.Runs()[0]
	page = admin.get("/runs/"+string(run.ID), http.StatusOK)
	for _, want := range []string{"1.25 s", "34.0 MB", "5.6 MB", "/events/" + string(run.EventID) + "?replay=works"} {
		if !strings.Contains(page, want) {
			t.Errorf("the run's page does not say %q:\n%s", want, page)
		}
	}
	s.Do(http.MethodDelete, "/api/v1/workflows/works", nil, nil)
	if page := admin.get("/runs/"+string(run.ID), http.StatusOK); strings.Contains(page, "?replay=") {
		t.Error("a run of a workflow that is deleted leads to what it would do now")
	}
}
