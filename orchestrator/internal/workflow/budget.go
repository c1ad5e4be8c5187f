package workflow

import (
	"context"

	"github.com/stavily/agents/orchestrator/internal/workflow/expr"
)

// What evaluations may cost together, in operations: what one may, as many times as people may
// well write. A document has up to 500 expressions, and those of all organisations are evaluated
// by one writer, so that what each may cost bounds nothing.
const (
	decisionLimit = 10 * expr.EvaluationLimit  // of a decision, and of a transition of a run
	trialLimit    = 100 * expr.EvaluationLimit // of all tests of a document, or of a replay
	partLimit     = expr.EvaluationLimit / 10  // more for each agent that a step begins on
	pickLimit     = 50 * expr.EvaluationLimit  // of picking agents: 500 for each of 10,000; what people write costs some 40 to 120
)

// OnTrial is the definition for somebody who asks what it would do: all that it evaluates has one
// budget, and ends when ctx does. It is for one goroutine.
func (d *Definition) OnTrial(ctx context.Context) *Definition {
	out := *d
	out.budget = expr.NewBudget("a trial", trialLimit, ctx.Err)
	return &out
}

// toDecide is the budget of one decision.
func (d *Definition) toDecide() *expr.Budget { return d.budget.Part("a decision", decisionLimit) }

// toGoOn is the budget of one transition of a run.
func (d *Definition) toGoOn() *expr.Budget {
	return d.budget.Part("one moment of a run", decisionLimit)
}
