package route

import (
	"net/http"
	"slices"

	"github.com/stavily/agents/shared/pkg/api"
)

// Listener is a door of the orchestrator: a row is served behind exactly one.
type Listener string

// The listeners.
const (
	Agents   Listener = "agents"   // TLS, for agents
	Operator Listener = "operator" // Unix socket, for the people of this machine
)

// Kind is a class of callers.
type Kind string

// The kinds of callers.
const (
	Anonymous      Kind = "anonymous"       // neither certificate nor token; may nothing
	EnrolmentToken Kind = "enrolment_token" // carries a token, which the handler redeems
	SensorAgent    Kind = "sensor"          // a current certificate of a sensor agent
	ActionAgent    Kind = "action"          // a current certificate of an action agent
	LocalOperator  Kind = "operator"        // may open the operator socket
)

// ID names one row of the table. Only this package makes values of it.
type ID struct{ name string }

func (id ID) String() string { return id.name }

// The routes of agents.
var (
	Enroll       = ID{"enroll"}
	Renew        = ID{"renew"}
	Refresh      = ID{"refresh"}
	Download     = ID{"download"}
	Heartbeat    = ID{"heartbeat"}
	Instructions = ID{"instructions"}
	Progress     = ID{"progress"}
	Result       = ID{"result"}
	Events       = ID{"events"}
	Logs         = ID{"logs"}
	Assignments  = ID{"assignments"}
	Package      = ID{"package"}
)

// The routes of operators.
var (
	Health           = ID{"health"}
	APIDocument      = ID{"api_document"}
	TokenCreate      = ID{"token_create"}
	TokenList        = ID{"token_list"}
	AgentList        = ID{"agent_list"}
	AgentShow        = ID{"agent_show"}
	AgentRevoke      = ID{"agent_revoke"}
	WorkflowApply    = ID{"workflow_apply"}
	WorkflowList     = ID{"workflow_list"}
	WorkflowShow     = ID{"workflow_show"}
	WorkflowDelete   = ID{"workflow_delete"}
	WorkflowVersions = ID{"workflow_versions"}
	WorkflowRollback = ID{"workflow_rollback"}
	WorkflowRun      = ID{"workflow_run"}
	RunList          = ID{"run_list"}
	RunShow          = ID{"run_show"}
	RunLogs          = ID{"run_logs"}
	RunFollow        = ID{"run_follow"}
	RunCancel        = ID{"run_cancel"}
	RunRetry         = ID{"run_retry"}
	EventList        = ID{"event_list"}
	EventFollow      = ID{"event_follow"}
	EventExplain     = ID{"event_explain"}
	EventReplay      = ID{"event_replay"}
	AuditList        = ID{"audit_list"}
	ApprovalList     = ID{"approval_list"}
	ApprovalJudge    = ID{"approval_judge"}

	PackagePublish    = ID{"package_publish"}
	PackageList       = ID{"package_list"}
	PackageShow       = ID{"package_show"}
	PackageApprove    = ID{"package_approve"}
	PackageRemove     = ID{"package_remove"}
	Assign            = ID{"assign"}
	Unassign          = ID{"unassign"}
	RolloutList       = ID{"rollout_list"}
	RolloutCommand    = ID{"rollout_command"}
	PublisherTrust    = ID{"publisher_trust"}
	PublisherList     = ID{"publisher_list"}
	PublisherDistrust = ID{"publisher_distrust"}
)

// Row is one route: what is served, to whom, and within which bounds.
type Row struct {
	ID       ID
	Listener Listener
	Method   string
	Pattern  string // of net/http.ServeMux; {agent_id} must be the caller's own
	Allow    []Kind

	MaxBody     int64 // bytes of a body on the wire; 0: a body is refused
	MaxExpanded int64 // bytes after gzip; 0: gzip is refused
	MaxUpload   int64 // bytes of a body that the handler reads as it comes, instead of MaxBody
	InFlight    int   // requests of one caller at a time; one more gets 429
}

// Allows reports whether a caller of kind k may use the route.
func (r Row) Allows(k Kind) bool { return slices.Contains(r.Allow, k) }

// Bounds of bodies and of requests in flight.
const (
	small = 64 << 10 // a CSR of RSA 4096 with its envelope takes 2 KiB
	large = 1 << 20  // the log lines of one result: 1000 lines, on average 1 KiB; as much as an agent says of its plugins at most

	few = 4 // a caller that repeats a request before the old one is known to be dead
	// An action agent runs up to 16 plugins at a time, each with progress and result.
	perRun = 32
	// Followers of one operator; scripts of a busy machine stay below.
	perOperator = 64
)

var (
	sensor   = []Kind{SensorAgent}
	action   = []Kind{ActionAgent}
	anyAgent = []Kind{SensorAgent, ActionAgent}
	operator = []Kind{LocalOperator}
)

// Table returns every row of every listener, agents first.
func Table() []Row { return slices.Clone(table) }

var table = slices.Concat([]Row{
	{Enroll, Agents, http.MethodPost, api.PathEnroll, []Kind{EnrolmentToken}, small, 0, 0, few},
	{Download, Agents, http.MethodGet, api.PathDownload, []Kind{EnrolmentToken}, 0, 0, 0, few},
	{Renew, Agents, http.MethodPost, api.PathCertificate, anyAgent, small, 0, 0, few},
	{Refresh, Agents, http.MethodPost, api.PathToken, anyAgent, small, 0, 0, few},
	{Heartbeat, Agents, http.MethodPost, api.PathHeartbeat, anyAgent, large, large, 0, few},
	{Instructions, Agents, http.MethodGet, api.PathInstructions, action, 0, 0, 0, few},
	{Progress, Agents, http.MethodPut, api.PathInstruction, action, large, large, 0, perRun},
	{Result, Agents, http.MethodPost, api.PathResult, action, 2 * large, 2 * large, 0, perRun},
	{Events, Agents, http.MethodPost, api.PathEvents, sensor, api.MaxBatchBytes, api.MaxBatchBytes, 0, few},
	{Logs, Agents, http.MethodPost, api.PathLogs, anyAgent, large, large, 0, few},
	{Assignments, Agents, http.MethodGet, api.PathPlugins, anyAgent, 0, 0, 0, few},
	{Package, Agents, http.MethodGet, api.PathPackage, anyAgent, 0, 0, 0, few},
}, operatorRows(
	Row{ID: Health, Method: http.MethodGet, Pattern: "/api/v1/health"},
	Row{ID: APIDocument, Method: http.MethodGet, Pattern: "/api/v1/openapi.json"},
	Row{ID: TokenCreate, Method: http.MethodPost, Pattern: "/api/v1/tokens", MaxBody: small},
	Row{ID: TokenList, Method: http.MethodGet, Pattern: "/api/v1/tokens"},
	Row{ID: AgentList, Method: http.MethodGet, Pattern: "/api/v1/agents"},
	Row{ID: AgentShow, Method: http.MethodGet, Pattern: "/api/v1/agents/{id}"},
	Row{ID: AgentRevoke, Method: http.MethodPost, Pattern: "/api/v1/agents/{id}/revoke", MaxBody: small},
	Row{ID: WorkflowApply, Method: http.MethodPost, Pattern: "/api/v1/workflows", MaxBody: 2 * large},
	Row{ID: WorkflowList, Method: http.MethodGet, Pattern: "/api/v1/workflows"},
	Row{ID: WorkflowShow, Method: http.MethodGet, Pattern: "/api/v1/workflows/{id}"},
	Row{ID: WorkflowDelete, Method: http.MethodDelete, Pattern: "/api/v1/workflows/{id}"},
	Row{ID: WorkflowVersions, Method: http.MethodGet, Pattern: "/api/v1/workflows/{id}/versions"},
	Row{ID: WorkflowRollback, Method: http.MethodPost, Pattern: "/api/v1/workflows/{id}/rollback", MaxBody: small},
	Row{ID: WorkflowRun, Method: http.MethodPost, Pattern: "/api/v1/workflows/{id}/run", MaxBody: 2 * small},
	Row{ID: RunList, Method: http.MethodGet, Pattern: "/api/v1/runs"},
	Row{ID: RunShow, Method: http.MethodGet, Pattern: "/api/v1/runs/{id}"},
	Row{ID: RunLogs, Method: http.MethodGet, Pattern: "/api/v1/runs/{id}/logs"},
	Row{ID: RunFollow, Method: http.MethodGet, Pattern: "/api/v1/runs/{id}/follow"},
	Row{ID: RunCancel, Method: http.MethodPost, Pattern: "/api/v1/runs/{id}/cancel", MaxBody: small},
	Row{ID: RunRetry, Method: http.MethodPost, Pattern: "/api/v1/runs/{id}/retry", MaxBody: small},
	Row{ID: EventList, Method: http.MethodGet, Pattern: "/api/v1/events"},
	Row{ID: EventFollow, Method: http.MethodGet, Pattern: "/api/v1/events/follow"},
	Row{ID: EventExplain, Method: http.MethodGet, Pattern: "/api/v1/events/{id}/explanation"},
	Row{ID: EventReplay, Method: http.MethodPost, Pattern: "/api/v1/events/{id}/replay", MaxBody: 2 * large},
	Row{ID: ApprovalList, Method: http.MethodGet, Pattern: "/api/v1/approvals"},
	Row{ID: ApprovalJudge, Method: http.MethodPost, Pattern: "/api/v1/runs/{id}/approvals/{step}", MaxBody: small},
	Row{ID: AuditList, Method: http.MethodGet, Pattern: "/api/v1/audit"},
	Row{ID: PackagePublish, Method: http.MethodPost, Pattern: "/api/v1/plugins", MaxUpload: api.MaxPackageBytes, InFlight: few},
	Row{ID: PackageList, Method: http.MethodGet, Pattern: "/api/v1/plugins"},
	Row{ID: PackageShow, Method: http.MethodGet, Pattern: "/api/v1/plugins/{id}"},
	Row{ID: PackageApprove, Method: http.MethodPost, Pattern: "/api/v1/plugins/{id}/versions/{version}/approve"},
	Row{ID: PackageRemove, Method: http.MethodDelete, Pattern: "/api/v1/plugins/{id}/versions/{version}"},
	Row{ID: Assign, Method: http.MethodPost, Pattern: "/api/v1/plugins/{id}/assignments", MaxBody: small},
	Row{ID: Unassign, Method: http.MethodDelete, Pattern: "/api/v1/plugins/{id}/assignments", MaxBody: small},
	Row{ID: RolloutList, Method: http.MethodGet, Pattern: "/api/v1/rollouts"},
	Row{ID: RolloutCommand, Method: http.MethodPost, Pattern: "/api/v1/plugins/{id}/rollout", MaxBody: small},
	Row{ID: PublisherTrust, Method: http.MethodPost, Pattern: "/api/v1/publishers", MaxBody: small},
	Row{ID: PublisherList, Method: http.MethodGet, Pattern: "/api/v1/publishers"},
	Row{ID: PublisherDistrust, Method: http.MethodDelete, Pattern: "/api/v1/publishers", MaxBody: small},
))

// operatorRows completes rows with what all routes of operators share.
func operatorRows(rows ...Row) []Row {
	for i := range rows {
		rows[i].Listener, rows[i].Allow = Operator, operator
		if rows[i].InFlight == 0 {
			rows[i].InFlight = perOperator
		}
	}
	return rows
}
