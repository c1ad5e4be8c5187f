package expr

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// Values holds the value of every name by [Event], [Steps] and so on: objects as
// map[string]any with all the fields of their type, JSON as [Decode] gives it, an
// event's timestamp as a time.Time. A func() any is called once, when it is read.
type Values map[string]any

// Eval computes the value. The error is a sentence that names what was missing or
// did not fit.
func (p *Program) Eval(v Values) (Value, error) {
	out, _, err := p.eval(v)
	return Value{out}, err
}

// Holds computes the value of a condition.
func (p *Program) Holds(v Values) (bool, error) {
	out, _, err := p.eval(v)
	if err != nil {
		return false, err
	}
	return truth(out)
}

// Outcome is what one clause of a condition came to.
type Outcome string

// The outcomes of a clause.
const (
	Met       Outcome = "met"
	NotMet    Outcome = "not met"
	Failed    Outcome = "failed"    // it could not be evaluated
	Undecided Outcome = "undecided" // not evaluated: an earlier clause had decided
)

// Finding is one clause of a condition, what it read and what it came to.
type Finding struct {
	Clause  string
	Read    string // for example "event.data.percent = 97"
	Outcome Outcome
}

// Test is [Program.Holds] with what each part between && came to, in the order of
// the source.
func (p *Program) Test(v Values) (bool, []Finding, error) {
	out, state, err := p.eval(v)
	clauses := conjuncts(p.ast.Expr())
	findings := make([]Finding, len(clauses))
	for i, c := range clauses {
		findings[i] = Finding{Clause: p.text(c), Read: p.reads(c, state), Outcome: outcome(c, state)}
	}
	if len(clauses) == 1 && err == nil {
		findings[0].Outcome = outcomeOf(out) // a bare constant leaves no state
	}
	if err != nil {
		return false, findings, err
	}
	holds, err := truth(out)
	return holds, findings, err
}

func truth(out ref.Val) (bool, error) {
	if b, ok := out.(types.Bool); ok {
		return bool(b), nil
	}
	return false, fmt.Errorf("must be true or false, not %s", plainType(out.Type().TypeName()))
}

func (p *Program) eval(v Values) (ref.Val, interpreter.EvalState, error) {
	state := interpreter.NewEvalState()
	budget, _ := v[budgetKey].(*Budget)
	if err := budget.Over(); err != nil {
		return nil, state, err
	}
	out, details, err := p.run.Eval(map[string]any(v))
	if cost := details.ActualCost(); cost != nil {
		budget.spend(*cost)
	}
	if details != nil && details.State() != nil {
		state = details.State()
	}
	if err != nil {
		return nil, state, p.failure(err, state)
	}
	return out, state, nil
}

// conjuncts are the parts between the outermost &&.
func conjuncts(e celast.Expr) []celast.Expr {
	if e.Kind() != celast.CallKind || e.AsCall().FunctionName() != operators.LogicalAnd {
		return []celast.Expr{e}
	}
	var out []celast.Expr
	for _, arg := range e.AsCall().Args() {
		out = append(out, conjuncts(arg)...)
	}
	return out
}

func outcome(e celast.Expr, state interpreter.EvalState) Outcome {
	v, evaluated := state.Value(e.ID())
	if !evaluated {
		return Undecided
	}
	return outcomeOf(v)
}

func outcomeOf(v ref.Val) Outcome {
	switch v {
	case types.True:
		return Met
	case types.False:
		return NotMet
	}
	return Failed
}

// reads lists the event's fields and other values that e looked at, as it found
// them.
func (p *Program) reads(e celast.Expr, state interpreter.EvalState) string {
	var found []string
	for _, path := range paths(e) {
		v, evaluated := state.Value(path.ID())
		if !evaluated || types.IsError(v) {
			continue
		}
		if b, err := (Value{v}).AppendJSON(nil, maxRead); err == nil {
			found = append(found, p.text(path)+" = "+clip(string(b)))
		}
	}
	slices.Sort(found)
	return strings.Join(slices.Compact(found), ", ")
}

// maxRead bounds the value that is written out to be shown; [clip] shortens it.
const maxRead = 4 << 10

// paths are the longest name.field["key"] chains below e. What stands within a
// loop has a value for each turn and none to show.
func paths(e celast.Expr) []celast.Expr {
	switch e.Kind() {
	case celast.SelectKind:
		switch {
		case isPath(e):
			return []celast.Expr{e}
		case e.AsSelect().IsTestOnly():
			return nil // has(…) says all that there is to say
		}
		return paths(e.AsSelect().Operand())
	case celast.CallKind:
		if isPath(e) {
			return []celast.Expr{e}
		}
		var out []celast.Expr
		if e.AsCall().IsMemberFunction() {
			out = paths(e.AsCall().Target())
		}
		for _, arg := range e.AsCall().Args() {
			out = append(out, paths(arg)...)
		}
		return out
	case celast.ListKind:
		var out []celast.Expr
		for _, item := range e.AsList().Elements() {
			out = append(out, paths(item)...)
		}
		return out
	case celast.ComprehensionKind:
		return paths(e.AsComprehension().IterRange())
	}
	return nil
}

func isPath(e celast.Expr) bool {
	switch e.Kind() {
	case celast.IdentKind:
		return slices.Contains(roots, e.AsIdent())
	case celast.SelectKind:
		return isPath(e.AsSelect().Operand()) && !e.AsSelect().IsTestOnly()
	case celast.CallKind:
		call := e.AsCall()
		return call.FunctionName() == operators.Index && isPath(call.Args()[0]) && call.Args()[1].Kind() == celast.LiteralKind
	}
	return false
}

// failure says what an evaluation stumbled over.
func (p *Program) failure(err error, state interpreter.EvalState) error {
	var cancelled interpreter.EvalCancelledError
	if errors.As(err, &cancelled) {
		return fmt.Errorf("costs more than %d operations: compute it in a plugin", costLimit)
	}
	var at *types.Err
	if !errors.As(err, &at) {
		return err
	}
	node := nodeByID(p.ast, at.NodeID())
	if node == nil {
		return err
	}
	written := p.text(node)
	switch msg := err.Error(); {
	case strings.HasPrefix(msg, "no such key") && node.Kind() == celast.SelectKind:
		return fmt.Errorf("%s is missing: test for it with has(%s)", written, written)
	case strings.HasPrefix(msg, "no such key"):
		return fmt.Errorf("%s is missing", written)
	case strings.HasPrefix(msg, "no such overload") && node.Kind() == celast.CallKind:
		return fmt.Errorf("%s: %s does not take %s", written, operator(node.AsCall().FunctionName()), argumentTypes(node.AsCall(), state))
	default:
		return fmt.Errorf("%s: %s", written, plainType(clip(msg)))
	}
}

// argumentTypes is "int and double": what the call got.
func argumentTypes(call celast.CallExpr, state interpreter.EvalState) string {
	args := call.Args()
	if call.IsMemberFunction() {
		args = append([]celast.Expr{call.Target()}, args...)
	}
	var names []string
	for _, arg := range args {
		if v, ok := state.Value(arg.ID()); ok {
			names = append(names, plainType(v.Type().TypeName()))
		}
	}
	return strings.Join(names, " and ")
}

func (p *Program) text(e celast.Expr) string { return text(e, p.ast.SourceInfo()) }
