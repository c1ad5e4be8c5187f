package workflow

import (
	"fmt"
	"strings"

	"github.com/stavily/agents/orchestrator/internal/diagram"
)

// Diagram draws the definition: triggers, the condition, the actions as their needs order
// them, and who is told at the end.
func (d *Definition) Diagram() diagram.Graph {
	g := diagram.Graph{Title: "workflow " + d.Name}
	begins := d.beginning(&g)
	last := map[string]bool{}
	for _, a := range d.Actions {
		g.Nodes = append(g.Nodes, diagram.Node{ID: "step " + a.ID, Title: a.ID, Detail: detailOf(a)})
		last[a.ID] = true
		for _, need := range a.Needs {
			last[need] = false
			g.Edges = append(g.Edges, diagram.Edge{From: "step " + need, To: "step " + a.ID, Dashed: a.when != nil})
		}
		for _, id := range a.After {
			last[id] = false
			g.Edges = append(g.Edges, diagram.Edge{From: "step " + id, To: "step " + a.ID, Dashed: true})
		}
		if len(a.Needs)+len(a.After) == 0 {
			g.Edges = append(g.Edges, edges(begins, "step "+a.ID, a.when != nil)...)
		}
	}
	var ends []string
	for _, a := range d.Actions {
		if last[a.ID] {
			ends = append(ends, "step "+a.ID)
		}
	}
	if len(ends) == 0 {
		ends = begins
	}
	for _, o := range d.Outputs {
		g.Nodes = append(g.Nodes, diagram.Node{ID: "step " + o.ID, Title: o.ID, Detail: "when " + endsOf(o.On), Shape: diagram.Slanted})
		g.Edges = append(g.Edges, edges(ends, "step "+o.ID, true)...)
	}
	return g
}

// beginning draws what comes before the first action, and returns what leads to it.
func (d *Definition) beginning(g *diagram.Graph) []string {
	var begins []string
	for i, t := range d.Triggers {
		id := fmt.Sprintf("trigger %d", i)
		g.Nodes = append(g.Nodes, diagram.Node{ID: id, Title: t.title(), Detail: t.ID, Shape: diagram.Round})
		begins = append(begins, id)
	}
	if d.when == nil {
		return begins
	}
	g.Nodes = append(g.Nodes, diagram.Node{ID: "when", Title: "when", Detail: d.when.String(), Shape: diagram.Round})
	g.Edges = append(g.Edges, edges(begins, "when", false)...)
	return []string{"when"}
}

func edges(from []string, to string, dashed bool) []diagram.Edge {
	out := make([]diagram.Edge, len(from))
	for i := range from {
		out[i] = diagram.Edge{From: from[i], To: to, Dashed: dashed}
	}
	return out
}

// title is what triggers, in few words.
func (t Trigger) title() string {
	if t.Pattern != "" {
		return t.Pattern
	}
	t.ID = ""
	return strings.TrimPrefix(t.String(), "trigger ")
}

// detailOf is the plugin of an action where its id does not say it, and its condition.
func detailOf(a StepDefinition) string {
	var parts []string
	if a.Approval != nil {
		parts = append(parts, "approval")
	} else if a.Wait != nil {
		parts = append(parts, "waits for "+a.Wait.Pattern)
	} else if string(a.Plugin) != a.ID || a.Version != "" {
		plugin := string(a.Plugin)
		if a.Version != "" {
			plugin += "@" + a.Version
		}
		parts = append(parts, plugin)
	}
	if a.Undo != nil {
		parts = append(parts, "(undone by "+string(a.Undo.Plugin)+")")
	}
	if a.when != nil {
		parts = append(parts, "if "+a.when.String())
	}
	return strings.Join(parts, " ")
}

func endsOf(on []Status) string {
	names := make([]string, len(on))
	for i, s := range on {
		names[i] = string(s)
	}
	return strings.Join(names, " or ")
}

// Outline is the definition as lines for people: what starts it, its steps with what
// they wait for, and who is told.
func (d *Definition) Outline() []string {
	out := []string{d.Name + " (" + string(d.Mode) + ")"}
	for _, t := range d.Triggers {
		out = append(out, "  on    "+t.title())
	}
	if d.when != nil {
		out = append(out, "  when  "+d.when.String())
	}
	for _, a := range d.Actions {
		line := "  do    " + a.ID
		if detail := detailOf(a); detail != "" {
			line += ": " + detail
		}
		if len(a.Needs) > 0 {
			line += ", after " + strings.Join(a.Needs, " and ")
		}
		out = append(out, line)
	}
	for _, o := range d.Outputs {
		out = append(out, "  tell  "+o.ID+": when "+endsOf(o.On))
	}
	return out
}
