package workflow

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/orchestrator/internal/workflow/expr"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// Known is what a server knows beside a document that is applied to it: what the document
// names must be there, and fit.
type Known struct {
	Plugins   map[api.PluginID]KnownPlugin
	Agents    []KnownAgent
	Workflows []string
	Secrets   []string // their names

	// PluginsTold says that Plugins are all: every action agent has told what it has.
	PluginsTold bool
	// Lenient makes warnings of what is not there, and mistakes of what is there and does not fit.
	Lenient bool
}

// KnownPlugin is a plugin that is published, or that an action agent has ready.
type KnownPlugin struct {
	Published []plugin.Manifest // the highest version first
	Installed []string          // versions on action agents
}

// KnownAgent is an agent that is enrolled.
type KnownAgent struct {
	Agent
	Type api.AgentType
}

// ParseKnowing is [Parse] for a document that is about to take effect: it is held to what is
// known as well. Warnings are what is not there and may come.
func ParseKnowing(file string, src []byte, known Known) (d *Definition, warnings strictyaml.Errors, err error) {
	return checked(file, src, &known)
}

// missing tells of something that is not there: sure says that nothing else can bring it.
func (c *checker) missing(path []any, sure bool, format string, args ...any) {
	e := c.doc.Errorf(path, format, args...)
	if sure && !c.known.Lenient {
		e.Message += "; to apply it all the same: --allow-missing"
		c.errs = append(c.errs, e)
	} else {
		c.warnings = append(c.warnings, e)
	}
}

// acquainted holds a document to what is known.
func (c *checker) acquainted(text document) {
	if c.known == nil {
		return
	}
	for i, t := range text.Triggers {
		path := []any{"triggers", i}
		if t.Agent == "" { // else it may be of either type
			c.agentsKnown(at(path, "agents"), t.Agents, api.Sensor)
		}
		if t.Workflow != "" && !slices.Contains(c.known.Workflows, t.Workflow) {
			c.missing(at(path, "workflow"), false, "there is no workflow %s yet%s", t.Workflow, near(t.Workflow, c.known.Workflows))
		}
	}
	for _, use := range c.def.secrets {
		if !slices.Contains(c.known.Secrets, use.Name) {
			c.errs = append(c.errs, use.Missing())
		}
	}
	installed := map[api.PluginID]bool{}
	for _, s := range c.def.Actions {
		installed[s.Plugin] = installed[s.Plugin] || s.Type == api.TypeInstall
	}
	byID := map[string]StepDefinition{}
	for _, s := range slices.Concat(c.def.Actions, c.def.Outputs) {
		byID[s.ID] = s
	}
	step := func(path []any, s StepDefinition, p plugged) {
		c.stepKnown(path, s, installed[s.Plugin])
		c.agentsKnown(at(path, "agents"), selection{IDs: p.Agents.IDs}, api.Action)
		c.agentsKnown(at(path, "agents", "any"), p.Agents.Any, api.Action)
		c.agentsKnown(at(path, "agents", "each"), p.Agents.Each.selection, api.Action)
	}
	for i, a := range text.Actions {
		s := byID[idOf(a.plugged)]
		step([]any{"actions", i}, s, a.plugged)
		if s.Undo != nil {
			step([]any{"actions", i, "undo"}, *s.Undo, a.Undo)
		}
	}
	for i, o := range text.Outputs {
		step([]any{"outputs", i}, byID[idOf(o.plugged)], o.plugged)
	}
}

// idOf is the id of a step: that of its plugin, unless it says otherwise.
func idOf(p plugged) string {
	if p.ID != "" {
		return p.ID
	}
	id, _, _ := strings.Cut(p.Plugin, "@")
	return id
}

func near(name string, names []string) string {
	if n := strictyaml.Nearest(name, names); n != "" {
		return fmt.Sprintf(": did you mean %s?", n)
	}
	return ""
}

// stepKnown holds a step to its plugin: that it is there, of the right kind and in a version
// of the range, and takes what it is given.
func (c *checker) stepKnown(path []any, s StepDefinition, brought bool) {
	if s.Plugin == "" || s.Type == api.TypeInstall || s.Type == api.TypeUpdate || s.Type == api.TypeRemove {
		return
	}
	p, there := c.known.Plugins[s.Plugin]
	where := at(path, "plugin")
	if !there {
		if !brought {
			ids := make([]string, 0, len(c.known.Plugins))
			for id := range c.known.Plugins {
				ids = append(ids, string(id))
			}
			c.missing(where, c.known.PluginsTold, "plugin %s is not published, and no action agent has it%s", s.Plugin, near(string(s.Plugin), ids))
		}
		return
	}
	constraint, err := semver.NewConstraint(cmp.Or(s.Version, "*"))
	if err != nil {
		return // told already
	}
	fits := func(version string) bool {
		v, err := semver.NewVersion(version)
		return err == nil && (s.Version == "" || constraint.Check(v))
	}
	n := slices.IndexFunc(p.Published, func(m plugin.Manifest) bool { return fits(m.Version) })
	if n < 0 {
		if !brought && !slices.ContainsFunc(p.Installed, fits) {
			c.missing(where, c.known.PluginsTold, "plugin %s is there in no version %s, but in %s", s.Plugin, s.Version, strings.Join(p.versions(), ", "))
		}
		return
	}
	m := p.Published[n]
	if m.Kind == plugin.Sensor {
		c.fail(where, "plugin %s is a sensor: a step runs an action or an output", s.Plugin)
		return
	}
	c.parametersFit(path, s, m)
}

func (p KnownPlugin) versions() []string {
	out := slices.Clone(p.Installed)
	for _, m := range p.Published {
		out = append(out, m.Version)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// parametersFit holds the values of a step to what its plugin takes. What is known only when
// it runs is held by its type, and by the agent then.
func (c *checker) parametersFit(path []any, s StepDefinition, m plugin.Manifest) {
	if len(m.Parameters) == 0 {
		return
	}
	given := map[string]bool{}
	var names []string
	for _, p := range m.Parameters {
		names = append(names, p.Name)
	}
	for _, f := range s.with {
		given[f.key] = !isNull(f.value)
		where := at(path, "with", f.key)
		p, known := m.Parameters.Property(f.key)
		if !known {
			hint := near(f.key, names)
			if hint == "" {
				hint = ": it takes " + strings.Join(names, ", ")
			}
			c.fail(where, "%s %s takes no %s%s", m.ID, m.Version, f.key, hint)
			continue
		}
		if problem := unfit(f.value, p); problem != "" {
			c.fail(where, "%s %s: %s %s", m.ID, m.Version, f.key, problem)
		}
	}
	for _, p := range m.Parameters {
		if p.Required && p.Default == nil && !given[p.Name] {
			place := at(path, "with")
			if !c.doc.Has(place) {
				place = at(path, "plugin")
			}
			c.fail(place, "%s %s needs %s (%s)", m.ID, m.Version, p.Name, p.Type)
		}
	}
}

func isNull(t template) bool {
	value, isConstant := t.(constant)
	return isConstant && string(value) == "null"
}

// unfit says why a value cannot be what a plugin takes, if that can be told now.
func unfit(t template, p plugin.Property) string {
	var got plugin.Type
	switch t := t.(type) {
	case constant:
		if isNull(t) {
			return ""
		}
		if err := p.Fits([]byte(t)); err != nil {
			return err.Error()
		}
		return ""
	case computed:
		if t.program != nil {
			got = plugin.Type(t.program.TypeOf())
		}
	case composed:
		got = plugin.String
	case list:
		got = plugin.Array
	case object:
		got = plugin.Object
	}
	if got == "" || p.Type == plugin.Any || got == p.Type {
		return ""
	}
	whole := func(t plugin.Type) bool { return t == plugin.Array || t == plugin.Object }
	isNumber := func(t plugin.Type) bool { return t == plugin.Integer || t == plugin.Number }
	if whole(got) || whole(p.Type) || got == plugin.Boolean && isNumber(p.Type) || isNumber(got) && p.Type == plugin.Boolean {
		return fmt.Sprintf("must be of type %s, and this is of type %s", p.Type, got)
	}
	return ""
}

// agentsKnown holds what picks agents to those that are enrolled.
func (c *checker) agentsKnown(path []any, said selection, kind api.AgentType) {
	var ids, names []string
	for _, a := range c.known.Agents {
		if a.Type == kind {
			ids, names = append(ids, string(a.ID)), append(names, a.Name)
		}
	}
	sure := len(c.known.Agents) > 0
	for i, id := range said.IDs {
		other := slices.ContainsFunc(c.known.Agents, func(a KnownAgent) bool { return string(a.ID) == id && a.Type != kind })
		switch {
		case slices.Contains(ids, id):
		case other:
			c.fail(at(path, "ids", i), "agent %s is not of type %s", id, kind)
		default:
			c.missing(at(path, "ids", i), sure, "there is no %s agent %s%s", kind, id, near(id, ids))
		}
	}
	for i, name := range said.Names {
		if !slices.Contains(names, name) {
			c.missing(at(path, "names", i), sure, "there is no %s agent with the name %s%s", kind, name, near(name, names))
		}
	}
	picks := Selector{Tags: said.Tags}
	if len(said.Tags) > 0 && !slices.ContainsFunc(c.known.Agents, func(a KnownAgent) bool { return a.Type == kind && picks.Picks(a.Agent) }) {
		c.missing(at(path, "tags"), false, "no %s agent has the tags %s now", kind, strings.Join(said.Tags, ", "))
	}
}

// eventsKnown lets expressions know the data of the events that start the workflow, where
// all of them are declared by published sensors.
func (c *checker) eventsKnown() {
	if c.known == nil {
		return
	}
	data := map[string]string{}
	for _, t := range c.def.Triggers {
		declared := c.dataOf(t)
		if declared == nil {
			return
		}
		merge(data, declared)
	}
	if len(data) == 0 {
		return
	}
	env, err := c.env.Knowing(data)
	if err != nil {
		c.fail([]any{"triggers"}, "%v", err)
		return
	}
	c.untyped, c.env, c.data = c.env, env, data
}

// dataOf are the fields of the data of a trigger's events by type; nil where they are not known.
func (c *checker) dataOf(t Trigger) map[string]string {
	if t.Pattern == "" {
		return t.ownData()
	}
	return c.dataOfPattern(t.pattern)
}

// ownData is what is in the data of the server's own events.
func (t Trigger) ownData() map[string]string {
	switch {
	case t.Schedule != nil:
		return map[string]string{"scheduled": "string"}
	case t.Agent != "":
		return dataOfConditions[t.Agent]
	case t.Ended != nil:
		return map[string]string{"workflow": "string", "run": "string", "status": "string", "error": "string", "event": "string"}
	}
	return nil
}

func (c *checker) dataOfPattern(p pattern) map[string]string {
	var out map[string]string
	for _, id := range slices.Sorted(maps.Keys(c.known.Plugins)) {
		for _, m := range c.known.Plugins[id].Published {
			for _, e := range m.Events {
				if p.re == nil || !p.match(e.Type) {
					continue
				}
				if out == nil {
					out = map[string]string{}
				}
				fields := map[string]string{}
				for _, f := range e.Data {
					fields[f.Name] = string(f.Type)
				}
				merge(out, fields)
			}
		}
	}
	return out
}

// merge adds fields; one that is declared with two types can be anything.
func merge(to, from map[string]string) {
	for name, declared := range from {
		if was, known := to[name]; known && was != declared {
			declared = string(plugin.Any)
		}
		to[name] = declared
	}
}

// awaiting is the environment of the condition of a wait: event is another one there, so its
// data may have the fields of either, and without a declaration of both it may have any.
func (c *checker) awaiting(w *Wait) *expr.Env {
	if c.data == nil {
		return c.env
	}
	declared := c.dataOfPattern(w.pattern)
	if declared == nil {
		return c.untyped
	}
	merge(declared, c.data)
	env, err := c.untyped.Knowing(declared)
	if err != nil {
		return c.untyped
	}
	return env
}
