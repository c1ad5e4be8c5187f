package web

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

type eventsPage struct {
	frame
	Type   string
	Agent  api.AgentID
	Events []store.Event
	Older  string
	First  bool
}

func (*eventsPage) template() string { return "events.html" }

// events lists events as they come, the newest first.
func (s *Site) events(ctx context.Context, c *route.Call) (view, error) {
	p := &eventsPage{frame: frame{Title: "Events", Section: "events"}, Type: c.Query.Get("type"), Agent: api.AgentID(c.Query.Get("agent"))}
	before, err := strconv.ParseInt("0"+c.Query.Get("before"), 10, 64)
	if err != nil {
		return nil, api.Errorf(api.CodeInvalid, "Query parameter before=%.40q: must be a whole number.", c.Query.Get("before"))
	}
	p.First = before == 0
	return p, s.read(ctx, c, func(r store.Reader) (err error) {
		p.Events, err = r.Events(store.EventQuery{Type: p.Type, Agent: p.Agent, Before: before, Newest: true, Limit: pageSize + 1})
		if len(p.Events) > pageSize {
			p.Events = p.Events[:pageSize]
			p.Older = with(c.Query, "/events", "before", strconv.FormatInt(p.Events[pageSize-1].Cursor, 10))
		}
		return err
	})
}

type eventPage struct {
	frame
	ID        api.EventID
	Same      []explained // events that agents gave this id: mostly one
	Workflows []string
	Replayed  *evaluation
	Replay    string // the workflow that it is of
}

func (*eventPage) template() string { return "event.html" }

// explained is an event and what each workflow that it came near made of it.
type explained struct {
	store.Event
	Evaluations []evaluation
}

type evaluation struct {
	store.Evaluation
	Decision workflow.Decision
	Started  *store.Run
}

// Became says in a word what came of it.
func (e evaluation) Became() string {
	switch {
	case e.Started != nil:
		return e.Started.Status
	case e.Decision.Run && e.Decision.Shadow:
		return "shadow"
	case e.Decision.Run:
		return "could not start"
	}
	return "did not run"
}

// event explains what became of an event. With a workflow in the query it also says what that
// one would make of the event now.
func (s *Site) event(ctx context.Context, c *route.Call) (view, error) {
	id := api.EventID(c.PathValue("id"))
	p := &eventPage{frame: frame{Title: "Event " + short(id), Section: "events"}, ID: id, Replay: c.Query.Get("replay")}
	var text string
	err := s.read(ctx, c, func(r store.Reader) (err error) {
		if p.Workflows, err = workflowNames(r); err != nil {
			return err
		}
		if p.Replay != "" {
			w, err := r.Workflow(p.Replay)
			if err != nil {
				return err
			}
			text = w.Text
		}
		p.Same, err = explain(r, id)
		return err
	})
	if err == nil && p.Replay != "" {
		p.Replayed, err = s.replay(ctx, c, p, text)
	}
	return p, err
}

func explain(r store.Reader, id api.EventID) (out []explained, err error) {
	events, err := r.EventsWithID(id)
	if err == nil && len(events) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	all, err := r.Evaluations(id)
	if err != nil {
		return nil, err
	}
	for _, e := range events {
		one := explained{Event: e}
		for _, made := range all {
			if made.Agent != e.Agent {
				continue
			}
			v := evaluation{Evaluation: made}
			if err := json.Unmarshal(made.Decision, &v.Decision); err != nil {
				return nil, fmt.Errorf("evaluation of event %s by workflow %s: %w", id, made.Workflow, err)
			}
			if made.Run != "" {
				run, err := r.Run(made.Run)
				if err != nil {
					return nil, fmt.Errorf("run %s of event %s: %w", made.Run, id, err)
				}
				v.Started = &run
			}
			one.Evaluations = append(one.Evaluations, v)
		}
		out = append(out, one)
	}
	return out, nil
}

// replay says what a workflow would make of the event. Nothing is executed. A viewer may ask:
// unlike a request to the API it brings no text of its own to evaluate.
func (s *Site) replay(ctx context.Context, c *route.Call, p *eventPage, text string) (*evaluation, error) {
	d, err := workflow.Parse(p.Replay, []byte(text))
	if err != nil {
		return nil, api.Errorf(api.CodeInvalid, "%v", err)
	}
	decision, err := s.engine.Replay(ctx, c.Principal.Org, d, p.Same[0].Agent, p.ID)
	if err != nil {
		return nil, err
	}
	decision.Shadow = true
	return &evaluation{Evaluation: store.Evaluation{Workflow: p.Replay}, Decision: decision}, nil
}
