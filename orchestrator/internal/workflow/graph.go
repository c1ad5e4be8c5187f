package workflow

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stavily/agents/internal/strictyaml"
)

// needs checks the needs of the actions.
func (c *checker) needs() {
	ids, needs := c.edges()
	for i, s := range c.def.Actions {
		for j, need := range s.Needs {
			if problem := c.need(s, j, ids); problem != "" {
				c.fail([]any{"actions", i, "needs", j}, "%s", problem)
			} else if circle := circleThrough(s.ID, need, needs); circle != nil {
				c.fail([]any{"actions", i, "needs", j}, "needs go in a circle: %s", strings.Join(circle, " → "))
			}
		}
	}
}

// edges are the ids of the actions, and what each waits for.
func (c *checker) edges() (ids []string, before map[string][]string) {
	before = make(map[string][]string, len(c.def.Actions))
	for _, s := range c.def.Actions {
		ids = append(ids, s.ID)
		before[s.ID] = slices.Concat(s.Needs, s.After)
	}
	return ids, before
}

// afters notes which steps the conditions wait for, and refuses circles through them. It
// returns for each id the ids of all that end before it.
func (c *checker) afters() map[string]map[string]bool {
	for i := range c.def.Actions {
		s := &c.def.Actions[i]
		if s.when == nil {
			continue
		}
		for _, id := range s.when.Steps() {
			if !slices.Contains(s.Needs, id) {
				s.After = append(s.After, id)
			}
		}
	}
	ids, before := c.edges()
	for i, s := range c.def.Actions {
		for _, id := range s.After {
			if circle := circleThrough(s.ID, id, before); circle != nil {
				c.fail([]any{"actions", i, "when"}, "when reads a step that waits for this one: %s", strings.Join(circle, " → "))
			}
		}
	}
	upstream := make(map[string]map[string]bool, len(ids))
	for _, id := range ids {
		upstream[id] = map[string]bool{}
		collect(id, before, upstream[id])
	}
	return upstream
}

// need says what is wrong with one need, or nothing.
func (c *checker) need(s StepDefinition, j int, ids []string) string {
	need := s.Needs[j]
	switch {
	case slices.Contains(s.Needs[:j], need):
		return fmt.Sprintf("needs names %q twice", need)
	case slices.Contains(ids, need):
		return ""
	case slices.ContainsFunc(c.def.Outputs, func(o StepDefinition) bool { return o.ID == need }):
		return fmt.Sprintf("needs names the output %q: outputs come after all actions", need)
	}
	msg := fmt.Sprintf("needs names the unknown action %q", need)
	if near := strictyaml.Nearest(need, ids); near != "" {
		msg += fmt.Sprintf(": did you mean %q?", near)
	}
	return msg
}

// circleThrough is the shortest way from id over its need back to id, or nil. A
// circle of several is told at the one that stands first in the alphabet, so once.
func circleThrough(id, need string, needs map[string][]string) []string {
	before := map[string]string{need: id}
	for queue := []string{need}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at == id {
			circle := []string{id}
			for at = before[id]; at != id; at = before[at] {
				circle = append(circle, at)
			}
			circle = append(circle, id)
			slices.Reverse(circle)
			if slices.Min(circle) != id {
				return nil
			}
			return circle
		}
		for _, next := range needs[at] {
			if _, seen := before[next]; !seen {
				before[next] = at
				queue = append(queue, next)
			}
		}
	}
	return nil
}

// collect adds to found everything that id needs, directly or not.
func collect(id string, needs map[string][]string, found map[string]bool) {
	for _, need := range needs[id] {
		if _, known := needs[need]; known && !found[need] {
			found[need] = true
			collect(need, needs, found)
		}
	}
}

// inOrder sorts steps so that what they wait for comes first, else as they are written.
func inOrder(steps []StepDefinition) []StepDefinition {
	sorted := make([]StepDefinition, 0, len(steps))
	placed := make(map[string]bool, len(steps))
	var visit func(s StepDefinition)
	visit = func(s StepDefinition) {
		if placed[s.ID] {
			return
		}
		placed[s.ID] = true
		for _, other := range steps {
			if slices.Contains(s.Needs, other.ID) || slices.Contains(s.After, other.ID) {
				visit(other)
			}
		}
		sorted = append(sorted, s)
	}
	for _, s := range steps {
		visit(s)
	}
	return sorted
}
