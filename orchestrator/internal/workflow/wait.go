package workflow

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/stavily/agents/orchestrator/internal/workflow/expr"
	"github.com/stavily/agents/shared/pkg/api"
)

// Wait is a step that waits for an event instead of running a plugin. It completes with the
// first that fits, which is its result, and has the status timeout when none has come.
type Wait struct {
	Pattern string // of the event's type, as written
	Within  time.Duration

	pattern pattern
	where   *expr.Program // nil: always
}

const defaultWithin = 5 * time.Minute

// ofPlugins are the keys of a step that runs a plugin.
var ofPlugins = []string{"plugin", "agents", "with", "timeout", "sandbox", "retry", "idempotent", "type", "plugin_configuration", "undo", "offline", "auto_install"}

// waitFor checks a step that waits.
func (c *checker) waitFor(path []any, a action, taken map[string]bool) StepDefinition {
	for _, key := range ofPlugins {
		if c.doc.Has(at(path, key)) {
			c.fail(at(path, key), "%s is for a step that runs a plugin: leave it out of one with wait_for", key)
		}
	}
	where := at(path, "wait_for")
	w := &Wait{Pattern: a.WaitFor.Event, Within: c.duration(at(where, "within"), a.WaitFor.Within, defaultWithin, time.Second, maxTimeout)}
	var err error
	if w.pattern, err = compilePattern(a.WaitFor.Event); err != nil {
		c.fail(at(where, "event"), "event %v", err)
	}
	if a.ID == "" {
		c.fail(path, "id is missing: a step with wait_for needs one")
	} else {
		c.id(at(path, "id"), a.ID, taken)
	}
	return StepDefinition{ID: a.ID, Wait: w}
}

// await begins to wait.
func (m *machine) await(step StepDefinition) {
	m.s.Steps[step.ID] = StepState{Status: StepAwaiting}
	m.record(StepWaits, step.ID, "for an event %s, at most %s", step.Wait.Pattern, step.Wait.Within)
	m.emit(Await{step.ID, step.Wait.Pattern})
	m.emit(SetAlarm{step.ID, 0, step.Wait.Within})
}

// came takes an event that a step may wait for. One that its `where` cannot be evaluated for
// is not the one.
func (m *machine) came(in EventCame) error {
	step, err := m.dispatched(in.Step)
	if err != nil || step.Status != StepAwaiting {
		return err
	}
	wait := m.d.step(in.Step).Wait
	if !wait.pattern.match(in.Event.Type) {
		return nil
	}
	event, err := in.Event.value()
	if err != nil {
		return nil // it cannot be read, and is not the one
	}
	if wait.where != nil {
		values, err := m.values()
		if err != nil {
			return err
		}
		values[expr.Event] = event
		if holds, err := wait.where.Holds(values); err != nil || !holds {
			return nil
		}
	}
	result, err := json.Marshal(in.Event)
	if err != nil {
		return fmt.Errorf("event %s: %w", in.Event.ID, err)
	}
	m.record(StepCame, in.Step, "event %s (%s) from agent %s", in.Event.ID, in.Event.Type, in.Event.Agent.ID)
	m.end(in.Step, StepState{
		Status: StepStatus(api.Completed), Satisfied: true,
		Result: m.keep(StepEnded{Step: in.Step, Result: result}),
	})
	m.advance()
	return nil
}
