package instruction

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// DefaultLifetime is how long an instruction waits for its start when nobody says: a
// cure that comes an hour after the symptom should be decided anew.
const DefaultLifetime = time.Hour

// DefaultAttempts is how often an idempotent step is tried in all when nobody says.
const DefaultAttempts = 3

// Target says which action agents may run an instruction. All that is set must fit;
// the zero Target is any agent of the organisation.
type Target struct {
	Agents []api.AgentID `json:"agents,omitempty"` // one of them
	Host   string        `json:"host,omitempty"`   // the host name that the agent enrolled with
	Tags   []string      `json:"tags,omitempty"`   // all of them
	// Sandbox is the least level that the agent must give. Unlike the rest it depends on
	// what the agent reported last, so that Fits does not look at it.
	Sandbox api.SandboxLevel `json:"sandbox,omitempty"`
	// Installs says that the instruction brings the plugin: the agent need not have it.
	Installs bool `json:"installs,omitempty"`
	// Version is the range in which the agent must have the plugin; empty: in any version.
	Version string `json:"version,omitempty"`
	// Secrets says that the agent must have told a key that secrets can be sealed to.
	Secrets bool `json:"secrets,omitempty"`
}

// Fits reports whether an agent with that id, host name and tags may run it, as far as
// these say.
func (t Target) Fits(agent api.AgentID, host string, tags []string) bool {
	if len(t.Agents) > 0 && !slices.Contains(t.Agents, agent) || t.Host != "" && t.Host != host {
		return false
	}
	for _, tag := range t.Tags {
		if !slices.Contains(tags, tag) {
			return false
		}
	}
	return true
}

// Takes reports whether it may run in a version of the plugin. One that is not told may be
// the right one, and of a range that cannot be read the agent says so.
func (t Target) Takes(version string) bool {
	if t.Version == "" || version == "" {
		return true
	}
	fits, err := plugin.InRange(version, t.Version)
	return fits || err != nil
}

// Spec is what is to be done, decided once and never changed.
type Spec struct {
	ID          api.InstructionID          `json:"id"`
	RunID       api.RunID                  `json:"run_id,omitempty"`
	Workflow    string                     `json:"workflow,omitempty"`
	Step        string                     `json:"step,omitempty"`
	Try         int                        `json:"try,omitempty"` // of the step, from 0
	EventID     api.EventID                `json:"event_id,omitempty"`
	Plugin      api.PluginID               `json:"plugin"`
	Version     string                     `json:"version,omitempty"` // "" is the one the agent has
	Type        string                     `json:"type,omitempty"`    // "" is to execute
	Setup       api.PluginConfiguration    `json:"setup,omitzero"`    // without the version
	Input       map[string]json.RawMessage `json:"input,omitempty"`
	Secrets     []SecretText               `json:"secrets,omitempty"` // which the agent gets with its claim
	Timeout     time.Duration              `json:"timeout"`           // of one attempt, in nanoseconds
	Target      Target                     `json:"target"`
	Priority    string                     `json:"priority"`              // "" is normal
	Idempotent  bool                       `json:"idempotent"`            // may run again when an attempt may have run
	MaxAttempts int                        `json:"max_attempts"`          // 0: 3 when idempotent, else 1
	ExpiresAt   time.Time                  `json:"expires_at"`            // no start from then on; zero: DefaultLifetime
	TraceParent string                     `json:"traceparent,omitempty"` // of the decision, see trace.Context
}

// Instruction is a Spec and how far it has come.
//
// Agent, Attempt, Lease and BootID name the newest attempt also when it is over, until
// the next offer; only the status says whether they give a right to anything.
type Instruction struct {
	Spec
	Status     api.InstructionStatus `json:"status"`
	Attempt    int                   `json:"attempt"` // from 1
	Agent      api.AgentID           `json:"agent,omitempty"`
	Lease      string                `json:"lease,omitempty"`
	BootID     string                `json:"boot_id,omitempty"` // of the process that claimed
	LeaseUntil time.Time             `json:"lease_until,omitzero"`

	// Life is how long it may wait for its start, whatever becomes of the clock that CreatedAt
	// and ExpiresAt go by. Zero: it is older than this field.
	Life time.Duration `json:"life,omitempty"`

	CreatedAt  time.Time `json:"created_at"`
	OfferedAt  time.Time `json:"offered_at,omitzero"`  // of this attempt
	StartedAt  time.Time `json:"started_at,omitzero"`  // when this attempt was claimed
	FinishedAt time.Time `json:"finished_at,omitzero"` // when this attempt was over

	Spent           bool        `json:"spent,omitempty"`      // pending, and Attempt is over
	LostAgent       bool        `json:"lost_agent,omitempty"` // Attempt's agent fell silent
	CancelRequested bool        `json:"cancel_requested,omitempty"`
	Percent         *float64    `json:"percent,omitempty"`
	Lines           int         `json:"lines,omitempty"`   // of the attempt's execution log that came, of those with a number
	Message         string      `json:"message,omitempty"` // why it is where it is, for people
	Result          *api.Result `json:"result,omitempty"`  // as the agent of Attempt sent it
}

// New is a pending instruction, with the defaults of what spec leaves open.
func New(spec Spec, now time.Time) Instruction {
	if spec.Priority == "" {
		spec.Priority = api.PriorityNormal
	}
	if spec.MaxAttempts == 0 && spec.Idempotent {
		spec.MaxAttempts = DefaultAttempts
	}
	if spec.MaxAttempts == 0 {
		spec.MaxAttempts = 1
	}
	if spec.ExpiresAt.IsZero() {
		spec.ExpiresAt = now.Add(DefaultLifetime)
	}
	return Instruction{Spec: spec, Status: api.Pending, Attempt: 1, Life: spec.ExpiresAt.Sub(now), CreatedAt: now}
}

// Due is when a [Tick] has something to do, and zero when it never has.
func (i Instruction) Due() time.Time {
	switch i.Status {
	case api.Pending:
		return i.ExpiresAt
	case api.Offered, api.Executing:
		return i.LeaseUntil
	}
	return time.Time{}
}

// heldBy reports whether the newest attempt is the caller's. What a client without
// leases leaves out is not compared.
func (i Instruction) heldBy(agent api.AgentID, attempt int, lease string) bool {
	return i.Agent == agent && (attempt == 0 || attempt == i.Attempt) && (lease == "" || lease == i.Lease)
}

// lost reports whether the newest attempt was given up without a word of its agent.
func (i Instruction) lost() bool {
	return i.LostAgent && i.Result == nil && (i.Spent || i.Status == api.Interrupted)
}
