package expr

import (
	"fmt"
	"regexp"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"github.com/stavily/agents/internal/strictyaml"
)

// maxShown is how many characters of an expression or a value a message repeats.
const maxShown = 100

func clip(s string) string {
	if r := []rune(s); len(r) > maxShown {
		return string(r[:maxShown]) + "…"
	}
	return s
}

// suggest is `: did you mean "x"?`, a list of the few names there are, or nothing.
func suggest(name string, names []string) string {
	if near := strictyaml.Nearest(name, names); near != "" {
		return fmt.Sprintf(": did you mean %q?", near)
	}
	const few = 12
	if len(names) == 0 || len(names) > few {
		return ""
	}
	return ": there is " + strings.Join(names, ", ")
}

// syntaxProblem says what the parser stumbled over first; what it reports after
// that follows from it.
func syntaxProblem(source string, err *cel.Error) Problem {
	return Problem{offsetOf(source, err.Location), syntaxSentence(err.Message)}
}

var stumbled = regexp.MustCompile(`(?s)(?:input|at:) '(.*?)'?(?: expecting .*)?$`)

// habits are what people write out of the habit of another language.
var habits = map[string]string{"=": "==", "&": "&&", "|": "||", "and": "&&", "or": "||", "not": "!"}

func syntaxSentence(msg string) string {
	msg = strings.TrimPrefix(msg, "Syntax error: ")
	m := stumbled.FindStringSubmatch(msg)
	if m == nil {
		return msg
	}
	token := strings.TrimSpace(m[1])
	if token == "<EOF>" {
		return "ends in the middle of an expression"
	}
	if right, ok := habits[token]; ok {
		return fmt.Sprintf("%q is written %q here", token, right)
	}
	if strings.HasPrefix(token, `"`) || strings.HasPrefix(token, "'") {
		return "the text that begins here has no closing quote"
	}
	return fmt.Sprintf("unexpected %q", clip(token))
}

// offsetOf is the offset of a line (from 1) and column (from 0), in characters.
func offsetOf(source string, at common.Location) int {
	offset, line := 0, 1
	for text := range strings.Lines(source) {
		if line == at.Line() {
			break
		}
		offset += len([]rune(text))
		line++
	}
	return offset + max(at.Column(), 0)
}

// typeProblem turns what the type check found into a sentence.
func (e *Env) typeProblem(source string, parsed *celast.AST, err *cel.Error) Problem {
	p := Problem{offsetOf(source, err.Location), e.typeSentence(err.Message, nodeByID(parsed, err.ExprID), parsed.SourceInfo())}
	if undefined.MatchString(err.Message) || noSelection.MatchString(err.Message) {
		p.Offset++ // CEL points at the dot before the field
	}
	return p
}

var (
	undeclared  = regexp.MustCompile(`^undeclared reference to '([^']*)'`)
	undefined   = regexp.MustCompile(`^undefined field '([^']*)'`)
	noOverload  = regexp.MustCompile(`^found no matching overload for '([^']*)' applied to '(.*)'$`)
	noRange     = regexp.MustCompile(`^expression of type '(.*)' cannot be range`)
	noSelection = regexp.MustCompile(`^type '(.*)' does not support field selection`)
)

// typeSentence says CEL's msg about a node in our words.
func (e *Env) typeSentence(msg string, node celast.Expr, info *celast.SourceInfo) string {
	if m := undeclared.FindStringSubmatch(msg); m != nil {
		return undeclaredSentence(m[1], node)
	}
	if m := undefined.FindStringSubmatch(msg); m != nil {
		return e.fieldSentence(m[1], node, info)
	}
	if m := noOverload.FindStringSubmatch(msg); m != nil {
		return fmt.Sprintf("%s does not take %s", operator(m[1]), plainType(m[2]))
	}
	if m := noRange.FindStringSubmatch(msg); m != nil {
		return fmt.Sprintf("exists and all take a list or a map, not %s", plainType(m[1]))
	}
	if m := noSelection.FindStringSubmatch(msg); m != nil {
		return fmt.Sprintf("%s has no fields", plainType(m[1]))
	}
	return plainType(msg)
}

func undeclaredSentence(name string, node celast.Expr) string {
	switch {
	case node != nil && node.Kind() == celast.CallKind:
		return fmt.Sprintf("unknown function %q", name)
	}
	return fmt.Sprintf("unknown name %q%s", name, suggest(name, roots))
}

func (e *Env) fieldSentence(field string, node celast.Expr, info *celast.SourceInfo) string {
	if node == nil || node.Kind() != celast.SelectKind {
		return fmt.Sprintf("unknown field %q", field)
	}
	object := text(node.AsSelect().Operand(), info)
	if object == Variables && len(e.variables) == 0 {
		return fmt.Sprintf("unknown variable %q: there are no variables", field)
	}
	if object == Variables {
		return fmt.Sprintf("unknown variable %q%s", field, suggest(field, e.variables))
	}
	if object == Inputs {
		return fmt.Sprintf("unknown input %q%s: inputs are declared by a trigger manual", field, suggest(field, e.inputs))
	}
	if e.strict != nil && isData(object) {
		return e.fieldOfData(object, field)
	}
	if isEvent := object == Event || object == Trigger; isEvent && strictyaml.Nearest(field, fieldsOf(object)) == "" {
		return fmt.Sprintf("%s has no field %q: what the plugin sent is in %s.data", object, field, object)
	}
	return fmt.Sprintf("%s has no field %q%s", object, field, suggest(field, fieldsOf(object)))
}

// fieldsOf lists the fields of what an expression text stands for, where that can
// be told from the text.
func fieldsOf(object string) []string {
	of := map[string]string{Event: eventType, Trigger: eventType, Event + ".agent": agentType, Trigger + ".agent": agentType,
		Workflow: workflowType, Run: runType, Agent: agentType}[object]
	if of == "" && strings.HasPrefix(object, Steps) {
		of = stepType
	}
	names, _ := provider{objects: objects}.FindStructFieldNames(of)
	return names
}

// operator is a function's name as it is written: ">" for CEL's "_>_".
func operator(function string) string {
	if symbol, ok := operators.FindReverse(function); ok && symbol != "" {
		return symbol
	}
	switch function {
	case operators.Index:
		return "[…]"
	case operators.Conditional:
		return "?:"
	}
	return function
}

// plainType writes CEL's names of types as people know them.
func plainType(s string) string {
	return strings.NewReplacer("google.protobuf.Timestamp", "timestamp", "google.protobuf.Duration", "duration").Replace(s)
}

// nodeByID finds a node of an expression, or nil.
func nodeByID(a *celast.AST, id int64) celast.Expr {
	var found celast.Expr
	celast.PreOrderVisit(a.Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		if e.ID() == id {
			found = e
		}
	}))
	return found
}

// text is a node as it would be written.
func text(e celast.Expr, info *celast.SourceInfo) string {
	s, err := cel.ExprToString(e, info)
	if err != nil {
		return "the expression" // a part of an expanded macro has no text of its own
	}
	return clip(s)
}
