package fsck

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

func (c *check) everyRun() error {
	var before api.RunID
	for {
		runs, err := c.Runs(store.RunQuery{Before: before, Limit: page})
		if err != nil || len(runs) == 0 {
			return err
		}
		for _, r := range runs {
			c.report.Runs++
			c.runs[r.ID] = r.FinishedAt.IsZero()
			if err := c.run(r); err != nil {
				return err
			}
		}
		before = runs[len(runs)-1].ID
	}
}

// run looks at one run and at all that belongs to it.
func (c *check) run(listed store.Run) error {
	name := "run " + string(listed.ID)
	r, err := c.Run(listed.ID) // with its state
	if err != nil {
		return err
	}
	history, err := c.History(r.ID)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(history, func(h store.History) bool { return h.Kind == string(workflow.RunAbandoned) }) {
		c.runs[r.ID] = true // what it waited for stays, and its state too
		return nil
	}
	var saved workflow.Saved
	if err := json.Unmarshal(r.State, &saved); err != nil {
		c.found(name, "its state cannot be read: %v", err)
		return nil
	}
	state := saved.State
	instructions, err := c.RunInstructions(r.ID)
	if err != nil {
		return err
	}
	c.record(name, r, state)
	for _, i := range instructions {
		c.report.Instructions++
		c.instruction(i, r, state)
	}
	for id, step := range state.Steps {
		if leftOpen(state, id) {
			continue
		}
		c.step(name, stepKey{r.ID, id}, step, instructions)
	}
	c.history(name, history, saved.History)
	return c.origin(name, r)
}

// record compares a run's record with its state.
func (c *check) record(name string, r store.Run, s workflow.State) {
	switch {
	case s.Run != r.ID || s.Workflow != r.Workflow:
		c.found(name, "its state is of run %s of workflow %s", s.Run, s.Workflow)
	case string(s.Status) != r.Status:
		c.found(name, "it is %s, and its state says %s", r.Status, s.Status)
	case s.Done == r.FinishedAt.IsZero():
		c.found(name, "its state says done: %t, and its record finished: %t", s.Done, !r.FinishedAt.IsZero())
	}
	if !s.Done {
		return
	}
	for id, step := range s.Steps {
		if !step.Status.Ended() && !leftOpen(s, id) {
			c.found(name, "it has finished, and its step %s is %s", id, step.Status)
		}
	}
}

// leftOpen reports whether a step tells of an approval of a run that is over: before runs
// waited for these, they finished over them.
func leftOpen(s workflow.State, step string) bool { return s.Done && workflow.Telling(step) }

// step sees that what a step waits for can come.
func (c *check) step(name string, key stepKey, s workflow.StepState, instructions []instruction.Instruction) {
	switch s.Status {
	case workflow.StepDispatched, workflow.StepRunning:
		if len(s.Fleet) > 0 {
			return // its parts are steps of their own
		}
		if !slices.ContainsFunc(instructions, func(i instruction.Instruction) bool {
			return i.Step == key.step && i.Try == s.Try && !i.Status.Terminal()
		}) {
			c.found(name, "step %s is %s, and no instruction of it goes on", key.step, s.Status)
		}
	case workflow.StepAwaiting:
		if !c.pending.waits[key] {
			c.found(name, "step %s waits for an event, and nothing would tell it of one", key.step)
		}
	case workflow.StepAsking:
		if !c.pending.approvals[key] {
			c.found(name, "step %s asks people, and nobody would be asked", key.step)
		}
	case workflow.StepRetrying:
		if c.pending.allAlarms && !c.pending.alarms[alarmKey{key, s.Try}] {
			c.found(name, "step %s waits for its next try, and nothing would begin it", key.step)
		}
	case workflow.StepChoosing:
		c.found(name, "step %s chooses its agents, which takes no time", key.step)
	}
}

// instruction looks at one and at the step that it is of.
func (c *check) instruction(i instruction.Instruction, r store.Run, s workflow.State) {
	name := "instruction " + string(i.ID)
	switch i.Status {
	case api.Offered, api.Executing:
		if i.Agent == "" || i.Lease == "" || i.LeaseUntil.IsZero() {
			c.found(name, "it is %s without an agent or a lease", i.Status)
		}
	case api.Pending:
	default:
		if !i.Status.Terminal() {
			c.found(name, "its status is %q", i.Status)
		} else if i.FinishedAt.IsZero() {
			c.found(name, "it is %s, and nothing says since when", i.Status)
		}
	}
	if i.Attempt < 1 {
		c.found(name, "its attempt is %d", i.Attempt)
	}
	step, there := s.Steps[i.Step]
	switch {
	case !there:
		c.found(name, "run %s has no step %s", r.ID, i.Step)
	case i.Status.Terminal(), leftOpen(s, i.Step):
	case !r.FinishedAt.IsZero():
		c.found(name, "it is %s, and its run %s has finished", i.Status, r.ID)
	case step.Status.Ended() && step.Try == i.Try:
		c.found(name, "it is %s, and its step %s is %s", i.Status, i.Step, step.Status)
	}
}

func (c *check) history(name string, history []store.History, lines int) {
	if len(history) != lines {
		c.found(name, "its history has %d lines, and its state says %d", len(history), lines)
	}
	for n, h := range history {
		if h.Seq != n+1 {
			c.found(name, "its history has line %d where %d is due", h.Seq, n+1)
			break
		}
	}
}

// origin sees that a run is of something that is there, and the one that was decided.
func (c *check) origin(name string, r store.Run) error {
	if _, err := c.WorkflowVersion(r.Workflow, r.Version); errors.Is(err, store.ErrNotFound) {
		c.found(name, "it is of version %d of workflow %s, which is not there", r.Version, r.Workflow)
	} else if err != nil {
		return err
	}
	if r.EventID == "" || r.RetryOf != "" || r.CreatedAt.Before(c.oldest) {
		return nil
	}
	events, err := c.EventsWithID(r.EventID)
	if err != nil {
		return err
	}
	if len(events) > 1 {
		return nil // several agents gave it: which one's, the state alone says
	}
	evaluations, err := c.Evaluations(r.EventID)
	// One that gathered events may be much younger than they are. What is removed for its age
	// takes along what was made of it.
	if len(events) == 0 && (!c.pruned || len(evaluations) > 0) {
		c.found(name, "it is of event %s, which is not there", r.EventID)
	}
	for _, e := range evaluations {
		if e.Workflow == r.Workflow && e.Run != "" && e.Run != r.ID {
			c.found(name, "event %s started run %s of workflow %s, so this one is a second", r.EventID, e.Run, r.Workflow)
		}
	}
	return err
}
