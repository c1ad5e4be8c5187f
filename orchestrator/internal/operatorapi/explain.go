package operatorapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
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

// eventReplay says what a workflow would make of an event. Nothing is executed.
func (o operators) eventReplay(ctx context.Context, c *route.Call) (any, error) {
	var r ReplayRequest
	if err := c.Decode(&r); err != nil {
		return nil, err
	}
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	if (r.Text == "") == (r.Workflow == "") {
		return nil, api.Errorf(api.CodeInvalid, "Name a workflow that was applied, or send the text of one.")
	}
	agent, err := o.senderOf(ctx, c, r.Agent)
	if err != nil {
		return nil, err
	}
	view := Evaluation{Workflow: r.Workflow, At: api.At(time.Now())}
	if r.Workflow != "" {
		if r.File, view.Version, r.Text, err = o.textOf(ctx, c, r.Workflow, r.Version); err != nil {
			return nil, err
		}
	}
	d, err := workflow.Parse(r.File, []byte(r.Text))
	if err != nil {
		return nil, api.Errorf(api.CodeInvalid, "%v", err)
	}
	view.Workflow = d.Name
	view.Decision, err = o.engine.Replay(ctx, id, d, agent, api.EventID(c.PathValue("id")))
	return view, missing(c, err)
}

// maxShadowed is how many events a report is about at most.
const maxShadowed = 20_000

// workflowShadow tells what a workflow in mode shadow would have done.
func (o operators) workflowShadow(ctx context.Context, c *route.Call) (any, error) {
	since, err := instant(c, "since")
	if err != nil {
		return nil, err
	}
	if since.IsZero() {
		since = time.Now().Add(-engine.ShadowLookback)
	}
	var report workflow.ShadowReport
	err = o.read(ctx, c, func(r store.Reader) error {
		_, err := r.Workflow(c.PathValue("id"))
		if err == nil {
			report, err = engine.ShadowReport(r, c.PathValue("id"), since, maxShadowed)
		}
		return err
	})
	return report, missing(c, err)
}

// senderOf is the agent that sent the event of the path: the one that is named, or the only
// one.
func (o operators) senderOf(ctx context.Context, c *route.Call, named api.AgentID) (agent api.AgentID, err error) {
	err = o.read(ctx, c, func(r store.Reader) error {
		events, err := r.EventsWithID(api.EventID(c.PathValue("id")))
		if err == nil && len(events) == 0 {
			err = store.ErrNotFound
		}
		if err == nil && len(events) > 1 && named == "" {
			err = api.Errorf(api.CodeInvalid, "%d agents gave an event this id; name the agent, for example %s.", len(events), events[0].Agent)
		}
		if err == nil {
			agent = cmp.Or(named, events[0].Agent)
		}
		return err
	})
	return agent, err
}

func (o operators) textOf(ctx context.Context, c *route.Call, name string, version int) (file string, number int, text string, err error) {
	var w store.Workflow
	err = o.read(ctx, c, func(r store.Reader) (err error) {
		if version == 0 {
			w, err = r.Workflow(name)
		} else {
			w, err = r.WorkflowVersion(name, version)
		}
		if errors.Is(err, store.ErrNotFound) {
			err = api.Errorf(api.CodeNotFound, "There is no workflow %.80q, or not this version of it; stavily workflows list shows what there is.", name)
		}
		return err
	})
	return name, w.Version, w.Text, err
}

// workflowRun starts a run by hand, if what decides on events lets it.
func (o operators) workflowRun(ctx context.Context, c *route.Call) (any, error) {
	var r StartRequest
	if err := c.Decode(&r); err != nil {
		return nil, err
	}
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	by, err := person(c, r.By)
	if err != nil {
		return nil, err
	}
	e, err := o.engine.Start(ctx, id, c.PathValue("id"), r.Inputs, by)
	if err != nil {
		return nil, missing(c, err)
	}
	var view Evaluation
	err = o.read(ctx, c, func(r store.Reader) (err error) {
		view, err = viewEvaluation(r, e)
		view.Event = e.Event
		return err
	})
	return view, err
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
