package engine

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// ShadowLookback is how far back a report goes unless a time is asked for.
const ShadowLookback = 7 * 24 * time.Hour

// ShadowReport tells what a workflow in mode shadow would have done since a time, by the newest
// most events that it decided on.
func ShadowReport(r store.Reader, name string, since time.Time, most int) (workflow.ShadowReport, error) {
	count := workflow.NewShadowCount(name, since)
	var last store.Evaluation
	for left := most; ; {
		page, err := r.Shadowed(name, since, last, store.PageSize(left+1))
		if err != nil {
			return workflow.ShadowReport{}, err
		}
		for _, e := range page {
			if left == 0 {
				return count.Report(true), nil
			}
			var d workflow.Decision
			if err := json.Unmarshal(e.Decision, &d); err != nil {
				return workflow.ShadowReport{}, fmt.Errorf("evaluation of event %s by workflow %s: %w", e.Event, e.Workflow, err)
			}
			count.Add(workflow.ShadowRun{Event: e.Event, Agent: e.Agent, Version: e.Version, At: api.At(e.At)}, d)
			last = e
			left--
		}
		if len(page) == 0 {
			return count.Report(false), nil
		}
	}
}
