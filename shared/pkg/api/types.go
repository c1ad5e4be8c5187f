package api

import "encoding/json"

// Limits of the wire, the same on both sides.
const (
	MaxEventBytes   = 64 << 10  // one event, encoded
	MaxBatchEvents  = 500       // events in one batch
	MaxBatchBytes   = 1 << 20   // one batch, expanded
	MaxResultBytes  = 256 << 10 // a result's "result" value; more is cut with a marker
	MaxLogLines     = 1000      // lines of one execution log, or entries of one log batch
	MaxLogLineBytes = 8 << 10   // one such line
)

// EnrollRequest asks for a first certificate. The one-time token travels in the
// Authorization header.
type EnrollRequest struct {
	AgentID   AgentID   `json:"agent_id"`
	AgentType AgentType `json:"agent_type"`
	Name      string    `json:"name,omitempty"`
	CSRPEM    string    `json:"csr_pem"`
	Version   string    `json:"version,omitempty"`
	Hostname  string    `json:"hostname,omitempty"`
	Tags      []string  `json:"tags,omitempty"`
	Sandbox   *Posture  `json:"sandbox,omitempty"` // nil: not probed yet; heartbeats tell
}

// EnrollResponse answers an enrolment or a renewal.
type EnrollResponse struct {
	AgentID        AgentID `json:"agent_id"`
	OrganizationID OrgID   `json:"organization_id"`
	CertificatePEM string  `json:"certificate_pem"`
	CAPEM          string  `json:"ca_pem"`
}

// TokenResponse answers a refresh of the token that stands for a certificate.
type TokenResponse struct {
	Token     string `json:"token"`
	ExpiresAt Time   `json:"expires_at"`
}

// CertificateRequest asks for a fresh certificate over the one still valid.
type CertificateRequest struct {
	CSRPEM string `json:"csr_pem"`
}

// PluginInfo is one plugin that an agent has installed.
type PluginInfo struct {
	ID      PluginID `json:"id"`
	Version string   `json:"version"`
	Digest  string   `json:"digest,omitempty"`
	Type    string   `json:"type"`
	State   string   `json:"state,omitempty"`   // ready | refused | disabled | loading
	Message string   `json:"message,omitempty"` // why it is refused, or else what there is to know, such as that something newer is refused
}

// MonitorInfo is one monitor that a sensor agent runs.
type MonitorInfo struct {
	Name    string   `json:"name"`
	Plugin  PluginID `json:"plugin"`
	State   string   `json:"state"` // running | starting | backoff | refused
	Message string   `json:"message,omitempty"`
	LastRun Time     `json:"last_run"`
	// Workflow wants it; empty: a file on the agent's host says so.
	Workflow string `json:"workflow,omitempty"`
}

// Heartbeat tells the orchestrator that an agent lives and what it has. A nil
// Plugins means that the agent does not say, an empty one that it has none.
type Heartbeat struct {
	Timestamp Time         `json:"timestamp"`
	Status    string       `json:"status"` // online | draining | offline
	Version   string       `json:"version,omitempty"`
	Health    *Health      `json:"health,omitempty"`
	Plugins   []PluginInfo `json:"plugins,omitzero"`
	// Assigned has every package of the last set of Assignments that the agent got.
	Assigned            []AssignedState `json:"assigned,omitempty"`
	Monitors            []MonitorInfo   `json:"monitors,omitempty"`
	Sandbox             *Posture        `json:"sandbox,omitempty"`
	Tags                []string        `json:"tags,omitzero"` // nil: as they were
	CertificateNotAfter Time            `json:"certificate_not_after"`
	// SecretsKey is the public key that the secrets of this agent's instructions are sealed
	// to: the base64 of an X25519 key. The orchestrator keeps to the first that it was told.
	SecretsKey string `json:"secrets_key,omitempty"`
	// Authorities are the fingerprints of the CAs that this agent lets vouch for the
	// orchestrator. The answer brings others when these are not to be all.
	Authorities []string `json:"authorities,omitempty"`
}

// Health is an agent's own view of itself, as /health gives it.
type Health struct {
	Status     string      `json:"status"` // ok | degraded | failing
	Conditions []Condition `json:"conditions,omitempty"`
}

// Condition is one thing that is not as it should be: what, since when, and
// what a person can do about it.
type Condition struct {
	Name    string `json:"name"`
	Status  string `json:"status"` // degraded | failing
	Since   Time   `json:"since"`
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
}

// HeartbeatResponse answers a heartbeat.
type HeartbeatResponse struct {
	ServerTime    Time   `json:"server_time"`
	ConfigVersion string `json:"config_version"`
	// SecretsKeyRefused says that the agent has told another SecretsKey before: it is
	// given no secrets until it is enrolled again.
	SecretsKeyRefused bool `json:"secrets_key_refused,omitempty"`
	// HeartbeatSeconds is when the next heartbeat that says nothing new is wanted, by an
	// orchestrator that hears of its agents by their polls. 0: at every interval.
	HeartbeatSeconds int `json:"heartbeat_seconds,omitempty"`
	// CAPEM are the CAs that the agent is to trust from now on; empty: those that it does.
	CAPEM string `json:"ca_pem,omitempty"`
	// RenewCertificate says that the agent's certificate is of a CA that goes out of use.
	RenewCertificate bool `json:"renew_certificate,omitempty"`
}

// Priorities of an instruction, lowest first.
const (
	PriorityLow    = "low"
	PriorityNormal = "normal"
	PriorityHigh   = "high"
)

// What an instruction may ask for. The other names that mean to run a plugin are for the
// agent to know.
const (
	TypeExecute = "execute"
	TypeInstall = "plugin_install" // install a plugin, or another version of it
	TypeUpdate  = "plugin_update"  // the same for one that is installed
	TypeRemove  = "plugin_remove"
)

// PluginConfiguration names what an instruction runs, or installs. Arguments and
// environment take effect only where the agent's own policy allows them for that plugin,
// a repository only where plugins.sources of its configuration allows it.
type PluginConfiguration struct {
	Version        string            `json:"version,omitempty"`
	Digest         string            `json:"digest,omitempty"`
	EntryPoint     string            `json:"entrypoint,omitempty"`
	Arguments      []string          `json:"arguments,omitempty"`
	Environment    map[string]string `json:"environment,omitempty"`
	TimeoutSeconds int               `json:"timeout_seconds,omitempty"`

	PluginURL     string `json:"plugin_url,omitempty"`
	RepositoryURL string `json:"repository_url,omitempty"` // another name of PluginURL
	Branch        string `json:"branch,omitempty"`
	Tag           string `json:"tag,omitempty"`
	CommitHash    string `json:"commit_hash,omitempty"`   // the whole hash
	SubDirectory  string `json:"sub_directory,omitempty"` // of the repository
}

// InstructionContext says which run and which event an instruction serves.
type InstructionContext struct {
	Workflow string  `json:"workflow,omitempty"`
	RunID    RunID   `json:"run_id,omitempty"`
	Step     string  `json:"step,omitempty"`
	EventID  EventID `json:"event_id,omitempty"`
}

// Instruction is one piece of work offered to one action agent. The offer is no
// right to run: the agent claims the start first (see [Progress]).
type Instruction struct {
	ID                  InstructionID              `json:"id"`
	AgentID             AgentID                    `json:"agent_id"`
	PluginID            PluginID                   `json:"plugin_id"`
	InstructionType     string                     `json:"instruction_type"`
	PluginConfiguration PluginConfiguration        `json:"plugin_configuration"`
	InputData           map[string]json.RawMessage `json:"input_data,omitempty"`
	Context             InstructionContext         `json:"context"`
	Variables           map[string]json.RawMessage `json:"variables,omitempty"`
	TimeoutSeconds      int                        `json:"timeout_seconds"`
	MaxRetries          int                        `json:"max_retries"`
	Priority            string                     `json:"priority"`
	CorrelationID       string                     `json:"correlation_id,omitempty"`
	Attempt             int                        `json:"attempt"`
	Lease               string                     `json:"lease"`
	LeaseExpiresAt      Time                       `json:"lease_expires_at"`
	ExpiresAt           Time                       `json:"expires_at"`
	TraceParent         string                     `json:"traceparent,omitempty"`
	// SandboxMinimum is the least level that the step accepts, "" for any. An agent that
	// cannot give it rejects the instruction before it claims it. It is offered only to
	// agents that report the level, so that one that does not know the field had it then.
	SandboxMinimum SandboxLevel `json:"sandbox_minimum,omitempty"`
	// Secrets are the names of the secrets whose values come with the answer to the claim;
	// the instruction must not run without them.
	Secrets []string `json:"secrets,omitempty"`
	// LeaseSeconds and ExpiresInSeconds say the same as the two times above as
	// durations from now, so that an agent needs no agreement of clocks.
	LeaseSeconds     int `json:"lease_seconds,omitempty"`
	ExpiresInSeconds int `json:"expires_in_seconds,omitempty"`
}

// Poll statuses.
const (
	StatusNoInstructions = "no_pending_instructions"
	StatusDelivered      = "instruction_delivered"
)

// PollResponse answers GET …/instructions. Instructions is set only when the
// client asked for more than one.
type PollResponse struct {
	Instruction      *Instruction  `json:"instruction"`
	Instructions     []Instruction `json:"instructions,omitempty"`
	Status           string        `json:"status"`
	NextPollInterval int           `json:"next_poll_interval"` // seconds
	// AssignmentsVersion is that of the set that the agent is to have, where the poll named
	// another.
	AssignmentsVersion string `json:"assignments_version,omitempty"`
}

// InstructionStatus is where one attempt stands.
//
//	pending → offered → executing → completed | failed | timeout | cancelled | interrupted
//	pending | offered → expired | rejected | cancelled
type InstructionStatus string

// The states of an instruction. Those after Executing are terminal.
const (
	Pending     InstructionStatus = "pending"
	Offered     InstructionStatus = "offered"
	Executing   InstructionStatus = "executing"
	Completed   InstructionStatus = "completed"
	Failed      InstructionStatus = "failed"
	TimedOut    InstructionStatus = "timeout"
	Cancelled   InstructionStatus = "cancelled"
	Interrupted InstructionStatus = "interrupted"
	Expired     InstructionStatus = "expired"
	Rejected    InstructionStatus = "rejected"
)

// Terminal reports whether s is a final state.
func (s InstructionStatus) Terminal() bool {
	switch s {
	case Completed, Failed, TimedOut, Cancelled, Interrupted, Expired, Rejected:
		return true
	}
	return false
}

// Progress is the body of PUT …/instructions/{id}. The first one, with status
// executing, claims the start; later ones report progress and renew the lease.
//
// LogFrom, here and in [Result], is the number of the first line of ExecutionLog among all of the
// attempt, from 1: lines that were sent before, and whose answer was lost, are known by it. 0 does
// not say, and all lines are new.
type Progress struct {
	Status       InstructionStatus `json:"status"`
	ExecutionLog []string          `json:"execution_log,omitempty"`
	LogFrom      int               `json:"execution_log_from,omitempty"`
	Percent      *float64          `json:"percent,omitempty"` // 0 to 100
	Attempt      int               `json:"attempt,omitempty"`
	Lease        string            `json:"lease,omitempty"`
	BootID       string            `json:"boot_id,omitempty"` // made anew at each start of the agent
}

// ProgressResponse answers a claim or a progress report.
type ProgressResponse struct {
	Success        bool          `json:"success"`
	InstructionID  InstructionID `json:"instruction_id"`
	UpdatedFields  []string      `json:"updated_fields"`
	LeaseExpiresAt Time          `json:"lease_expires_at"`
	LeaseSeconds   int           `json:"lease_seconds,omitempty"`
	Cancel         bool          `json:"cancel"`
	// Secrets answers a claim of an instruction that has some: which texts go where into
	// its input, sealed to the SecretsKey of the agent that claims.
	Secrets string `json:"secrets,omitempty"`
}

// ResourceUsage is what one run of a plugin took.
type ResourceUsage struct {
	CPUSeconds  float64 `json:"cpu_seconds"`
	MaxRSSBytes int64   `json:"max_rss_bytes"`
	StoredBytes int64   `json:"stored_bytes,omitempty"` // the most in its temporary directory, with the growth of its home
}

// MaxTraffic is how many destinations a result tells of, and MaxTrafficAddresses how
// many addresses of each: a plugin can be granted no more destinations.
const (
	MaxTraffic          = 64
	MaxTrafficAddresses = 8
)

// Traffic is what one run of a plugin did with one network destination, from its start
// to its end, whatever became of the run.
//
// Runs that are forked from the same warm process at the same time share a network, where
// nothing tells whose a connection is: one that begins while there are several counts for
// each of them, and in Shared. Without Shared the counts are of that run alone.
type Traffic struct {
	Destination   string   `json:"destination"`         // as it was granted, host:port
	Addresses     []string `json:"addresses,omitempty"` // that were reached; the first MaxTrafficAddresses
	Connections   int64    `json:"connections"`         // that reached it
	Refused       int64    `json:"refused"`             // by the agent: all its addresses are forbidden, or too many at a time
	Failed        int64    `json:"failed,omitempty"`    // the name was not known, or nobody answered
	Shared        int64    `json:"shared,omitempty"`    // of all these, which another run may have made
	BytesSent     int64    `json:"bytes_sent"`
	BytesReceived int64    `json:"bytes_received"`
	LastError     string   `json:"last_error,omitempty"`
}

// PluginRef names the plugin version that really ran.
type PluginRef struct {
	ID      PluginID `json:"id"`
	Version string   `json:"version,omitempty"`
	Digest  string   `json:"digest,omitempty"`
}

// Result is how one attempt of an instruction ended.
type Result struct {
	Status        InstructionStatus `json:"status"`
	Result        json.RawMessage   `json:"result,omitempty"`
	ErrorMessage  string            `json:"error_message,omitempty"`
	ErrorDetails  json.RawMessage   `json:"error_details,omitempty"`
	ExecutionLog  []string          `json:"execution_log,omitempty"`
	LogFrom       int               `json:"execution_log_from,omitempty"` // as in Progress
	Attempt       int               `json:"attempt,omitempty"`
	Lease         string            `json:"lease,omitempty"`
	StartedAt     Time              `json:"started_at"`
	FinishedAt    Time              `json:"finished_at"`
	DurationMS    int64             `json:"duration_ms"`
	ResourceUsage *ResourceUsage    `json:"resource_usage,omitempty"`
	ExitCode      *int              `json:"exit_code,omitempty"`
	Plugin        *PluginRef        `json:"plugin,omitempty"`
	Sandbox       *Posture          `json:"sandbox,omitempty"`
	// Network has whom the run talked to, or tried to, in order of name. Connections are
	// seen where destinations are told apart: where Sandbox has achieved "egress". Where the
	// plugin is given ports of any host, or everything, it says nothing.
	Network []Traffic `json:"network,omitempty"`
}

// ResultResponse acknowledges a result. NextInstruction is reserved by the API
// and always null here: work is handed out by polling only.
type ResultResponse struct {
	Acknowledged    bool         `json:"acknowledged"`
	NextInstruction *Instruction `json:"next_instruction"`
}

// Severity of an event.
type Severity string

// The severities, lowest first.
const (
	Low      Severity = "low"
	Medium   Severity = "medium"
	High     Severity = "high"
	Critical Severity = "critical"
)

// Event is what a sensor noticed. ID and Seq never change across resends.
type Event struct {
	Seq       uint64                     `json:"seq,omitempty"`
	ID        EventID                    `json:"id"`
	Type      string                     `json:"type"`             // dotted, for example disk.space.high
	Source    string                     `json:"source,omitempty"` // the plugin
	Monitor   string                     `json:"monitor,omitempty"`
	Timestamp Time                       `json:"timestamp"`
	Severity  Severity                   `json:"severity"`
	Data      map[string]json.RawMessage `json:"data,omitempty"`
	Metadata  map[string]json.RawMessage `json:"metadata,omitempty"`
	Tags      []string                   `json:"tags,omitempty"`
	Key       string                     `json:"key,omitempty"` // dedupe key
	// TraceParent is a W3C trace context: what happens because of the event belongs to that
	// trace. One that is not valid is dropped, and the event is not.
	TraceParent string `json:"traceparent,omitempty"`
}

// Stream names the spool that events come from, or the process that log entries do. Epoch is 128
// random bits, in hex of a spool and made with it, so a wiped or restored disk cannot reuse numbers.
type Stream struct {
	Epoch string `json:"epoch"`
}

// Gap says that events From through To, Count of them, are lost, and why. It is
// delivered in their place, so a loss is a record and not a silence.
type Gap struct {
	From   uint64 `json:"from"`
	To     uint64 `json:"to"`
	Count  uint64 `json:"count"`
	Reason string `json:"reason"` // spool_full | corrupt | expired | refused
}

// EventBatch is the body of POST …/events.
type EventBatch struct {
	Stream Stream  `json:"stream"`
	Events []Event `json:"events"`
	Gaps   []Gap   `json:"gaps,omitempty"`
}

// EventOutcome is what became of one event of a batch.
type EventOutcome struct {
	Seq    uint64  `json:"seq,omitempty"`
	ID     EventID `json:"id"`
	Status string  `json:"status"` // accepted | duplicate | rejected
	Reason string  `json:"reason,omitempty"`
}

// The outcomes of an event.
const (
	EventAccepted  = "accepted"
	EventDuplicate = "duplicate"
	EventRejected  = "rejected"
)

// EventBatchResponse answers a batch after its commit. Every seq through
// AckedThrough is settled (stored, refused or known lost) and need not be sent
// again.
type EventBatchResponse struct {
	AckedThrough uint64         `json:"acked_through"`
	Events       []EventOutcome `json:"events"`
}

// LogEntry is one line of a plugin's log.
type LogEntry struct {
	Timestamp     Time          `json:"timestamp"`
	Level         string        `json:"level"` // debug | info | warn | error
	Plugin        PluginID      `json:"plugin,omitempty"`
	InstructionID InstructionID `json:"instruction_id,omitempty"`
	Message       string        `json:"message"`
}

// LogBatch is the body of POST …/logs. Entries of an agent have numbers in a stream, from 1, and
// From is that of the first: entries that were sent before, and whose answer was lost, are known by
// it. An agent has one stream, and one batch on its way, at a time. Without From all entries are new.
type LogBatch struct {
	Stream Stream     `json:"stream,omitzero"`
	From   int        `json:"from,omitempty"`
	Logs   []LogEntry `json:"logs"`
}

// LogBatchResponse answers a log batch.
type LogBatchResponse struct {
	Accepted int `json:"accepted"`
}
