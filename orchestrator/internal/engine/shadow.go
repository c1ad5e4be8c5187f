package engine

import (
	"encoding/json"
	"errors"
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
			d, err := decisionOf(e)
			if err != nil {
				return workflow.ShadowReport{}, err
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

// foreseen adds what a workflow in mode shadow would have begun to what its limits count. Those
// runs count as having ended at once, so that none goes on beside another.
func foreseen(r store.Reader, def *workflow.Definition, key string, now time.Time, past *workflow.Past) error {
	if l := def.Limits; l.Runs > 0 {
		n, err := r.ForeseenFrom(def.Name, now.Add(-l.Per), l.Runs)
		if err != nil {
			return err
		}
		past.Runs += n
	}
	a := def.Limits.Attempts
	if a.Count == 0 {
		return nil
	}
	all, err := r.ForeseenOfKey(def.Name, key, now.Add(-a.Per), 2*a.Count)
	for _, e := range all {
		d, failure := decisionOf(e)
		err = errors.Join(err, failure)
		if d.Escalate {
			past.Escalated = true
		} else {
			past.Attempts++
		}
	}
	return err
}

// decisionOf is what an evaluation keeps of a decision.
func decisionOf(e store.Evaluation) (d workflow.Decision, err error) {
	if err = json.Unmarshal(e.Decision, &d); err != nil {
		return d, fmt.Errorf("evaluation of event %s by workflow %s: %w", e.Event, e.Workflow, err)
	}
	return d, nil
}
