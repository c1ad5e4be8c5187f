package workflow

import (
	"slices"

	"github.com/stavily/agents/shared/pkg/api"
)

// undoing begins the id of the step that takes back what another has done.
const undoing = "undo:"

// onFailure checks what follows a failure, and that what undoes something is used.
func (c *checker) onFailure(text document) {
	path := []any{"on_failure"}
	c.def.OnFailure = OnFailure(text.OnFailure)
	if !c.doc.Has(path) {
		c.def.OnFailure = Continue
	} else if !slices.Contains([]OnFailure{Continue, Stop, Undo}, c.def.OnFailure) {
		c.fail(path, "on_failure %q: must be stop, continue or undo", text.OnFailure)
	}
	some := false
	for i, a := range text.Actions {
		where := []any{"actions", i, "undo"}
		if !c.doc.Has(where) {
			continue
		}
		some = true
		if c.def.OnFailure != Undo {
			c.fail(where, "undo is never run: say on_failure: undo at the top level")
		}
		if c.def.Actions[i].Plugin == "" {
			continue // it has been told
		}
		if c.doc.Has(at(where, "id")) {
			c.fail(at(where, "id"), "id is that of the action, after %s: leave it out", undoing)
		}
		s := c.runs(where, a.Undo)
		s.ID = undoing + c.def.Actions[i].ID
		s.Retry = c.retry(at(where, "retry"), a.Undo.Retry, false)
		if !c.doc.Has(at(where, "agents")) {
			s.Target, s.Undoes = c.def.Actions[i].Target, c.def.Actions[i].ID
		}
		c.def.Actions[i].Undo = &s
	}
	if c.def.OnFailure == Undo && !some {
		c.fail(path, "on_failure: undo, and no action says how it is undone: give one an undo, or say stop")
	}
}

// stopped says why nothing more starts; it is empty where something may.
func (m *machine) stopped() string {
	if m.d.OnFailure == Continue || m.s.Error == "" {
		return ""
	}
	return clip("on_failure is " + string(m.d.OnFailure) + ": " + m.s.Error)
}

// undone takes back what completed, one after another from the last to the first, and reports
// whether nothing is left of it. A run that was cancelled is left as it is: somebody is at it.
func (m *machine) undone() bool {
	if m.d.OnFailure != Undo || m.s.Error == "" {
		return true
	}
	for _, action := range slices.Backward(m.d.Actions) {
		if action.Undo == nil || m.s.Steps[action.ID].Status != StepStatus(api.Completed) {
			continue
		}
		if _, begun := m.s.Steps[action.Undo.ID]; !begun && !m.s.Cancelled {
			m.dispatch(*action.Undo, false)
		}
		if step, begun := m.s.Steps[action.Undo.ID]; begun && !step.Status.Ended() {
			return false
		}
	}
	return true
}
