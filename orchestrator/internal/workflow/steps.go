package workflow

import (
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/stavily/agents/orchestrator/internal/workflow/expr"
	"github.com/stavily/agents/shared/pkg/api"
)

func (c *checker) steps(text document) {
	if n := len(text.Actions) + len(text.Outputs); n == 0 {
		c.fail([]any{"actions"}, "there is nothing to do: name a plugin under actions or outputs")
	} else if n > maxSteps {
		c.fail([]any{"actions"}, "%d actions and outputs, at most %d: split the workflow", n, maxSteps)
		return
	}
	taken := map[string]bool{}
	c.def.Actions = make([]StepDefinition, len(text.Actions))
	for i, a := range text.Actions {
		path := []any{"actions", i}
		switch {
		case c.doc.Has(at(path, "approval")):
			c.def.Actions[i] = c.approval(path, a, taken)
		case c.doc.Has(at(path, "wait_for")):
			c.def.Actions[i] = c.waitFor(path, a, taken)
		default:
			c.def.Actions[i] = c.action(path, a, taken)
		}
		c.def.Actions[i].Needs = a.Needs
	}
	c.def.Outputs = make([]StepDefinition, len(text.Outputs))
	for i, o := range text.Outputs {
		path := []any{"outputs", i}
		c.def.Outputs[i] = c.plugged(path, o.plugged, taken)
		c.def.Outputs[i].Retry = c.retry(at(path, "retry"), o.Retry, false)
		c.def.Outputs[i].On = c.ends(at(path, "on"), o.On)
	}
	c.hostless()
	c.onFailure(text)
	c.escalation()
	c.needs()
	c.expressionsOf(text)
	c.def.Actions = inOrder(c.def.Actions)
}

// escalation holds that who is to be told of attempts that did not help is told.
func (c *checker) escalation() {
	told := slices.ContainsFunc(c.def.Outputs, func(o StepDefinition) bool { return slices.Contains(o.On, Escalated) })
	if c.def.Limits.Attempts.Escalate && !told {
		c.fail([]any{"limits", "attempts", "then"}, "then: escalate tells nobody: add an output with on: [escalated]")
	}
}

// action checks an action that runs a plugin, but expressions and needs.
func (c *checker) action(path []any, a action, taken map[string]bool) StepDefinition {
	s := c.plugged(path, a.plugged, taken)
	s.Idempotent, s.Install = a.Idempotent, a.Install
	s.Offline = c.offline(at(path, "offline"), a)
	if where := at(path, "agents"); c.doc.Has(at(where, "each")) {
		s.Each = c.each(where, a.Agents)
		if c.doc.Has(at(path, "undo")) && !c.doc.Has(at(path, "undo", "agents")) {
			c.fail(at(path, "undo"), "undo of a step that runs on each of several agents must say where it runs: give it agents")
		}
	}
	s.Type, s.Setup = c.setup(path, a)
	if s.Install && s.Type != "" && s.Type != api.TypeExecute {
		c.fail(at(path, "auto_install"), "auto_install is for a plugin that runs: leave it out of a step of type %s", s.Type)
	}
	s.Retry = c.retry(at(path, "retry"), a.Retry, a.Idempotent)
	if !c.doc.Has(at(path, "agents")) {
		// Never a default that lets a clean-up land on another machine.
		s.Target = Target{SameHost: true}
	}
	return s
}

// plugged checks what actions and outputs have in common, but expressions.
func (c *checker) plugged(path []any, p plugged, taken map[string]bool) StepDefinition {
	s := c.runs(path, p)
	if c.doc.Has(at(path, "id")) {
		c.id(at(path, "id"), s.ID, taken)
	} else if s.ID = string(s.Plugin); s.Plugin.Validate() == nil { // else the plugin has been told
		c.id(at(path, "plugin"), s.ID, taken)
	}
	return s
}

// runs checks what is said of a plugin that runs, but its step's id.
func (c *checker) runs(path []any, p plugged) StepDefinition {
	plugin, version, ranged := strings.Cut(p.Plugin, "@")
	s := StepDefinition{ID: p.ID, Plugin: api.PluginID(plugin), Version: version}
	where := at(path, "plugin")
	switch err := s.Plugin.Validate(); {
	case p.Plugin == "":
		c.fail(where, "plugin is missing: name the plugin that this step runs")
	case err != nil:
		c.fail(where, "%v", err)
	case ranged:
		if _, err := semver.NewConstraint(version); err != nil || len(version) > maxText {
			c.fail(where, "plugin version %q: must be a version or a range such as 1.2.0, ^1.2 or >=1, <3", version)
		}
	}
	s.Timeout = c.duration(at(path, "timeout"), p.Timeout, defaultTimeout, time.Second, maxTimeout)
	s.Target, s.Pick = c.target(at(path, "agents"), p.Agents)
	if where := at(path, "agents", "each"); c.doc.Has(where) && (len(path) != 2 || path[0] != "actions") {
		c.fail(where, "each is for actions: give this one agent")
	}
	s.Sandbox = c.sandbox(at(path, "sandbox"), p.Sandbox)
	return s
}

// sandbox checks the least level that a step accepts.
func (c *checker) sandbox(path []any, text string) api.SandboxLevel {
	level := api.SandboxLevel(text)
	if c.doc.Has(path) && !level.Valid() {
		c.fail(path, "sandbox %q: must be full, confined, limited or none", text)
	}
	return level
}

// target checks that agents, where it stands, says one thing.
func (c *checker) target(path []any, a agents) (t Target, pick *Selector) {
	if !c.doc.Has(path) {
		return t, nil
	}
	var said []string
	for _, key := range []string{"same_host", "ids", "any", "each"} {
		if c.doc.Has(at(path, key)) {
			said = append(said, key)
		}
	}
	switch {
	case len(said) != 1:
		c.fail(path, "agents must have exactly one of same_host, ids, any and each")
	case said[0] == "same_host" && !a.SameHost:
		c.fail(path, "same_host can only be true: to run elsewhere, name ids or any")
	case said[0] == "ids" && len(a.IDs) == 0:
		c.fail(path, "ids is empty: name the agents")
	case said[0] == "any":
		if s := c.selector(at(path, "any"), a.Any, true); len(s.IDs)+len(s.Names) > 0 || s.expression != nil {
			pick, t.Picked = &s, s.String()
		} else {
			t.Tags = s.Tags
		}
	}
	t.SameHost = a.SameHost
	for i, id := range a.IDs {
		t.Agents = append(t.Agents, api.AgentID(id))
		if err := api.AgentID(id).Validate(); err != nil {
			c.fail(at(path, "ids", i), "%v", err)
		}
	}
	return t, pick
}

// ends checks for which ends of a run an output is; both when it does not say.
func (c *checker) ends(path []any, on []string) []Status {
	if !c.doc.Has(path) {
		return []Status{Completed, Failed}
	}
	if len(on) == 0 {
		c.fail(path, "on is empty: name completed, failed, escalated or approval_needed, or leave it out for completed and failed")
	}
	possible := []Status{Completed, Failed, Escalated, ApprovalNeeded}
	var out []Status
	for i, name := range on {
		where := at(path, i)
		switch s := Status(name); {
		case !slices.Contains(possible, s):
			c.fail(where, "%q: must be completed, failed, escalated or approval_needed", name)
		default:
			out = append(out, s)
		}
	}
	return out
}

// expressionsOf compiles the conditions and values of all steps.
func (c *checker) expressionsOf(text document) {
	ids := make([]string, len(c.def.Actions))
	for i, s := range c.def.Actions {
		ids[i] = s.ID
	}
	for i := range c.def.Actions {
		s := &c.def.Actions[i]
		others := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return id == s.ID })
		s.when = c.condition([]any{"actions", i, "when"}, text.Actions[i].When, scope(others, ids))
	}
	upstream := c.afters()
	for i := range c.def.Actions {
		s := &c.def.Actions[i]
		here := scope(keysOf(upstream[s.ID]), ids)
		if s.Each != nil {
			delete(here.Absent, expr.Agent)
		}
		c.reading, c.timed = nil, false
		s.with, s.secrets = c.with([]any{"actions", i, "with"}, here)
		s.reads, s.timed = c.reading, c.timed
		if s.Undo != nil {
			s.Undo.with, s.Undo.secrets = c.with([]any{"actions", i, "undo", "with"}, scope(ids, ids))
		}
		if s.Wait != nil {
			env := c.env
			c.env = c.awaiting(s.Wait)
			s.Wait.where = c.condition([]any{"actions", i, "wait_for", "where"}, text.Actions[i].WaitFor.Where, here)
			c.env = env
		}
	}
	c.approvals(upstream)
	for i := range c.def.Outputs {
		c.def.Outputs[i].with, c.def.Outputs[i].secrets = c.with([]any{"outputs", i, "with"}, scope(ids, ids))
	}
}
