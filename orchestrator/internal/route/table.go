package route

import (
	"net/http"
	"slices"

	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/shared/pkg/api"
)

// Listener is a door of the orchestrator: a row is served behind the one that it names, and
// those of [Operator] behind [Web] as well, so that both always answer the same.
type Listener string

// The listeners.
const (
	Agents   Listener = "agents"   // TLS, for agents
	Operator Listener = "operator" // Unix socket, for the people of this machine
	Web      Listener = "web"      // HTTPS, for people and programs anywhere
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
	User           Kind = "user"            // a session of a browser
	APIToken       Kind = "api_token"       // a program, with a token of a user
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
	Monitors     = ID{"monitors"}
)

// The routes of operators.
var (
	Health           = ID{"health"}
	APIDocument      = ID{"api_document"}
	Doctor           = ID{"doctor"}
	Profile          = ID{"profile"}
	CAShow           = ID{"ca_show"}
	CARotate         = ID{"ca_rotate"}
	TokenCreate      = ID{"token_create"}
	TokenList        = ID{"token_list"}
	AgentList        = ID{"agent_list"}
	AgentShow        = ID{"agent_show"}
	AgentRevoke      = ID{"agent_revoke"}
	AgentApprove     = ID{"agent_approve"}
	WorkflowApply    = ID{"workflow_apply"}
	WorkflowList     = ID{"workflow_list"}
	WorkflowShow     = ID{"workflow_show"}
	WorkflowDelete   = ID{"workflow_delete"}
	WorkflowVersions = ID{"workflow_versions"}
	WorkflowShadow   = ID{"workflow_shadow"}
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

	UserList       = ID{"user_list"}
	UserAdd        = ID{"user_add"}
	UserChange     = ID{"user_change"}
	UserRemove     = ID{"user_remove"}
	UserInvite     = ID{"user_invite"}
	APITokenCreate = ID{"api_token_create"}
	APITokenList   = ID{"api_token_list"}
	APITokenRevoke = ID{"api_token_revoke"}
	SessionShow    = ID{"session_show"}

	SecretSet     = ID{"secret_set"}
	SecretList    = ID{"secret_list"}
	SecretDelete  = ID{"secret_delete"}
	SecretsRotate = ID{"secrets_rotate"}

	WebhookTake = ID{"webhook_take"}
)

// The routes of the web alone.
var (
	SessionBegin    = ID{"session_begin"}
	SessionEnd      = ID{"session_end"}
	SessionPassword = ID{"session_password"}
	SessionAccept   = ID{"session_accept"}
)

// Row is one route: what is served, to whom, and within which bounds.
type Row struct {
	ID       ID
	Listener Listener
	Method   string
	Pattern  string // of net/http.ServeMux; {agent_id} must be the caller's own
	Allow    []Kind
	// Role is the least that a user needs; Nobody: whoever comes may. The operator socket
	// has every role in every organisation.
	Role account.Role
	// Page is a row of which browsers show the answers: its errors are documents.
	Page bool

	MaxBody     int64 // bytes of a body on the wire; 0: a body is refused
	MaxExpanded int64 // bytes after gzip; 0: gzip is refused
	MaxUpload   int64 // bytes of a body that the handler reads as it comes, instead of MaxBody
	InFlight    int   // requests of one caller at a time; one more gets 429
	// Rate is how many requests a second one caller may make for long, after Burst of them
	// at once; 0: as many as InFlight lets through. Of rows for enrolment tokens refusals count,
	// whatever they are (see pace).
	Rate  float64
	Burst int
	Late  bool // certificates that have ended are taken, within the grace
	Holds bool // requests wait for their answers, which may be a Held
}

// Allows reports whether a caller of kind k may use the route.
func (r Row) Allows(k Kind) bool { return slices.Contains(r.Allow, k) }

// servedOn reports whether the row is served behind a listener.
func (r Row) servedOn(l Listener) bool {
	return r.Listener == l || r.Listener == Operator && l == Web
}

// often is ten times what an agent with 16 plugins at work sends; in batches comes ten times what
// its own limit lets through by default, since what waits meanwhile is one batch; now and then a
// little of what it sends from time to time, and seldom of what is large or costs a signature.
func often(r Row) Row      { r.Rate, r.Burst = 500, 1000; return r }
func inBatches(r Row) Row  { r.Rate, r.Burst = 100, 200; return r }
func nowAndThen(r Row) Row { r.Rate, r.Burst = 20, 200; return r }
func seldom(r Row) Row     { r.Rate, r.Burst = 2, 50; return r }

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
	operator = []Kind{LocalOperator, User, APIToken}
	anybody  = []Kind{Anonymous, User, APIToken}
	browser  = []Kind{User}

	// Of a call that its handler knows by something else: who else calls is not asked.
	nobodyYet = []Kind{Anonymous}
)

// Table returns every row of every listener, agents first.
func Table() []Row { return slices.Clone(table) }

var table = slices.Concat([]Row{
	ofAgents(Enroll, http.MethodPost, api.PathEnroll, []Kind{EnrolmentToken}, small, 0, few),
	ofAgents(Download, http.MethodGet, api.PathDownload, []Kind{EnrolmentToken}, 0, 0, few),
	late(seldom(ofAgents(Renew, http.MethodPost, api.PathCertificate, anyAgent, small, 0, few))),
	seldom(ofAgents(Refresh, http.MethodPost, api.PathToken, anyAgent, small, 0, few)),
	nowAndThen(ofAgents(Heartbeat, http.MethodPost, api.PathHeartbeat, anyAgent, large, large, few)),
	often(holding(ofAgents(Instructions, http.MethodGet, api.PathInstructions, action, 0, 0, few))),
	often(ofAgents(Progress, http.MethodPut, api.PathInstruction, action, large, large, perRun)),
	often(ofAgents(Result, http.MethodPost, api.PathResult, action, 2*large, 2*large, perRun)),
	inBatches(ofAgents(Events, http.MethodPost, api.PathEvents, sensor, api.MaxBatchBytes, api.MaxBatchBytes, few)),
	nowAndThen(ofAgents(Logs, http.MethodPost, api.PathLogs, anyAgent, large, large, few)),
	nowAndThen(ofAgents(Assignments, http.MethodGet, api.PathPlugins, anyAgent, 0, 0, few)),
	nowAndThen(ofAgents(Monitors, http.MethodGet, api.PathMonitors, sensor, 0, 0, few)),
	nowAndThen(ofAgents(Package, http.MethodGet, api.PathPackage, anyAgent, 0, 0, few)),
}, operatorRows(
	Row{ID: Health, Role: account.Viewer, Method: http.MethodGet, Pattern: "/api/v1/health"},
	Row{ID: APIDocument, Role: account.Viewer, Method: http.MethodGet, Pattern: "/api/v1/openapi.json"},
	Row{ID: Doctor, Role: account.Operator, Method: http.MethodGet, Pattern: "/api/v1/doctor"},
	Row{ID: Profile, Role: account.Admin, Method: http.MethodGet, Pattern: "/api/v1/debug/pprof/{id}", InFlight: few},
	Row{ID: CAShow, Role: account.Admin, Allow: []Kind{LocalOperator}, Method: http.MethodGet, Pattern: "/api/v1/ca"}, // of all organisations
	Row{ID: CARotate, Role: account.Admin, Allow: []Kind{LocalOperator}, Method: http.MethodPost, Pattern: "/api/v1/ca/rotate", MaxBody: small},
	Row{ID: TokenCreate, Role: account.Admin, Method: http.MethodPost, Pattern: "/api/v1/tokens", MaxBody: small},
	Row{ID: TokenList, Role: account.Operator, Method: http.MethodGet, Pattern: "/api/v1/tokens"},
	Row{ID: AgentList, Role: account.Viewer, Method: http.MethodGet, Pattern: "/api/v1/agents"},
	Row{ID: AgentShow, Role: account.Viewer, Method: http.MethodGet, Pattern: "/api/v1/agents/{id}"},
	Row{ID: AgentRevoke, Role: account.Admin, Method: http.MethodPost, Pattern: "/api/v1/agents/{id}/revoke", MaxBody: small},
	Row{ID: AgentApprove, Role: account.Admin, Method: http.MethodPost, Pattern: "/api/v1/agents/{id}/approve", MaxBody: small},
	Row{ID: WorkflowApply, Role: account.Admin, Method: http.MethodPost, Pattern: "/api/v1/workflows", MaxBody: 2 * large},
	Row{ID: WorkflowList, Role: account.Viewer, Method: http.MethodGet, Pattern: "/api/v1/workflows"},
	Row{ID: WorkflowShow, Role: account.Viewer, Method: http.MethodGet, Pattern: "/api/v1/workflows/{id}"},
	Row{ID: WorkflowDelete, Role: account.Admin, Method: http.MethodDelete, Pattern: "/api/v1/workflows/{id}"},
	Row{ID: WorkflowVersions, Role: account.Viewer, Method: http.MethodGet, Pattern: "/api/v1/workflows/{id}/versions"},
	Row{ID: WorkflowShadow, Role: account.Viewer, Method: http.MethodGet, Pattern: "/api/v1/workflows/{id}/shadow"},
	Row{ID: WorkflowRollback, Role: account.Admin, Method: http.MethodPost, Pattern: "/api/v1/workflows/{id}/rollback", MaxBody: small},
	Row{ID: WorkflowRun, Role: account.Operator, Method: http.MethodPost, Pattern: "/api/v1/workflows/{id}/run", MaxBody: 2 * small},
	Row{ID: RunList, Role: account.Viewer, Method: http.MethodGet, Pattern: "/api/v1/runs"},
	Row{ID: RunShow, Role: account.Viewer, Method: http.MethodGet, Pattern: "/api/v1/runs/{id}"},
	Row{ID: RunLogs, Role: account.Viewer, Method: http.MethodGet, Pattern: "/api/v1/runs/{id}/logs"},
	Row{ID: RunFollow, Role: account.Viewer, Method: http.MethodGet, Pattern: "/api/v1/runs/{id}/follow"},
	Row{ID: RunCancel, Role: account.Operator, Method: http.MethodPost, Pattern: "/api/v1/runs/{id}/cancel", MaxBody: small},
	Row{ID: RunRetry, Role: account.Operator, Method: http.MethodPost, Pattern: "/api/v1/runs/{id}/retry", MaxBody: small},
	Row{ID: EventList, Role: account.Viewer, Method: http.MethodGet, Pattern: "/api/v1/events"},
	Row{ID: EventFollow, Role: account.Viewer, Method: http.MethodGet, Pattern: "/api/v1/events/follow"},
	Row{ID: EventExplain, Role: account.Viewer, Method: http.MethodGet, Pattern: "/api/v1/events/{id}/explanation"},
	Row{ID: EventReplay, Role: account.Operator, Method: http.MethodPost, Pattern: "/api/v1/events/{id}/replay", MaxBody: 2 * large},
	Row{ID: ApprovalList, Role: account.Viewer, Method: http.MethodGet, Pattern: "/api/v1/approvals"},
	Row{ID: ApprovalJudge, Role: account.Approver, Method: http.MethodPost, Pattern: "/api/v1/runs/{id}/approvals/{step}", MaxBody: small},
	Row{ID: AuditList, Role: account.Admin, Method: http.MethodGet, Pattern: "/api/v1/audit"},
	Row{ID: PackagePublish, Role: account.Admin, Method: http.MethodPost, Pattern: "/api/v1/plugins", MaxUpload: api.MaxPackageBytes, InFlight: few},
	Row{ID: PackageList, Role: account.Viewer, Method: http.MethodGet, Pattern: "/api/v1/plugins"},
	Row{ID: PackageShow, Role: account.Viewer, Method: http.MethodGet, Pattern: "/api/v1/plugins/{id}"},
	Row{ID: PackageApprove, Role: account.Admin, Method: http.MethodPost, Pattern: "/api/v1/plugins/{id}/versions/{version}/approve"},
	Row{ID: PackageRemove, Role: account.Admin, Method: http.MethodDelete, Pattern: "/api/v1/plugins/{id}/versions/{version}"},
	Row{ID: Assign, Role: account.Admin, Method: http.MethodPost, Pattern: "/api/v1/plugins/{id}/assignments", MaxBody: small},
	Row{ID: Unassign, Role: account.Admin, Method: http.MethodDelete, Pattern: "/api/v1/plugins/{id}/assignments", MaxBody: small},
	Row{ID: RolloutList, Role: account.Viewer, Method: http.MethodGet, Pattern: "/api/v1/rollouts"},
	Row{ID: RolloutCommand, Role: account.Operator, Method: http.MethodPost, Pattern: "/api/v1/plugins/{id}/rollout", MaxBody: small},
	Row{ID: PublisherTrust, Role: account.Admin, Method: http.MethodPost, Pattern: "/api/v1/publishers", MaxBody: small},
	Row{ID: PublisherList, Role: account.Viewer, Method: http.MethodGet, Pattern: "/api/v1/publishers"},
	Row{ID: SecretList, Role: account.Viewer, Method: http.MethodGet, Pattern: "/api/v1/secrets"},
	Row{ID: SecretSet, Role: account.Admin, Method: http.MethodPut, Pattern: "/api/v1/secrets/{id}", MaxBody: 4 * small},
	Row{ID: SecretDelete, Role: account.Admin, Method: http.MethodDelete, Pattern: "/api/v1/secrets/{id}"},
	Row{ID: SecretsRotate, Role: account.Admin, Allow: []Kind{LocalOperator}, Method: http.MethodPost, Pattern: "/api/v1/secrets/rotate"}, // of all organisations
	Row{ID: PublisherDistrust, Role: account.Admin, Method: http.MethodDelete, Pattern: "/api/v1/publishers", MaxBody: small},
	Row{ID: UserList, Role: account.Admin, Method: http.MethodGet, Pattern: "/api/v1/users"},
	Row{ID: UserAdd, Role: account.Admin, Method: http.MethodPost, Pattern: "/api/v1/users", MaxBody: small},
	Row{ID: UserChange, Role: account.Admin, Method: http.MethodPut, Pattern: "/api/v1/users/{id}", MaxBody: small},
	Row{ID: UserRemove, Role: account.Admin, Method: http.MethodDelete, Pattern: "/api/v1/users/{id}"},
	Row{ID: UserInvite, Role: account.Admin, Method: http.MethodPost, Pattern: "/api/v1/users/{id}/invitation"},
	Row{ID: APITokenCreate, Role: account.Viewer, Method: http.MethodPost, Pattern: "/api/v1/api-tokens", MaxBody: small},
	Row{ID: APITokenList, Role: account.Viewer, Method: http.MethodGet, Pattern: "/api/v1/api-tokens"},
	Row{ID: APITokenRevoke, Role: account.Viewer, Method: http.MethodDelete, Pattern: "/api/v1/api-tokens/{id}"},
	Row{ID: SessionShow, Role: account.Viewer, Method: http.MethodGet, Pattern: "/api/v1/session"},
), webRows(
	Row{ID: SessionBegin, Method: http.MethodPost, Pattern: "/api/v1/session", Allow: anybody, MaxBody: small, InFlight: few},
	Row{ID: SessionAccept, Method: http.MethodPost, Pattern: "/api/v1/session/accept", Allow: anybody, MaxBody: small, InFlight: few},
	Row{ID: SessionEnd, Method: http.MethodDelete, Pattern: "/api/v1/session", Allow: anybody},
	Row{ID: WebhookTake, Method: http.MethodPost, Pattern: "/api/v1/webhooks/{organization}/{path}", Allow: nobodyYet, MaxBody: 2 * small, InFlight: few},
	Row{ID: SessionPassword, Method: http.MethodPost, Pattern: "/api/v1/session/password", Allow: browser, Role: account.Viewer, MaxBody: small, InFlight: few},
), pages)

// late is a row for agents whose certificate has ended.
func late(r Row) Row {
	r.Late = true
	return r
}

// holding is a row whose requests wait.
func holding(r Row) Row {
	r.Holds = true
	return r
}

// ofAgents is a row of the agents' listener.
func ofAgents(id ID, method, pattern string, allow []Kind, body, expanded int64, inFlight int) Row {
	return Row{ID: id, Listener: Agents, Method: method, Pattern: pattern, Allow: allow, MaxBody: body, MaxExpanded: expanded, InFlight: inFlight}
}

// operatorRows completes rows with what all routes of operators share.
func operatorRows(rows ...Row) []Row { return completed(Operator, operator, rows) }

// webRows completes those that only the web has.
func webRows(rows ...Row) []Row { return completed(Web, browser, rows) }

func completed(l Listener, allow []Kind, rows []Row) []Row {
	for i := range rows {
		rows[i].Listener = l
		if rows[i].Allow == nil {
			rows[i].Allow = allow
		}
		if rows[i].InFlight == 0 {
			rows[i].InFlight = perOperator
		}
	}
	return rows
}
