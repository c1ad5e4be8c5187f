package store

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/shared/pkg/api"
)

// States of an agent.
const (
	Active      = "active"
	Revoked     = "revoked"
	Quarantined = "quarantined" // it renewed a certificate that had ended, and waits for an admin
)

// Agent is an enrolled agent. Next… is a renewed certificate that has not been used
// yet; until then both are good, afterwards only the new one.
type Agent struct {
	ID       api.AgentID
	Type     api.AgentType
	State    string // Active, Revoked or Quarantined
	Name     string
	Hostname string // as it said at enrolment
	Tags     []string
	Version  string
	Status   string // what it said last: online, draining, offline

	KeyHash        string
	Serial         string
	CertificatePEM string
	NotAfter       time.Time

	TokensFrom time.Time // tokens (JWT) made before are refused; zero: there are none

	RetiredSerial string    // of the certificate before this one
	ActivatedAt   time.Time // when this one was first used

	NextKeyHash        string
	NextSerial         string
	NextCertificatePEM string
	NextNotAfter       time.Time

	EnrolledAt    time.Time
	LastSeen      time.Time
	RevokedAt     time.Time
	RevokedReason string

	QuarantinedAt    time.Time `json:",omitzero"`  // of one that is, since when
	QuarantineReason string    `json:",omitempty"` // and why

	Plugins  []api.PluginInfo // nil: it has not told; empty: it has none
	Monitors []api.MonitorInfo
	Health   *api.Health
	Sandbox  *api.Posture

	Lost            bool      `json:",omitzero"` // it fell silent, and workflows were told
	ExpiryTold      time.Time `json:",omitzero"` // NotAfter of the certificate of which workflows were told that it ends
	SecretsKey      string    // secrets are sealed to it: the first that it told
	OtherSecretsKey string    // that it tells now instead, and that is not taken

	LogStream string `json:",omitempty"` // whose log entries came last, and how many there are
	LogLines  int    `json:",omitempty"`

	Authorities []string `json:",omitempty"` // fingerprints of the CAs that it lets vouch for the orchestrator, as it said last

	TakesPackages bool           // it has asked which packages it is to have
	Assigned      []PackageState // what became of those
}

// CanTake reports whether the agent may be offered an instruction: it could run it (see
// CouldTake), and what it reported last confines plugins as far as the target asks.
func (a *Agent) CanTake(plugin api.PluginID, target instruction.Target) bool {
	return a.CouldTake(plugin, target) && a.Sandbox.Satisfies(target.Sandbox)
}

// CouldTake reports whether the agent could run an instruction if its sandbox were good
// enough: it is an action agent, the target fits it, secrets can be sealed to it if there
// are any, and the plugin is among those that it has ready, in a version that the target
// takes, if it has told which it has, or is brought by the instruction.
func (a *Agent) CouldTake(plugin api.PluginID, target instruction.Target) bool {
	const unsaid, usable = "", "ready" // as in api.PluginInfo
	if a.Type != api.Action || !a.takesSecrets(target) || !target.Fits(a.ID, a.Hostname, a.Tags) {
		return false
	}
	return target.Installs || a.Plugins == nil || slices.ContainsFunc(a.Plugins, func(p api.PluginInfo) bool {
		return p.ID == plugin && (p.State == unsaid || p.State == usable) && target.Takes(p.Version)
	})
}

func (a *Agent) takesSecrets(target instruction.Target) bool {
	return !target.Secrets || a.SecretsKey != ""
}

// Token is an enrolment token. The token itself is not kept, only its hash.
type Token struct {
	Hash      string // SHA-256, hex
	Type      api.AgentType
	AgentID   api.AgentID // only this agent, which it may replace; empty: any new one
	CreatedAt time.Time
	ExpiresAt time.Time
	UsedAt    time.Time
	UsedBy    api.AgentID
	KeyHash   string // of the CSR that used it first: only that one may use it again
	Note      string

	Downloaded []string // files that it has had
}

// OwnSender stands for the agent of events that are the server's own. No agent can have this id.
const OwnSender api.AgentID = "@stavily"

// Event is an event as it was received. Cursor grows in the order in which events
// were stored; the store sets it.
type Event struct {
	api.Event
	Cursor     int64
	Agent      api.AgentID
	Epoch      string
	ReceivedAt time.Time
}

// GapsShown is how many gaps of an agent are shown, the newest: an agent may report 500 in each
// batch, and nobody reads more.
const GapsShown = 200

// Gap is a loss of events that is known.
type Gap struct {
	api.Gap
	Agent      api.AgentID
	Epoch      string
	ReceivedAt time.Time
}

// Evaluation is what one workflow made of one event. Decision belongs to package
// workflow.
type Evaluation struct {
	Event    api.EventID
	Agent    api.AgentID // that sent it
	Workflow string
	Version  int
	At       time.Time
	Run      api.RunID       `json:",omitempty"` // that it started
	Shadow   bool            `json:",omitempty"` // of a workflow in mode shadow, which executes nothing
	Foreseen string          `json:",omitempty"` // the key of the run that it would have started in mode shadow
	Decision json.RawMessage `json:",omitempty"`
}

// Workflow is one version of a workflow. An applied text never changes.
type Workflow struct {
	Name      string
	Version   int // from 1
	Text      string
	Digest    string
	AppliedAt time.Time
}

// Run is one run of a workflow. State belongs to package workflow.
type Run struct {
	ID         api.RunID
	Workflow   string
	Version    int
	Status     string
	EventID    api.EventID
	Key        string    // of its cooldown
	Lane       string    `json:",omitempty"` // in which a number of runs go on at a time
	Host       string    `json:",omitempty"` // that its event is from
	Cancelled  bool      `json:",omitempty"` // its end was asked for
	Error      string    `json:",omitempty"` // of the first step that failed
	RetryOf    api.RunID `json:",omitempty"` // another run, which people had repeated
	CreatedAt  time.Time
	StartedAt  time.Time
	FinishedAt time.Time // zero: it is active
	// Since is what limits.expires_after counts from: CreatedAt, set with the clock of the host
	// that it goes by. Zero: CreatedAt as it is.
	Since time.Time       `json:",omitzero"`
	State json.RawMessage `json:",omitempty"`
	// Decoded is what State says, where who wrote it left that. Nobody changes what is in it.
	Decoded any `json:"-"`
}

// RunMark is what tells runs apart in a picture of many.
type RunMark struct {
	ID       api.RunID
	Workflow string
	Status   string
}

// Wait is a step of a run that waits for an event of a type that fits Pattern.
type Wait struct {
	Run     api.RunID
	Step    string
	Pattern string
}

// Approval is a step of a run that waits for people. Asked belongs to package workflow.
type Approval struct {
	Run      api.RunID
	Step     string
	Workflow string
	Version  int
	EventID  api.EventID
	Group    string `json:",omitempty"` // of people who decide; empty: all who may
	Count    int    // of people who must approve
	Since    time.Time
	Until    time.Time
	Asked    json.RawMessage
}

// Schedule is when a workflow is next started by the clock. Spec is which of its schedules.
type Schedule struct {
	Workflow string
	Spec     string
	Due      time.Time
}

// Window is what a workflow has gathered of one key. Doc belongs to package workflow.
type Window struct {
	Workflow string
	Key      string
	Closes   time.Time
	Doc      json.RawMessage
}

// Alarm is a time at which a step of a run goes on.
type Alarm struct {
	Run  api.RunID
	Step string
	Try  int
	At   time.Time
}

// History is one thing that happened in a run. Seq counts from 1 within the run.
type History struct {
	Run     api.RunID
	Seq     int
	At      time.Time
	Kind    string
	Step    string
	Message string
	Data    json.RawMessage `json:",omitempty"`
}

// Log is one line that a plugin wrote. The store sets Cursor.
type Log struct {
	Cursor      int64
	At          time.Time // that the agent's clock showed
	ReceivedAt  time.Time `json:",omitzero"`
	Agent       api.AgentID
	Run         api.RunID
	Instruction api.InstructionID
	Plugin      api.PluginID
	Level       string
	Message     string
}

// Audit is who did what to what, in the transaction of its effect. The store sets Seq and
// Prev, the digest of the record before, so that one that is changed or taken out shows.
type Audit struct {
	Seq    int64
	At     time.Time
	Actor  string
	Action string
	Object string
	Detail string
	Prev   string `json:",omitempty"` // "": written by a release without digests
}

// NoAudit is Prev of the first record.
const NoAudit = "sha256:none"

// Digest is of everything in the record, Prev included. A new field of the record is left out
// of its JSON where it is empty, or the digests of older ones would change.
func (a Audit) Digest() string {
	a.At = a.At.UTC()
	text, err := json.Marshal(a)
	if err != nil {
		return "" // of a time after the year 9999
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256(text))
}

// EventQuery selects events in the order in which they were stored.
type EventQuery struct {
	Type   string // "": any
	Agent  api.AgentID
	After  int64 // only those with a higher cursor
	Newest bool  // the newest first instead
	Before int64 // of the newest, only those with a lower cursor; 0: all
	Limit  int   // see PageSize
}

// RunQuery selects runs, newest first.
type RunQuery struct {
	Workflow string // "": any
	Status   string
	Before   api.RunID // only runs with a smaller id, which is older
	Limit    int       // see PageSize
}

// LogQuery selects log lines in the order in which they were stored.
type LogQuery struct {
	Run         api.RunID // "": any
	Instruction api.InstructionID
	After       int64 // only those with a higher cursor
	Newest      bool  // of a run only: the last lines, in their order all the same
	Limit       int   // see PageSize
}

// PageSize is how many records a query with this limit gives at most: 100 when it
// does not say, and never more than 1000, which bounds the memory of one answer.
func PageSize(limit int) int {
	const usual, most = 100, 1000
	if limit <= 0 {
		return usual
	}
	return min(limit, most)
}
