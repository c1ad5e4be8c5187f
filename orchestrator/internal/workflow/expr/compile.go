package expr

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
)

// Scope is what one place of a document may read.
type Scope struct {
	Absent map[string]string // names that have no value at this place, and why
	Ended  []string          // ids of the steps that have always ended before
	Steps  []string          // ids of all steps of the document
	With   bool              // it is a value of `with`, where a secret may stand by itself
}

// Problem is one mistake in a source. Offset counts characters (code points) from
// its beginning.
type Problem struct {
	Offset  int
	Message string
}

// Program is one compiled expression.
type Program struct {
	ast   *celast.AST
	run   cel.Program
	steps []string
	timed bool
}

// String is the expression as people read it: on one line, as CEL formats it.
func (p *Program) String() string { return p.text(p.ast.Expr()) }

// Steps lists the ids of the steps that the expression reads.
func (p *Program) Steps() []string { return p.steps }

// ReadsNow reports whether the expression reads the time.
func (p *Program) ReadsNow() bool { return p.timed }

// CompileCondition is [Env.Compile] for an expression that must be true or false.
// One over foreign JSON is taken and its value is checked when it is evaluated.
func (e *Env) CompileCondition(source string, scope Scope) (*Program, []Problem) {
	p, problems := e.Compile(source, scope)
	if p == nil {
		return nil, problems
	}
	if t := p.ast.GetType(p.ast.Expr().ID()); t != cel.BoolType && t != cel.DynType {
		return nil, []Problem{{0, fmt.Sprintf("must be true or false, not %s", plainType(t.String()))}}
	}
	return p, nil
}

// Compile checks source and makes a program of it, or says everything that is
// wrong with it.
func (e *Env) Compile(source string, scope Scope) (*Program, []Problem) {
	if problem := checkText(source); problem != "" {
		return nil, []Problem{{0, problem}}
	}
	parsed, issues := e.cel.Parse(source)
	if mistakes := issues.Errors(); len(mistakes) > 0 { // Err would quote the source once for each
		return nil, []Problem{syntaxProblem(source, mistakes[0])}
	}
	if celast.ExceedsDepth(parsed.NativeRep(), maxDepth) {
		return nil, []Problem{{0, fmt.Sprintf("is nested deeper than %d: split it, or compute it in a plugin", maxDepth)}}
	}
	refs := references{scope: scope, info: parsed.NativeRep().SourceInfo()}
	if refs.check(parsed.NativeRep().Expr()); refs.macro {
		return nil, refs.problems // the types would only complain about what follows from it
	}
	checked, issues := e.cel.Check(parsed)
	problems := refs.problems
	for _, err := range issues.Errors() {
		problems = append(problems, e.typeProblem(source, parsed.NativeRep(), err))
	}
	if len(problems) == 0 {
		problems = e.heldToData(source, parsed)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	run, err := e.cel.Program(checked, cel.EvalOptions(cel.OptTrackState), cel.CostTracking(toll{}), cel.CostLimit(costLimit))
	if err != nil {
		return nil, []Problem{{0, err.Error()}}
	}
	slices.Sort(refs.read)
	return &Program{ast: checked.NativeRep(), run: run, steps: slices.Compact(refs.read), timed: refs.timed}, nil
}

// checkText refuses what is not worth parsing.
func checkText(source string) string {
	switch trimmed := strings.TrimSpace(source); {
	case trimmed == "":
		return "is empty: write an expression or leave it out"
	case len(source) > MaxSource:
		return fmt.Sprintf("is %d bytes long, at most %d: compute it in a plugin", len(source), MaxSource)
	case strings.HasPrefix(trimmed, opening):
		return "is an expression already: write it without ${{ }}"
	}
	return ""
}

// references checks which names a parsed expression reads, before types are: what
// it says about steps is then right whatever else is wrong.
type references struct {
	scope    Scope
	info     *celast.SourceInfo
	problems []Problem
	read     []string // ids of steps
	named    []int64  // uses of "steps" that are followed by one id
	timed    bool     // it reads now
	macro    bool     // it uses a macro that is not there
}

func (r *references) check(e celast.Expr) {
	celast.PreOrderVisit(e, celast.NewExprVisitor(r.visit))
}

func (r *references) visit(e celast.Expr) {
	switch e.Kind() {
	case celast.SelectKind:
		if sel := e.AsSelect(); isSteps(sel.Operand()) {
			r.step(sel.Operand(), sel.FieldName(), r.offset(e)+1)
		}
	case celast.CallKind:
		r.call(e)
	case celast.ComprehensionKind:
		if v := e.AsComprehension().IterVar(); slices.Contains(roots, v) {
			r.fail(r.offset(e), "%q has its own meaning: give the variable of the loop another name", v)
		}
	case celast.IdentKind:
		r.ident(e)
	}
}

// uncountable are macros that build a list as large as their input allows, or read
// all of it: they are left out, and said so by name.
var uncountable = []string{"map", "filter", "exists_one"}

func (r *references) call(e celast.Expr) {
	call := e.AsCall()
	args := call.Args()
	if call.FunctionName() == "_[_]" && isSteps(args[0]) && args[1].Kind() == celast.LiteralKind {
		if id, ok := args[1].AsLiteral().Value().(string); ok {
			r.step(args[0], id, r.offset(args[1]))
		}
	}
	if call.IsMemberFunction() && slices.Contains(uncountable, call.FunctionName()) {
		r.macro = true
		r.fail(r.offset(e), "%s is not available: use exists or all, or compute it in a plugin", call.FunctionName())
	}
}

func (r *references) ident(e celast.Expr) {
	name := e.AsIdent()
	r.timed = r.timed || name == Now
	if name == Secrets {
		r.fail(r.offset(e), "%s", r.noSecret())
	} else if why, absent := r.scope.Absent[name]; absent {
		r.fail(r.offset(e), "%s cannot be read here: %s", name, why)
	} else if name == Steps && !slices.Contains(r.named, e.ID()) {
		r.fail(r.offset(e), `steps must be followed by the id of one step: steps.clean or steps["disk-cleaner"]`)
	}
}

// noSecret says why an expression cannot read a secret.
func (r *references) noSecret() string {
	if r.scope.With {
		return `a secret stands alone in ${{ }} and cannot be computed with: write text around it, as in "Bearer ${{ secrets.token }}"`
	}
	return "secrets cannot be read here: only values of with hold them"
}

// step notes that the expression reads the step id, written at offset.
func (r *references) step(root celast.Expr, id string, offset int) {
	r.named = append(r.named, root.ID())
	if _, absent := r.scope.Absent[Steps]; absent {
		return
	}
	switch {
	case slices.Contains(r.scope.Ended, id):
		r.read = append(r.read, id)
	case slices.Contains(r.scope.Steps, id):
		r.fail(offset, "step %q may not have ended here: name it in needs", id)
	default:
		r.fail(offset, "unknown step %q%s", id, r.suggestStep(id))
	}
}

func (r *references) suggestStep(id string) string {
	for _, known := range r.scope.Steps {
		if strings.HasPrefix(known, id+"-") {
			return fmt.Sprintf(": an id with a dash is written steps[%q]", known)
		}
	}
	return suggest(id, r.scope.Steps)
}

func (r *references) offset(e celast.Expr) int {
	at := r.info.GetStartLocation(e.ID())
	return int(r.info.ComputeOffset(int32(at.Line()), int32(at.Column())))
}

func (r *references) fail(offset int, format string, args ...any) {
	r.problems = append(r.problems, Problem{max(offset, 0), fmt.Sprintf(format, args...)})
}

func isSteps(e celast.Expr) bool { return e.Kind() == celast.IdentKind && e.AsIdent() == Steps }
