package engine

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/shared/pkg/api"
)

// What an agent's work came to is kept by the hour for a day, and then nothing of it is.
func TestUsages(t *testing.T) {
	var u usages
	a, b := agentKey{"o", "a"}, agentKey{"o", "b"}
	begin := time.Date(2026, 11, 27, 2, 59, 0, 0, time.UTC)
	ended := func(status api.InstructionStatus, cpu float64, memory int64) instruction.Instruction {
		return instruction.Instruction{Status: status, Result: &api.Result{ResourceUsage: &api.ResourceUsage{CPUSeconds: cpu, MaxRSSBytes: memory}}}
	}
	u.add(a, ended(api.Completed, 1, 10), begin)
	u.add(a, ended(api.Failed, 0.5, 30), begin.Add(30*time.Second))
	u.add(a, ended(api.Completed, -7, 20), begin.Add(2*time.Minute))
	u.add(b, instruction.Instruction{Status: api.Completed, Result: &api.Result{}}, begin)
	want := make([]Usage, UsageHours)
	want[22] = Usage{Ended: 2, Failed: 1, CPU: 1500 * time.Millisecond, Memory: 30}
	want[23] = Usage{Ended: 1, Memory: 20}
	if diff := cmp.Diff(want, u.of(a, begin.Add(2*time.Minute))); diff != "" {
		t.Error(diff)
	}
	want = append(want[1:], Usage{})
	if diff := cmp.Diff(want, u.of(a, begin.Add(time.Hour+2*time.Minute))); diff != "" {
		t.Error(diff)
	}
	if left := u.of(a, begin.Add(25*time.Hour)); left != nil {
		t.Errorf("after a day there are %+v", left)
	}
	u.add(b, ended(api.Completed, math.MaxFloat64, 1), begin.Add(48*time.Hour))
	if last := u.of(b, begin.Add(48*time.Hour))[UsageHours-1]; last.CPU <= 0 {
		t.Errorf("an agent that says too much has %+v", last)
	}
	if len(u.agents) != 1 {
		t.Errorf("%d agents are kept, of which one works", len(u.agents))
	}
}
