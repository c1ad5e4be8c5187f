package workflow

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/stavily/agents/orchestrator/internal/workflow/expr"
	"github.com/stavily/agents/shared/pkg/api"
)

// Mode says whether a definition acts.
type Mode string

// The modes of a definition.
const (
	Live   Mode = "live"
	Shadow Mode = "shadow" // decides and leaves its evaluations, and executes nothing
	Off    Mode = "off"
)

// Definition is one checked workflow document. It is immutable and may be used
// concurrently; [Parse] makes it.
type Definition struct {
	Name        string // a DNS label
	Description string
	Version     string // the document's own label; may be empty
	Mode        Mode
	Priority    string // of its steps where several wait for an agent; empty is normal
	Owner       string
	Runbook     string
	Triggers    []Trigger
	Inputs      []InputDefinition // of a run by hand, by name
	Cooldown    time.Duration     // per [Decision.Key], after the last run for it ended; 0 for none
	Window      time.Duration     // events of the same [Decision.Duplicate] within it are one; 0 for none
	Throttle    time.Duration     // only the first event of a [Decision.Group] within it counts; 0 for all
	Gather      *Gathering        // nil: each event is one by itself
	Limits      Limits
	OnFailure   OnFailure
	Actions     []StepDefinition // in an order in which what they wait for comes first, else as written
	Outputs     []StepDefinition // as written

	digest    string
	variables map[string]any
	duplicate []*expr.Program // whose values together tell duplicates
	group     []*expr.Program // whose values together make [Decision.Group], where grouped
	grouped   bool            // else it is the decision's key
	lane      *expr.Program   // nil: all runs are in one
	tests     []Test
	when      *expr.Program   // nil: always
	read      map[string]bool // ids of the actions whose results expressions read
	secrets   []SecretUse
	versions  map[string]int // of secrets; see [Definition.Knowing]
	budget    *expr.Budget   // of all that it evaluates; see [Definition.OnTrial]
}

// OnFailure says what follows when an action has failed.
type OnFailure string

// What follows a failure.
const (
	Continue OnFailure = "continue" // what does not need the failed action goes on
	Stop     OnFailure = "stop"     // nothing more starts
	Undo     OnFailure = "undo"     // nothing more starts, and what was done is taken back
)

// Trigger is a pattern of event types that starts the workflow.
type Trigger struct {
	ID      string   // may be empty
	Pattern string   // of event types, as written; empty where it is not by an agent's event
	Agents  Selector // that may trigger it
	Monitor *Monitor // that these run for it; nil: none

	// Else it is by one of these.
	Schedule *Schedule
	Ended    *Ended
	Manual   bool
	Webhook  *Webhook
	Agent    Condition // of one of Agents

	pattern pattern
}

// StepDefinition is one plugin that a run executes: an action of the graph or an output.
// Ids are unique among both.
type StepDefinition struct {
	ID         string
	Plugin     api.PluginID
	Version    string // the range after the @, as written; empty for any
	Needs      []string
	After      []string // steps that its when reads and that it does not need: it waits for their end, whatever that is
	Target     Target
	Timeout    time.Duration
	Sandbox    api.SandboxLevel // the least that it accepts; empty for any
	Idempotent bool
	Type       string                  // actions only: one of api's; empty is to execute
	Setup      api.PluginConfiguration // actions only, without the version
	Install    bool                    // actions only: an agent that lacks the plugin is assigned it
	Retry      Retry
	Each       *Each     // actions only: it runs on each of several agents instead of on Target
	Pick       *Selector // of the agents of which one runs it; nil: Target says it
	Offline    Offline
	Approval   *Approval       // actions only, instead of a plugin
	Wait       *Wait           // actions only, instead of a plugin
	On         []Status        // outputs only: the ends of a run that it is for
	Undo       *StepDefinition // actions only: what takes back what it has done; nil for nothing
	Undoes     string          // undos only: the step on whose agent it runs, instead of on Target; empty where it names agents

	when    *expr.Program // nil: always
	with    []field
	secrets []secretText // of with
	reads   []string     // ids of the steps that with reads
	timed   bool         // with reads now
}

// Target says where a step runs: on the host of the sensor that sent the event, on
// one of the agents named, or on an agent that has all the tags. The zero Target
// is any action agent of the organisation.
type Target struct {
	SameHost bool          `json:"same_host,omitempty"`
	Agents   []api.AgentID `json:"agents,omitempty"`
	Tags     []string      `json:"tags,omitempty"`
	Picked   string        `json:"picked,omitempty"` // in words, where names or an expression pick them
}

// String is the target in words, to stand after "on".
func (t Target) String() string {
	switch {
	case t.Picked != "":
		return "an agent " + t.Picked
	case t.SameHost:
		return "the host of the sensor"
	case len(t.Agents) > 0:
		ids := make([]string, len(t.Agents))
		for i, id := range t.Agents {
			ids[i] = string(id)
		}
		return "one of " + strings.Join(ids, ", ")
	case len(t.Tags) > 0:
		return "an agent with the tags " + strings.Join(t.Tags, ", ")
	}
	return "any action agent"
}

// step finds a step, which is there.
func (d *Definition) step(id string) *StepDefinition {
	for _, steps := range [][]StepDefinition{d.Actions, d.Outputs} {
		if i := slices.IndexFunc(steps, func(s StepDefinition) bool { return s.ID == id }); i >= 0 {
			return &steps[i]
		}
	}
	if of, agent, part := wholeOf(id); part {
		return d.step(of).on(agent)
	}
	if of, _, ok := strings.Cut(id, "@"); ok {
		telling := *d.step(of)
		telling.ID = id
		return &telling
	}
	if of, ok := strings.CutPrefix(id, undoing); ok {
		if undo := d.step(of).Undo; undo != nil {
			return undo
		}
	}
	panic("no step " + id)
}

// steps are the ids of all steps in order: actions, what undoes them, outputs.
func (d *Definition) steps() []string {
	var ids, undos []string
	for _, s := range d.Actions {
		ids = append(ids, s.ID)
		if s.Undo != nil {
			undos = append(undos, s.Undo.ID)
		}
	}
	ids = append(ids, undos...)
	for _, s := range d.Outputs {
		ids = append(ids, s.ID)
	}
	return ids
}

// Digest identifies the text that the definition was parsed from: "sha256:" and
// 64 hexadecimal digits. A run is pinned to it.
func (d *Definition) Digest() string { return d.digest }

func digestOf(src []byte) string {
	sum := sha256.Sum256(src)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Plugins lists the plugins that the definition runs, sorted, each once.
func (d *Definition) Plugins() []api.PluginID {
	var out []api.PluginID
	for _, steps := range [][]StepDefinition{d.Actions, d.Outputs} {
		for _, s := range steps {
			if s.Plugin != "" {
				out = append(out, s.Plugin)
			}
			if s.Undo != nil {
				out = append(out, s.Undo.Plugin)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Matches reports whether an event comes near a trigger. It looks at what the event is and
// nothing else, so it is the cheap question before [Definition.Decide].
func (d *Definition) Matches(e Event) bool {
	return slices.ContainsFunc(d.Triggers, func(t Trigger) bool { return t.near(d, e) })
}
