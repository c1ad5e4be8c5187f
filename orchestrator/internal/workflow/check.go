package workflow

import (
	"regexp"
	"slices"
	"time"

	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/orchestrator/internal/workflow/expr"
	"github.com/stavily/agents/shared/pkg/api"
)

// The limits of a document and of its values.
const (
	maxSteps       = 100 // actions and outputs together: a person can still follow the graph
	maxTriggers    = 50  // each is tried on every event of the organisation
	maxExpressions = 500 // each takes about 0.1 ms to compile
	maxTimeout     = 24 * time.Hour
	maxCooldown    = 365 * 24 * time.Hour
	maxTests       = 100  // each takes as long as deciding once and starting a run
	maxText        = 1000 // bytes of description, owner, runbook, version and a plugin's range

	// defaultTimeout is the time of a step that names none: long for a clean-up,
	// short for an operator who waits for one that hangs.
	defaultTimeout = 5 * time.Minute
)

var (
	dnsLabel   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`) // RFC 1123, section 2.1
	identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)
)

// deciding is what can be read before there is a run.
var deciding = expr.Scope{Absent: map[string]string{
	expr.Steps:  "no step has run when a workflow decides",
	expr.Run:    "there is no run when a workflow decides",
	expr.Agent:  "no agent is chosen when a workflow decides; the sensor's is event.agent",
	expr.Events: "a workflow decides on one event at a time",
}}

// checker turns a decoded document into a definition and collects what is wrong.
// It goes on after a mistake with what it could make of it.
type checker struct {
	doc         *strictyaml.Doc
	src         string
	env         *expr.Env
	def         *Definition
	errs        strictyaml.Errors
	expressions int
	reading     []string // ids of the steps that what is compiled reads
	timed       bool     // what is compiled reads now

	known    *Known            // nil: the document is checked by itself
	warnings strictyaml.Errors // what is not there, and may come
	data     map[string]string // fields of event.data by type, where they are known
	untyped  *expr.Env         // env without those; nil where they are not known

	withPath    []any        // of the values that are compiled
	secretTexts []secretText // of these
}

func (c *checker) fail(path []any, format string, args ...any) {
	c.errs = append(c.errs, c.doc.Errorf(path, format, args...))
}

// at is the path of something below path.
func at(path []any, more ...any) []any { return append(slices.Clip(path), more...) }

func (c *checker) definition(text document) {
	c.header(text)
	c.variables(c.inputs(text.Triggers))
	c.triggers(text.Triggers)
	c.eventsKnown()
	c.def.Cooldown = c.duration([]any{"cooldown"}, text.Cooldown, 0, time.Second, maxCooldown)
	c.gather(text)
	c.duplicates(text.Dedupe)
	c.limits(text.Limits)
	c.def.when = c.condition([]any{"when"}, text.When, deciding)
	c.steps(text)
	c.acquainted(text)
	c.tests(text.Tests)
}

// priorities are those of instructions.
var priorities = []string{api.PriorityLow, api.PriorityNormal, api.PriorityHigh}

func (c *checker) header(text document) {
	d := c.def
	d.Name, d.Description, d.Version, d.Owner, d.Runbook = text.Name, text.Description, text.Version, text.Owner, text.Runbook
	switch {
	case text.Name == "":
		c.fail([]any{"name"}, "name is missing: give the workflow a name such as clean-when-full")
	case !dnsLabel.MatchString(text.Name):
		c.fail([]any{"name"}, "name %q: must be 1 to 63 characters of a-z, 0-9 and '-', beginning and ending with a letter or digit", text.Name)
	}
	for key, value := range map[string]string{"description": d.Description, "version": d.Version, "owner": d.Owner, "runbook": d.Runbook} {
		if len(value) > maxText {
			c.fail([]any{key}, "%s is %d bytes long, at most %d", key, len(value), maxText)
		}
	}
	d.Priority = text.Priority
	if c.doc.Has([]any{"priority"}) && !slices.Contains(priorities, text.Priority) {
		c.fail([]any{"priority"}, "priority %q: must be low, normal or high", text.Priority)
	}
	switch d.Mode = Mode(text.Mode); d.Mode {
	case Live, Shadow, Off:
	case "":
		d.Mode = Live
	default:
		c.fail([]any{"mode"}, "mode %q: must be live, shadow or off", text.Mode)
	}
}

// variables reads the values and makes the environment that knows their types.
func (c *checker) variables(inputs map[string]any) {
	path := []any{"variables"}
	c.def.variables = map[string]any{}
	if n := c.doc.Node(path); n != nil {
		if v, ok := c.value(n).(map[string]any); ok {
			c.def.variables = v
		}
	}
	for name := range c.def.variables {
		if !identifier.MatchString(name) {
			c.fail(at(path, name), "variable %q: must be 1 to 63 characters of A-Z, a-z, 0-9 and '_', not beginning with a digit", name)
		}
	}
	env, err := expr.NewEnv(c.def.variables, inputs)
	if err != nil {
		c.fail(path, "%v", err)
	}
	c.env = env
}

func (c *checker) triggers(triggers []trigger) {
	if len(triggers) == 0 {
		c.fail([]any{"triggers"}, "triggers is missing: name at least one event type that starts the workflow")
	}
	if len(triggers) > maxTriggers {
		c.fail([]any{"triggers"}, "%d triggers, at most %d: use a pattern such as disk.**", len(triggers), maxTriggers)
	}
	ids := map[string]bool{}
	for i, t := range triggers {
		if path := []any{"triggers", i, "id"}; c.doc.Has(path) {
			c.id(path, t.ID, ids)
		}
		c.def.Triggers = append(c.def.Triggers, c.triggered(i, t))
	}
}

// id checks an id and that it stands only once in taken.
func (c *checker) id(path []any, id string, taken map[string]bool) {
	switch {
	case api.PluginID(id).Validate() != nil: // a step's id is its plugin's unless it says otherwise
		c.fail(path, "id %q: must be 1 to %d characters of a-z, 0-9, '.', '_', '-', beginning with a letter or digit", id, api.MaxIDLength)
	case taken[id]:
		c.fail(path, "id %q is taken: give this one an id of its own", id)
	}
	taken[id] = true
}

// duration reads a duration; an absent one is the default.
func (c *checker) duration(path []any, text string, fallback, least, most time.Duration) time.Duration {
	if !c.doc.Has(path) {
		return fallback
	}
	key := path[len(path)-1]
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		c.fail(path, "%s %q: must be a duration such as 30s, 5m or 2h", key, text)
	case d < least, d > most:
		c.fail(path, "%s %s: must be from %s to %s", key, text, least, most)
	}
	return d
}
