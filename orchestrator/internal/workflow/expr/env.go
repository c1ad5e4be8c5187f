package expr

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
)

// The names that an expression may read.
const (
	Event     = "event"
	Trigger   = "trigger" // the same value as Event
	Events    = "events"  // those that made one; elsewhere the one by itself
	Inputs    = "inputs"  // of a run by hand
	Steps     = "steps"
	Variables = "variables"
	Workflow  = "workflow"
	Run       = "run"
	Now       = "now"     // when it is evaluated
	Agent     = "agent"   // on which a step runs, or that is picked
	Secrets   = "secrets" // whose values no expression reads; see [SecretName]
)

// roots is every name, in the order in which messages list them.
var roots = []string{Event, Trigger, Events, Inputs, Steps, Variables, Workflow, Run, Agent, Now, Secrets}

// The names of the object types begin with an article: it keeps them from being
// written in an expression and reads well in a message ("> does not take an agent
// and int").
const (
	eventType     = "an event"
	agentType     = "an agent"
	stepType      = "a step"
	workflowType  = "a workflow"
	runType       = "a run"
	variablesType = "variables of this document"
	inputsType    = "inputs of this document"
)

var (
	anyMap = cel.MapType(cel.StringType, cel.DynType)
	texts  = cel.ListType(cel.StringType)
)

// objects is the fields of every object type but the variables'.
var objects = map[string]map[string]*cel.Type{
	eventType: {
		"id": cel.StringType, "type": cel.StringType, "source": cel.StringType, "monitor": cel.StringType,
		"severity": cel.StringType, "timestamp": cel.TimestampType, "key": cel.StringType, "tags": texts,
		"data": anyMap, "metadata": anyMap, "agent": cel.ObjectType(agentType),
	},
	agentType:    {"id": cel.StringType, "name": cel.StringType, "host": cel.StringType, "tags": texts},
	stepType:     {"status": cel.StringType, "result": cel.DynType, "error": cel.StringType},
	workflowType: {"name": cel.StringType, "version": cel.StringType},
	runType:      {"id": cel.StringType, "status": cel.StringType, "error": cel.StringType},
}

// Env is what the expressions of one document may name, with types.
type Env struct {
	cel       *cel.Env
	variables []string // names, sorted
	inputs    []string
	objects   map[string]map[string]*cel.Type

	strict *cel.Env // knows the fields of event.data; nil: nobody does
	data   []string // names of those, sorted
}

// base is the part that all documents share; making it takes longer than all else.
var base = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.ClearMacros(),
		cel.Macros(cel.HasMacro, cel.AllMacro, cel.ExistsMacro),
		cel.EnableMacroCallTracking(), // so that an expanded macro can be shown as written
		cel.EnableIdentifierEscapeSyntax(),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.RegexProgramSizeLimit(regexLimit),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals()),
		cel.Variable(Event, cel.ObjectType(eventType)),
		cel.Variable(Trigger, cel.ObjectType(eventType)),
		cel.Variable(Events, cel.ListType(cel.ObjectType(eventType))),
		cel.Variable(Steps, cel.MapType(cel.StringType, cel.ObjectType(stepType))),
		cel.Variable(Inputs, cel.ObjectType(inputsType)),
		cel.Variable(Variables, cel.ObjectType(variablesType)),
		cel.Variable(Workflow, cel.ObjectType(workflowType)),
		cel.Variable(Agent, cel.ObjectType(agentType)),
		cel.Variable(Run, cel.ObjectType(runType)),
		cel.Variable(Now, cel.TimestampType),
		cel.Variable(Secrets, cel.MapType(cel.StringType, cel.StringType)), // only to say what is wrong with reading it
	)
})

// NewEnv makes the environment of a document with these variables and inputs. Their values,
// of inputs any of their type, are as [Decode] gives them and fix the types.
func NewEnv(variables, inputs map[string]any) (*Env, error) {
	shared, err := base()
	if err != nil {
		return nil, fmt.Errorf("make the environment of expressions: %w", err)
	}
	known := maps.Clone(objects)
	for name, values := range map[string]map[string]any{variablesType: variables, inputsType: inputs} {
		fields := make(map[string]*cel.Type, len(values))
		for field, value := range values {
			fields[field] = typeOf(value)
		}
		known[name] = fields
	}
	env, err := shared.Extend(cel.CustomTypeProvider(provider{shared.CELTypeProvider(), known}))
	if err != nil {
		return nil, fmt.Errorf("make the environment of expressions: %w", err)
	}
	return &Env{cel: env, objects: known, variables: slices.Sorted(maps.Keys(variables)), inputs: slices.Sorted(maps.Keys(inputs))}, nil
}

// typeOf is the type of a variable by its value. The items of lists and mappings
// may differ from each other, so they are checked as they are read.
func typeOf(value any) *cel.Type {
	switch value.(type) {
	case bool:
		return cel.BoolType
	case int64:
		return cel.IntType
	case float64:
		return cel.DoubleType
	case string:
		return cel.StringType
	case []any:
		return cel.ListType(cel.DynType)
	case map[string]any:
		return anyMap
	}
	return cel.DynType
}

// provider adds our object types to CEL's own. At run time an object is a
// map[string]any, so it can also be compared, passed on and written as JSON.
type provider struct {
	types.Provider
	objects map[string]map[string]*cel.Type
}

func (p provider) FindStructType(name string) (*types.Type, bool) {
	if _, ok := p.objects[name]; ok {
		return types.NewTypeTypeWithParam(cel.ObjectType(name)), true
	}
	return p.Provider.FindStructType(name)
}

func (p provider) FindStructFieldNames(name string) ([]string, bool) {
	if fields, ok := p.objects[name]; ok {
		return slices.Sorted(maps.Keys(fields)), true
	}
	return p.Provider.FindStructFieldNames(name)
}

func (p provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	fields, ours := p.objects[name]
	if !ours {
		return p.Provider.FindStructFieldType(name, field)
	}
	t, ok := fields[field]
	if !ok {
		return nil, false
	}
	value := func(object any) (any, bool) {
		m, _ := object.(map[string]any)
		v, ok := m[field]
		return v, ok
	}
	return &types.FieldType{
		Type: t,
		IsSet: func(object any) bool {
			v, ok := value(object)
			return ok && v != nil && v != ""
		},
		GetFrom: func(object any) (any, error) {
			if v, ok := value(object); ok {
				return v, nil
			}
			return nil, fmt.Errorf("%s lacks %s", name, field)
		},
	}, true
}
