package workflow

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/stavily/agents/orchestrator/internal/workflow/expr"
	"github.com/stavily/agents/shared/pkg/api"
)

// Decision is whether an event starts a run of a definition, and why: what
// `stavily explain` shows.
type Decision struct {
	Run    bool   `json:"run"`
	Shadow bool   `json:"shadow,omitempty"` // only in thought: nothing is executed
	Reason string `json:"reason"`           // a sentence
	Key    string `json:"key"`              // what a cooldown is counted by
	// Duplicate is what tells duplicates of the event; empty where it does not matter.
	Duplicate string `json:"duplicate,omitempty"`
	// Group is what the events have in common that are gathered or throttled; empty where it
	// does not matter.
	Group string `json:"group,omitempty"`
	// Lane is what runs have in common that limits.concurrency counts.
	Lane     string   `json:"lane,omitempty"`
	Escalate bool     `json:"escalate,omitempty"` // the run does nothing, and tells people
	Queue    bool     `json:"queue,omitempty"`    // the run waits until another has ended
	Replace  bool     `json:"replace,omitempty"`  // the oldest run of the lane is cancelled
	Clauses  []Clause `json:"clauses"`
	Begins   []Begin  `json:"begins,omitempty"` // the first steps of a run in thought
}

// Begin is a step as a run would begin it.
type Begin struct {
	Step   string                     `json:"step"`
	Plugin api.PluginID               `json:"plugin"`
	Target Target                     `json:"target"`
	Input  map[string]json.RawMessage `json:"input,omitempty"`
}

// Clause is one thing that was asked, what it was asked of, and what it came to.
type Clause struct {
	Clause  string       `json:"clause"`
	Value   string       `json:"value,omitempty"`
	Outcome expr.Outcome `json:"outcome"`
}

// Decider is the clause that decided against a run, without the values of the one event, so
// that many decisions can be counted by it; empty where a run begins.
func (d Decision) Decider() string {
	if d.Run {
		return ""
	}
	for _, c := range d.Clauses {
		if c.Outcome == expr.NotMet || c.Outcome == expr.Failed {
			return c.Clause
		}
	}
	return d.Reason
}

// Decide says whether an event starts a run. An expression that cannot be
// evaluated does not start one, and says so. It computes and nothing else: the
// same event gives the same decision. What depends on the time and on the runs before is
// added with [Definition.Hold].
func (d *Definition) Decide(e Event) Decision {
	decision := Decision{Run: true, Reason: "everything is met", Key: keyOf(e)}
	if decision.Run = d.Mode != Off; !decision.Run {
		decision.Reason = "the workflow is off"
	}
	decision.Shadow = d.Mode == Shadow
	decision.add("mode is not off", string(d.Mode), decision.Run)
	budget := d.toDecide()
	decision.trigger(d, e, budget)
	if depth := e.Depth(); depth > 0 {
		decision.add(fmt.Sprintf("at most %d workflows start one another", MaxDepth), strconv.Itoa(depth), depth <= MaxDepth)
		if depth > MaxDepth {
			decision.refuse("loop: %d workflows have started one another", depth)
		}
	}
	if !d.grouped && (d.Gather != nil || d.Throttle > 0) {
		decision.Group = decision.Key
	}
	if !decision.Run && d.when == nil && d.duplicate == nil && d.group == nil && d.lane == nil {
		return decision
	}
	event, err := e.value()
	if err != nil {
		decision.Clauses = append(decision.Clauses, Clause{"the event can be read", err.Error(), expr.Failed})
		decision.refuse("%v", err)
		return decision
	}
	fresh := func() expr.Values { return d.values(event, e.at()).Within(budget) }
	if d.when != nil {
		decision.condition(d, fresh)
	}
	decision.Duplicate = decision.joined("dedupe.key", d.duplicate, fresh)
	if d.grouped {
		decision.Group = decision.joined("key", d.group, fresh)
	}
	if p := d.lane; p != nil {
		decision.Lane = decision.joined("limits.concurrency.key", []*expr.Program{p}, fresh)
	}
	return decision
}

// joined computes the values that together are a key; what says where they stand.
func (d *Decision) joined(what string, programs []*expr.Program, fresh func() expr.Values) string {
	var key []byte
	for _, p := range programs {
		value, err := p.Eval(fresh())
		if err == nil {
			key, err = value.AppendJSON(append(key, ' '), maxKey)
		}
		if err != nil {
			d.Clauses = append(d.Clauses, Clause{what + " " + p.String(), err.Error(), expr.Failed})
			d.refuse("%s cannot be evaluated: %v", what, err)
			return ""
		}
	}
	return string(key)
}

// maxKey is how many bytes the values of a key may have.
const maxKey = 1024

// Foresee adds to a decision what a run for it would begin with. The error is an event
// that cannot be read.
func (d *Definition) Foresee(decision Decision, e Event, all ...Event) (Decision, error) {
	begin := Start
	if decision.Escalate {
		begin = Escalate
	}
	_, effects, err := begin(d, "", e, all...)
	if err != nil {
		return decision, err
	}
	for _, effect := range effects {
		if s, ok := effect.(Dispatch); ok {
			decision.Begins = append(decision.Begins, Begin{s.Step, s.Plugin, s.Target, s.Input})
		}
	}
	return decision, nil
}

// keyOf joins what a cooldown is counted by, the sensor and the event's own key,
// so that no two pairs give the same text.
func keyOf(e Event) string {
	return fmt.Sprintf("%q %q", e.Agent.ID, e.Key)
}

func (d *Decision) add(clause, value string, met bool) {
	outcome := expr.NotMet
	if met {
		outcome = expr.Met
	}
	// The full slice keeps a copy of the decision from writing into this one.
	d.Clauses = append(d.Clauses[:len(d.Clauses):len(d.Clauses)], Clause{clause, value, outcome})
}

// refuse keeps the first reason: what follows is for completeness.
func (d *Decision) refuse(format string, args ...any) {
	if d.Run {
		d.Run, d.Reason = false, fmt.Sprintf(format, args...)
	}
}

func (d *Decision) trigger(def *Definition, e Event, budget *expr.Budget) {
	triggers := def.Triggers
	for _, t := range triggers {
		if t.takes(def, e, budget) {
			d.add(t.String(), e.Type, true)
			return
		}
	}
	if err := budget.Over(); err != nil {
		d.Clauses = append(d.Clauses, Clause{"the triggers can be evaluated", err.Error(), expr.Failed})
		d.refuse("agents of the triggers cannot be picked: %v", err)
		return
	}
	if len(triggers) > 1 {
		d.add(fmt.Sprintf("one of %d triggers", len(triggers)), e.Type, false)
	} else {
		d.add(triggers[0].String(), e.Type, false)
	}
	for _, t := range triggers {
		if (t.Pattern != "" || t.Agent != "") && t.near(def, e) {
			d.refuse("the trigger takes events of agents %s, and not of %s", t.Agents.String(), e.Agent.ID)
		}
	}
	d.refuse("no trigger takes events of type %s", e.Type)
}

func (d *Decision) condition(def *Definition, fresh func() expr.Values) {
	holds, findings, err := def.when.Test(fresh())
	for _, f := range findings {
		d.Clauses = append(d.Clauses, Clause{"when " + f.Clause, f.Read, f.Outcome})
	}
	switch {
	case err != nil:
		d.refuse("when cannot be evaluated: %v", err)
	case !holds:
		d.refuse("%s", unmet(findings))
	}
}

// unmet names the first clause that decided against a run.
func unmet(findings []expr.Finding) string {
	for _, f := range findings {
		if f.Outcome == expr.NotMet {
			reason := "when is not met: " + f.Clause
			if f.Read != "" {
				reason += " (" + f.Read + ")"
			}
			return reason
		}
	}
	return "when is not met"
}
