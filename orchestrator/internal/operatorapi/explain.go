package operatorapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// eventExplain tells what became of an event. Agents choose the ids of their events, so
// there can be several with the same; they are in the order of their agents.
func (o operators) eventExplain(ctx context.Context, c *route.Call) (any, error) {
	id := api.EventID(c.PathValue("id"))
	var out []Explanation
	err := o.read(ctx, c, func(r store.Reader) error {
		events, err := r.EventsWithID(id)
		if err == nil && len(events) == 0 {
			err = store.ErrNotFound
		}
		if err != nil {
			return err
		}
		evaluations, err := r.Evaluations(id)
		for _, e := range events {
			this := Explanation{Event: viewEvent(e), Evaluations: []Evaluation{}}
			for _, one := range evaluations {
				if one.Agent != e.Agent {
					continue
				}
				view, failure := viewEvaluation(r, one)
				err = errors.Join(err, failure)
				this.Evaluations = append(this.Evaluations, view)
			}
			out = append(out, this)
		}
		return err
	})
	return out, err
}

func viewEvaluation(r store.Reader, e store.Evaluation) (Evaluation, error) {
	view := Evaluation{Workflow: e.Workflow, Version: e.Version, At: api.At(e.At)}
	if err := json.Unmarshal(e.Decision, &view.Decision); err != nil {
		return view, fmt.Errorf("evaluation of event %s by workflow %s: %w", e.Event, e.Workflow, err)
	}
	if e.Run == "" {
		return view, nil
	}
	run, err := detailOf(r, e.Run)
	view.Run = &run
	return view, err
}
