package expr

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
)

// dataType is the type of event.data where it is known what events there are.
const dataType = "data of such an event"

// typesByName are the types that fields of data are declared with, by their names in JSON
// Schema. What else is declared can be anything.
var typesByName = map[string]*cel.Type{
	"string": cel.StringType, "integer": cel.IntType, "number": cel.DoubleType, "boolean": cel.BoolType,
	"array": cel.ListType(cel.DynType), "object": anyMap,
}

// Knowing is the environment with the fields of event.data by their types. They only check:
// programs take whatever an event brings.
func (e *Env) Knowing(data map[string]string) (*Env, error) {
	fields := make(map[string]*cel.Type, len(data))
	for name, declared := range data {
		if fields[name] = typesByName[declared]; fields[name] == nil {
			fields[name] = cel.DynType
		}
	}
	known := maps.Clone(e.objects)
	known[dataType] = fields
	known[eventType] = maps.Clone(known[eventType])
	known[eventType]["data"] = cel.ObjectType(dataType)
	strict, err := e.cel.Extend(cel.CustomTypeProvider(provider{e.cel.CELTypeProvider(), known}))
	if err != nil {
		return nil, fmt.Errorf("make the environment of expressions: %w", err)
	}
	out := *e
	out.strict, out.data = strict, slices.Sorted(maps.Keys(data))
	return &out, nil
}

// heldToData is what the types of event.data have against an expression that is right
// without them. One that takes the data as a whole, as in "x" in event.data, is left alone.
func (e *Env) heldToData(source string, parsed *cel.Ast) (problems []Problem) {
	if e.strict == nil {
		return nil
	}
	_, issues := e.strict.Check(parsed)
	for _, err := range issues.Errors() {
		if !strings.Contains(err.Message, dataType) || undefined.MatchString(err.Message) {
			problems = append(problems, e.typeProblem(source, parsed.NativeRep(), err))
		}
	}
	return problems
}

// TypeOf is the type of what an expression comes to, by its name in JSON Schema, and empty
// where that is known only when it is evaluated.
func (p *Program) TypeOf() string {
	said := p.ast.GetType(p.ast.Expr().ID())
	for _, name := range slices.Sorted(maps.Keys(typesByName)) {
		if said.IsExactType(typesByName[name]) {
			return name
		}
	}
	return ""
}

// fieldOfData is the sentence about a field that no such event has.
func (e *Env) fieldOfData(object, field string) string {
	return fmt.Sprintf("%s has no field %q%s", object, field, suggest(field, e.data))
}

// isData reports whether a text is the data of an event.
func isData(object string) bool {
	return object == Event+".data" || object == Trigger+".data" || strings.HasPrefix(object, Events+"[") && strings.HasSuffix(object, "].data")
}
