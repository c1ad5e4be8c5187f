package workflow

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stavily/agents/orchestrator/internal/workflow/expr"
	"github.com/stavily/agents/shared/pkg/api"
)

// maxFleet is how many agents one step runs on at most: their states are in the run's.
const maxFleet = 500

// Selector picks agents: all that is set must fit. The zero Selector picks every agent.
type Selector struct {
	IDs   []api.AgentID
	Names []string // one of them
	Tags  []string // all of them

	expression *expr.Program // over agent; nil: every one
}

// Picks reports whether an agent is one of those. An expression that cannot be evaluated for
// it does not pick it.
func (s *Selector) Picks(a Agent) bool { return s.picks(a, nil) }

func (s *Selector) picks(a Agent, budget *expr.Budget) bool {
	return s.names(a) && s.holds(a, budget)
}

// names reports whether all but the expression fit.
func (s *Selector) names(a Agent) bool {
	if len(s.IDs) > 0 && !slices.Contains(s.IDs, a.ID) || len(s.Names) > 0 && !slices.Contains(s.Names, a.Name) {
		return false
	}
	for _, tag := range s.Tags {
		if !slices.Contains(a.Tags, tag) {
			return false
		}
	}
	return true
}

func (s *Selector) holds(a Agent, budget *expr.Budget) bool {
	if s.expression == nil {
		return true
	}
	holds, err := s.expression.Holds(expr.Values{expr.Agent: a.value()}.Within(budget))
	return err == nil && holds
}

// Selection is what picking agents costs a run in one transaction of the engine: all its steps
// that begin there pay from one budget. It is for one goroutine.
type Selection struct{ budget *expr.Budget }

// NewSelection is one of which nothing is spent.
func NewSelection() *Selection {
	return &Selection{expr.NewBudget("picking agents for a run", pickLimit, nil)}
}

// Of are those of some agents that a selector picks. The error, a sentence, is that it costs too
// much to tell: then none is picked, rather than the first few.
func (n *Selection) Of(s *Selector, agents []Agent) (picked []Agent, err error) {
	for _, a := range agents {
		if !s.names(a) {
			continue
		}
		if err := n.budget.Over(); err != nil && s.expression != nil {
			return nil, fmt.Errorf("%d agents are too many for %s: %w; or pick by tags as well, which are looked at first and cost nothing", len(agents), s.expression, err)
		}
		if s.holds(a, n.budget) {
			picked = append(picked, a)
		}
	}
	return picked, nil
}

func (a Agent) value() map[string]any {
	return map[string]any{"id": string(a.ID), "name": a.Name, "host": a.Host, "tags": a.Tags}
}

// String is the selector in words, to stand after "agents".
func (s *Selector) String() string {
	var parts []string
	if len(s.IDs) > 0 {
		parts = append(parts, Target{Agents: s.IDs}.String())
	}
	if len(s.Names) > 0 {
		parts = append(parts, "with the name "+strings.Join(s.Names, " or "))
	}
	if len(s.Tags) > 0 {
		parts = append(parts, "with the tags "+strings.Join(s.Tags, ", "))
	}
	if s.expression != nil {
		parts = append(parts, "for which "+s.expression.String())
	}
	return strings.Join(parts, " and ")
}

// Each lets a step run on each of several agents. The step completes when it has on all.
type Each struct {
	Selector
	AtOnce int // agents that work at a time
	// Stop is after how many failures no other agent begins: a number, or a part in percent
	// where StopPart is set; 0 for never.
	Stop     int
	StopPart bool
}

// stops reports whether so many failures of so many agents end it.
func (e *Each) stops(failed, all int) bool {
	switch {
	case e.Stop == 0 || failed == 0:
		return false
	case e.StopPart:
		return failed*100 >= e.Stop*all
	}
	return failed >= e.Stop
}

// Offline says what becomes of a step that no agent has started for a time.
type Offline struct {
	Wait time.Duration // 0: as long as an instruction waits
	Skip bool          // it is skipped, and what needs it goes on; else it has expired
}

// partOf is the id of a step on one of its agents.
func partOf(step string, agent api.AgentID) string { return step + "[" + string(agent) + "]" }

// wholeOf is the step, and the agent, of the id of a part.
func wholeOf(id string) (step string, agent api.AgentID, part bool) {
	step, rest, part := strings.Cut(id, "[")
	return step, api.AgentID(strings.TrimSuffix(rest, "]")), part
}

// on is the step on one agent.
func (s StepDefinition) on(agent api.AgentID) *StepDefinition {
	s.ID, s.Target, s.Each, s.Pick = partOf(s.ID, agent), Target{Agents: []api.AgentID{agent}}, nil, nil
	return &s
}

// chosen takes the agents that a step is to run on.
func (m *machine) chosen(in Chosen) error {
	step, err := m.dispatched(in.Step)
	if err != nil || step.Status != StepChoosing {
		return err
	}
	fail := func(format string, args ...any) {
		m.end(in.Step, StepState{Status: StepStatus(api.Failed), Error: fmt.Sprintf(format, args...)})
	}
	switch n := len(in.Agents); {
	case in.Error != "":
		fail("%s", clip(in.Error))
	case n == 0:
		fail("there is no action agent %s", m.d.step(in.Step).Each.Selector.String())
	case n > maxFleet:
		fail("%d agents fit, at most %d: let several steps share them", n, maxFleet)
	default:
		m.s.Steps[in.Step] = StepState{Status: StepRunning, Fleet: in.Agents}
		m.record(StepChose, in.Step, "%d agents, %d at once", n, m.d.step(in.Step).Each.AtOnce)
	}
	m.advance()
	return nil
}

// tally is how far a step has come on its agents.
type tally struct {
	open                       int
	completed, failed, skipped []string // ids of agents
	left                       []api.AgentID
}

func (m *machine) tally(id string) (t tally) {
	for _, a := range m.s.Steps[id].Fleet {
		switch part, begun := m.s.Steps[partOf(id, a.ID)]; {
		case !begun:
			t.left = append(t.left, a.ID)
		case !part.Status.Ended():
			t.open++
		case part.Status == StepSkipped:
			t.skipped = append(t.skipped, string(a.ID))
		case part.Satisfied:
			t.completed = append(t.completed, string(a.ID))
		default:
			t.failed = append(t.failed, string(a.ID))
		}
	}
	return t
}

// wave lets a step begin on as many agents as may work at once, and ends it when no more will.
func (m *machine) wave(step StepDefinition) {
	for {
		t := m.tally(step.ID)
		all := len(m.s.Steps[step.ID].Fleet)
		stopped := m.s.Cancelled || m.stopped() != "" || step.Each.stops(len(t.failed), all)
		switch {
		case len(t.left) > 0 && !stopped && t.open < step.Each.AtOnce:
			m.budget.Raise(partLimit)
			m.dispatch(*step.on(t.left[0]), false)
		case t.open == 0:
			m.endEach(step, t, all)
			return
		default:
			return
		}
	}
}

// endEach ends a step that has ended on all its agents, or on those that it began on.
func (m *machine) endEach(step StepDefinition, t tally, all int) {
	s := m.s.Steps[step.ID]
	for _, id := range t.left {
		t.skipped = append(t.skipped, string(id))
	}
	result, _ := json.Marshal(map[string][]string{ // texts only
		"completed": append([]string{}, t.completed...), "failed": append([]string{}, t.failed...), "skipped": append([]string{}, t.skipped...),
	})
	s.Result = m.keep(StepEnded{Step: step.ID, Result: result})
	switch {
	case m.s.Cancelled:
		s.Status, s.Error = StepStatus(api.Cancelled), fmt.Sprintf("the run was cancelled; %d of %d agents had completed", len(t.completed), all)
	case len(t.failed) > 0:
		first := m.s.Steps[partOf(step.ID, api.AgentID(t.failed[0]))]
		s.Status = StepStatus(api.Failed)
		s.Error = clip(fmt.Sprintf("failed on %d of %d agents, and did not begin on %d; on %s: %s: %s", len(t.failed), all, len(t.left), t.failed[0], first.Status, first.Error))
	case len(t.left) > 0:
		s.Status = StepStatus(api.Failed)
		s.Error = clip(fmt.Sprintf("did not begin on %d of %d agents: %s", len(t.left), all, m.stopped()))
	default:
		s.Status, s.Satisfied = StepStatus(api.Completed), true
	}
	m.end(step.ID, s)
}

// each checks on which agents a step is to run.
func (c *checker) each(path []any, said agents) *Each {
	e := &Each{Selector: c.selector(at(path, "each"), said.Each.selection, true), AtOnce: said.Each.AtOnce}
	where := at(path, "each", "at_once")
	if !c.doc.Has(where) {
		e.AtOnce = 1
	} else if e.AtOnce < 1 || e.AtOnce > maxFleet {
		c.fail(where, "at_once %d: must be from 1 to %d", e.AtOnce, maxFleet)
	}
	where = at(path, "each", "stop_when_failed")
	if !c.doc.Has(where) {
		return e
	}
	text := said.Each.StopWhenFailed
	e.StopPart = strings.HasSuffix(text, "%")
	if n, err := fmt.Sscanf(strings.TrimSuffix(text, "%")+" ", "%d ", &e.Stop); n != 1 || err != nil || e.Stop < 1 || e.StopPart && e.Stop > 100 {
		c.fail(where, "stop_when_failed %q: must be a number of agents in quotes, or a part such as 20%%", text)
	}
	return e
}

// selector checks how agents are picked. One of a step must say something.
func (c *checker) selector(path []any, said selection, something bool) Selector {
	s := Selector{Names: said.Names, Tags: said.Tags}
	for i, id := range said.IDs {
		s.IDs = append(s.IDs, api.AgentID(id))
		if err := api.AgentID(id).Validate(); err != nil {
			c.fail(at(path, "ids", i), "%v", err)
		}
	}
	s.expression = c.condition(at(path, "expression"), said.Expression, expr.Scope{Absent: onlyAgent})
	if something && len(s.IDs)+len(s.Names)+len(s.Tags) == 0 && !c.doc.Has(at(path, "expression")) {
		c.fail(path, "%s picks no agents: name ids, names, tags or an expression", path[len(path)-1])
	}
	return s
}

// onlyAgent is what cannot be read where agents are picked.
var onlyAgent = func() map[string]string {
	out := map[string]string{}
	for _, root := range []string{expr.Event, expr.Trigger, expr.Events, expr.Steps, expr.Run, expr.Variables, expr.Inputs, expr.Workflow, expr.Now} {
		out[root] = "agents are picked by what they are: agent.id, agent.name, agent.host, agent.tags"
	}
	return out
}()

// offline checks what becomes of a step that no agent starts.
func (c *checker) offline(path []any, a action) Offline {
	if !c.doc.Has(path) {
		return Offline{}
	}
	o := Offline{Wait: c.duration(at(path, "wait"), a.Offline.Wait, 0, time.Second, maxTimeout)}
	switch a.Offline.Then {
	case "", "fail":
	case "skip":
		o.Skip = true
	case "other":
		c.fail(at(path, "then"), "then: other is not needed: with any, or several ids, whichever agent is there takes the step")
	default:
		c.fail(at(path, "then"), "then %q: must be fail or skip", a.Offline.Then)
	}
	return o
}
