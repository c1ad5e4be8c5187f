package web

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/stavily/agents/orchestrator/internal/diagram"
	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

type runPage struct {
	frame
	Run      store.Run
	Trigger  api.Event
	Agent    api.AgentID // that sent it
	Steps    []runStep
	Asked    []asked
	Graph    template.HTML
	Timeline template.HTML
	History  []store.History
	Log      []store.Log
	More     bool // log lines than are shown
	InEffect bool // a version of the workflow is
}

func (*runPage) template() string { return "run.html" }

// Active reports whether the run can be cancelled.
func (p *runPage) Active() bool { return p.Run.FinishedAt.IsZero() }

// runStep is one step of a run with the instruction of its last try, if it has one.
type runStep struct {
	ID     string
	What   string // plugin, approval or event
	Status string
	Error  string
	Why    string // nobody can take it now
	Try    int
	Last   *instruction.Instruction
}

// From and To are when the step was under way.
func (s runStep) From() time.Time {
	if s.Last == nil {
		return time.Time{}
	}
	return s.Last.CreatedAt
}

// To is zero while the step goes on.
func (s runStep) To() time.Time {
	if s.Last == nil {
		return time.Time{}
	}
	return s.Last.FinishedAt
}

// Outcome is the error, or why nothing happens, or what an agent says of its work.
func (s runStep) Outcome() string {
	if s.Last != nil {
		return cmp.Or(s.Error, s.Why, s.Last.Message)
	}
	return cmp.Or(s.Error, s.Why)
}

// run shows one run as it stands.
func (s *Site) run(ctx context.Context, c *route.Call) (view, error) {
	id := api.RunID(c.PathValue("id"))
	p := &runPage{frame: frame{Title: "Run " + short(id), Section: "runs"}}
	var of store.Workflow
	var state workflow.State
	var instructions []instruction.Instruction
	err := s.read(ctx, c, func(r store.Reader) (err error) {
		if p.Run, err = r.Run(id); err != nil {
			return err
		}
		p.Org = c.Principal.Org
		p.Title = p.Run.Workflow + " " + short(id)
		if _, err := r.Workflow(p.Run.Workflow); err == nil {
			p.InEffect = true
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if state, err = engine.StateOf(p.Run); err != nil {
			return err
		}
		p.Trigger, p.Agent = state.Event.Event, state.Event.Sender()
		if instructions, err = r.RunInstructions(id); err != nil {
			return err
		}
		if p.Steps, err = stepsOf(r, state, instructions); err != nil {
			return err
		}
		if of, err = r.WorkflowVersion(p.Run.Workflow, p.Run.Version); err != nil {
			return fmt.Errorf("workflow %s version %d: %w", p.Run.Workflow, p.Run.Version, err)
		}
		if p.Asked, err = approvalsOf(r, func(a store.Approval) bool { return a.Run == id }); err != nil {
			return err
		}
		if p.History, err = r.History(id); err != nil {
			return err
		}
		inOrder(p.Steps, p.History)
		p.Log, p.More, err = lastLines(r, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return p, p.draw(s.engine, of, state, instructions)
}

// draw makes the pictures of the run. Its workflow may have to be compiled, so no view of the
// store is open.
func (p *runPage) draw(e *engine.Engine, of store.Workflow, state workflow.State, instructions []instruction.Instruction) error {
	d, err := e.Definition(p.Org, of)
	if err != nil {
		return fmt.Errorf("workflow %s version %d: %w", p.Run.Workflow, p.Run.Version, err)
	}
	g := d.Diagram()
	for i, n := range g.Nodes {
		id, isStep := strings.CutPrefix(n.ID, "step ")
		if !isStep {
			continue
		}
		status := cmp.Or(string(state.Steps[id].Status), "waiting")
		g.Nodes[i].Detail, g.Nodes[i].State = status, kind(status)
		g.Nodes[i].Link = "#step-" + id
	}
	if p.Graph, err = inline(g.Inline); err != nil {
		return err
	}
	p.Timeline, err = inline(timelineOf(p.Run, instructions).Inline)
	return err
}

// stepsOf are the steps of a run.
func stepsOf(r store.Reader, state workflow.State, instructions []instruction.Instruction) ([]runStep, error) {
	last := map[string]*instruction.Instruction{}
	for i := range instructions { // by id, which is by time
		last[instructions[i].Step] = &instructions[i]
	}
	var out []runStep
	for id, st := range state.Steps {
		step := runStep{ID: id, Status: string(st.Status), Error: st.Error, Try: st.Try, Last: last[id]}
		if i := step.Last; i != nil {
			step.What = string(i.Plugin)
			if i.Status == api.Pending {
				why, err := engine.WhyNobody(r, i.Plugin, i.Target)
				if err != nil {
					return nil, err
				}
				step.Why = why
			}
			if !workflow.StepStatus(step.Status).Ended() && step.Status != "retrying" {
				step.Status = string(i.Status)
			}
		} else if st.Digest != "" {
			step.What = "approval"
		}
		out = append(out, step)
	}
	return out, nil
}

// inOrder sorts steps as they come in the history of the run, those to come last.
func inOrder(steps []runStep, history []store.History) {
	first := map[string]int{}
	for _, h := range history {
		if first[h.Step] == 0 {
			first[h.Step] = h.Seq
		}
	}
	slices.SortFunc(steps, func(a, b runStep) int {
		at := func(s runStep) int { return cmp.Or(first[s.ID], math.MaxInt) }
		return cmp.Or(cmp.Compare(at(a), at(b)), cmp.Compare(a.ID, b.ID))
	})
}

// timelineOf is when each instruction of a run waited and when it ran.
func timelineOf(run store.Run, instructions []instruction.Instruction) diagram.Timeline {
	t := diagram.Timeline{Title: "When the steps of this run waited and ran", From: run.CreatedAt, To: run.FinishedAt}
	if t.To.IsZero() {
		t.To = time.Now().Truncate(time.Second).Add(time.Second) // the same picture within a second
	}
	for _, i := range instructions {
		name := i.Step
		if i.Attempt > 1 || i.Try > 0 {
			name += fmt.Sprintf(", try %d", max(i.Attempt, i.Try+1))
		}
		t.Bars = append(t.Bars, diagram.Bar{Name: name, State: kind(string(i.Status)), Word: string(i.Status), Asked: i.CreatedAt, Began: i.StartedAt, Ended: i.FinishedAt, Link: "#step-" + i.Step})
		if i.FinishedAt.After(t.To) {
			t.To = i.FinishedAt
		}
	}
	return t
}

// asked is an approval as it is shown.
type asked struct {
	store.Approval
	workflow.Asked
}

// approvalsOf lists the approvals that are needed of those that the choice takes.
func approvalsOf(r store.Reader, choice func(store.Approval) bool) ([]asked, error) {
	all, err := r.Approvals()
	if err != nil {
		return nil, err
	}
	var out []asked
	for _, a := range all {
		if !choice(a) {
			continue
		}
		one := asked{Approval: a}
		if err := json.Unmarshal(a.Asked, &one.Asked); err != nil {
			return nil, fmt.Errorf("approval %s of run %s: %w", a.Step, a.Run, err)
		}
		out = append(out, one)
	}
	return out, nil
}

// runRetry begins a run again.
func (s *Site) runRetry(ctx context.Context, c *route.Call, _ form) (string, error) {
	run, err := s.engine.RetryRun(ctx, c.Principal.Org, api.RunID(c.PathValue("id")), c.Principal.Name)
	return "/runs/" + string(run.ID), err
}

// runCancel asks a run to end.
func (s *Site) runCancel(ctx context.Context, c *route.Call, _ form) (string, error) {
	id := c.PathValue("id")
	_, err := s.engine.CancelRun(ctx, c.Principal.Org, api.RunID(id))
	return "/runs/" + id, err
}
