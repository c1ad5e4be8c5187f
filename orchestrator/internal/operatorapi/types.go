package operatorapi

import (
	"encoding/json"

	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// SocketName is the name of the operator socket in the data directory.
const SocketName = "operator.sock"

// Health is the state of the server.
type Health struct {
	Status        string   `json:"status"` // ok | degraded
	Version       string   `json:"version"`
	ServerTime    api.Time `json:"server_time"`
	BaseURL       string   `json:"base_url"` // where agents connect
	TrustDomain   string   `json:"trust_domain"`
	CAFingerprint string   `json:"ca_fingerprint"`
	CANotAfter    api.Time `json:"ca_not_after"`
	WebURL        string   `json:"web_url,omitempty"` // where people connect; empty: nowhere

	Conditions []api.Condition `json:"conditions,omitempty"` // what is not as it should be
}

// Check is one thing that the doctor looked at.
type Check struct {
	Name    string `json:"name"`
	Status  string `json:"status"` // ok | warning | failed
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"` // what to do
}

// TokenRequest asks for an enrolment token.
type TokenRequest struct {
	AgentType  api.AgentType `json:"agent_type"`
	AgentID    api.AgentID   `json:"agent_id,omitempty"`    // only this agent, which it may replace
	TTLSeconds int           `json:"ttl_seconds,omitempty"` // 0: one hour
	Note       string        `json:"note,omitempty"`
	JWT        bool          `json:"jwt,omitempty"` // not for enrolment, but what the agent comes with instead of a certificate
}

// NewToken is a token that was just made, with all that an agent needs to use it.
// The token itself is never shown again.
type NewToken struct {
	Token         string        `json:"token"`
	AgentType     api.AgentType `json:"agent_type"`
	AgentID       api.AgentID   `json:"agent_id,omitempty"`
	ExpiresAt     api.Time      `json:"expires_at"`
	BaseURL       string        `json:"base_url"`
	CAFingerprint string        `json:"ca_fingerprint"`
	CAPEM         string        `json:"ca_pem,omitempty"` // with a JWT, whose agent does not enrol
}

// Token is one that was made earlier.
type Token struct {
	ID        string        `json:"id"`     // the beginning of its hash
	Status    string        `json:"status"` // unused | used | expired
	AgentType api.AgentType `json:"agent_type"`
	AgentID   api.AgentID   `json:"agent_id,omitempty"`
	CreatedAt api.Time      `json:"created_at"`
	ExpiresAt api.Time      `json:"expires_at"`
	UsedAt    api.Time      `json:"used_at"`
	UsedBy    api.AgentID   `json:"used_by,omitempty"`
	Note      string        `json:"note,omitempty"`
}

// Agent is one enrolled agent.
type Agent struct {
	ID                  api.AgentID         `json:"id"`
	Type                api.AgentType       `json:"type"`
	Name                string              `json:"name,omitempty"`
	Hostname            string              `json:"hostname,omitempty"` // as it said at enrolment
	Version             string              `json:"version,omitempty"`
	Status              string              `json:"status"` // online | draining | offline | lost | quarantined | revoked
	Tags                []string            `json:"tags,omitempty"`
	EnrolledAt          api.Time            `json:"enrolled_at"`
	LastSeen            api.Time            `json:"last_seen"`
	CertificateNotAfter api.Time            `json:"certificate_not_after"`
	RevokedAt           api.Time            `json:"revoked_at"`
	RevokedReason       string              `json:"revoked_reason,omitempty"`
	Quarantine          *Quarantine         `json:"quarantine,omitempty"` // of one that waits to be let in again
	Plugins             []api.PluginInfo    `json:"plugins,omitempty"`
	Assigned            []api.AssignedState `json:"assigned,omitempty"` // what became of the packages that it is to have
	Monitors            []api.MonitorInfo   `json:"monitors,omitempty"`
	Health              *api.Health         `json:"health,omitempty"`
	Sandbox             *api.Posture        `json:"sandbox,omitempty"`
	Gaps                []Gap               `json:"gaps,omitempty"`      // set when one agent is shown: at most 200, the newest first
	MoreGaps            bool                `json:"more_gaps,omitempty"` // than these are known
}

// Gap is a loss of events that is known.
type Gap struct {
	api.Gap
	ReceivedAt api.Time `json:"received_at"`
}

// Quarantine is why an agent waits for an admin, since when, and the certificate with which it
// would be let in.
type Quarantine struct {
	Since   api.Time `json:"since"`
	Reason  string   `json:"reason"`
	Serial  string   `json:"serial"`
	KeyHash string   `json:"key_hash"`
}

// ApproveRequest lets an agent in again with the certificate of its quarantine that was looked at.
type ApproveRequest struct {
	Serial string `json:"serial"`
}

// RevokeRequest says why an agent is revoked.
type RevokeRequest struct {
	Reason string `json:"reason,omitempty"`
}

// ApplyRequest is the text of a workflow. File names it in errors. AllowMissing takes one that
// names plugins or agents that are not there yet.
type ApplyRequest struct {
	File         string `json:"file"`
	Text         string `json:"text"`
	AllowMissing bool   `json:"allow_missing,omitempty"`
}

// RollbackRequest names an earlier version of a workflow; 0 is the one before the current.
type RollbackRequest struct {
	Version int `json:"version,omitempty"`
}

// StartRequest starts a run by hand. Inputs are texts, which the server reads as their types.
type StartRequest struct {
	By     string            `json:"by"`
	Inputs map[string]string `json:"inputs,omitempty"`
}

// Applied says what became of a workflow that was applied.
type Applied struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
	Changed bool   `json:"changed"` // false: the text is that of the current version
	// Warnings are sentences with file, line and column about what is not there and may come.
	Warnings []string `json:"warnings,omitempty"`
}

// Workflow is the current version of one workflow; Text is set when one is shown.
type Workflow struct {
	Name      string   `json:"name"`
	Version   int      `json:"version"`
	Digest    string   `json:"digest"`
	AppliedAt api.Time `json:"applied_at"`
	Text      string   `json:"text,omitempty"`
}

// Run is one run of a workflow.
type Run struct {
	ID         api.RunID   `json:"id"`
	Workflow   string      `json:"workflow"`
	Version    int         `json:"version"`
	Status     string      `json:"status"`
	EventID    api.EventID `json:"event_id,omitempty"`
	Key        string      `json:"key,omitempty"`
	Error      string      `json:"error,omitempty"`    // of the first step that failed
	RetryOf    api.RunID   `json:"retry_of,omitempty"` // another run, which people had repeated
	CreatedAt  api.Time    `json:"created_at"`
	StartedAt  api.Time    `json:"started_at"`
	FinishedAt api.Time    `json:"finished_at"`
}

// RunDetail is a run with everything that happened in it.
type RunDetail struct {
	Run
	Steps   []Step    `json:"steps"`
	History []History `json:"history"`
}

// Step is the instruction of one step of a run.
type Step struct {
	Step        string                `json:"step"`
	Instruction api.InstructionID     `json:"instruction"`
	Plugin      api.PluginID          `json:"plugin"`
	Status      api.InstructionStatus `json:"status"`
	Attempt     int                   `json:"attempt"`
	Agent       api.AgentID           `json:"agent,omitempty"`
	Message     string                `json:"message,omitempty"`
	CreatedAt   api.Time              `json:"created_at"`
	StartedAt   api.Time              `json:"started_at"`
	FinishedAt  api.Time              `json:"finished_at"`
	Result      *api.Result           `json:"result,omitempty"`
}

// History is one thing that happened in a run.
type History struct {
	Seq     int             `json:"seq"`
	At      api.Time        `json:"at"`
	Kind    string          `json:"kind"`
	Step    string          `json:"step,omitempty"`
	Message string          `json:"message,omitempty"`
	Data    json.RawMessage `json:"data,omitempty"`
}

// Log is one line that a plugin wrote.
type Log struct {
	Cursor      int64             `json:"cursor"`
	At          api.Time          `json:"at"`
	Agent       api.AgentID       `json:"agent,omitempty"`
	Instruction api.InstructionID `json:"instruction,omitempty"`
	Level       string            `json:"level,omitempty"`
	Plugin      api.PluginID      `json:"plugin,omitempty"`
	Message     string            `json:"message"`
}

// Event is an event as it was received.
type Event struct {
	api.Event
	Cursor     int64       `json:"cursor"`
	Agent      api.AgentID `json:"agent"`
	ReceivedAt api.Time    `json:"received_at"`
}

// Explanation is what became of one event: what each workflow that it came near made of it,
// clause by clause, and how the runs stand that it started.
type Explanation struct {
	Event       Event        `json:"event"`
	Evaluations []Evaluation `json:"evaluations"` // by workflow
}

// Evaluation is what one workflow made of an event.
type Evaluation struct {
	Workflow string            `json:"workflow"`
	Version  int               `json:"version"`
	At       api.Time          `json:"at"`
	Event    api.EventID       `json:"event,omitempty"` // of a run that was started by hand
	Decision workflow.Decision `json:"decision"`
	Run      *RunDetail        `json:"run,omitempty"` // that it started
}

// ReplayRequest asks what a workflow would make of an event that has come: a text, or a
// version of a workflow that was applied (0: the current one).
type ReplayRequest struct {
	Agent    api.AgentID `json:"agent,omitempty"` // whose event, where several have the id
	Workflow string      `json:"workflow,omitempty"`
	Version  int         `json:"version,omitempty"`
	File     string      `json:"file,omitempty"` // names the text in errors
	Text     string      `json:"text,omitempty"`
}

// Approval is a step of a run that waits for people, and what it is that they approve.
type Approval struct {
	Run      api.RunID           `json:"run"`
	Step     string              `json:"step"`
	Workflow string              `json:"workflow"`
	Version  int                 `json:"version"`
	EventID  api.EventID         `json:"event_id,omitempty"`
	Group    string              `json:"group,omitempty"` // of users who decide; empty: all who may
	Count    int                 `json:"count"`           // of people who must approve
	Since    api.Time            `json:"since"`
	Until    api.Time            `json:"until"`
	Digest   string              `json:"digest"` // of Steps
	Steps    []workflow.Proposal `json:"steps"`
}

// JudgeRequest is what one person says to an approval. The digest is that of what they saw.
type JudgeRequest struct {
	Digest  string `json:"digest"`
	By      string `json:"by"`
	Approve bool   `json:"approve"`
	Reason  string `json:"reason,omitempty"`
}

// Audit is one change or refusal that is on record.
type Audit struct {
	Seq    int64    `json:"seq"`
	At     api.Time `json:"at"`
	Actor  string   `json:"actor"`
	Action string   `json:"action"`
	Object string   `json:"object"`
	Detail string   `json:"detail,omitempty"`
}
