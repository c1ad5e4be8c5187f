package operatorapi

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// OpenAPI is the OpenAPI 3.1 document of this API, in JSON. It is made of the table of
// routes, of operations and of the Go types: `go test -run OpenAPI -update`. Do not change it.
//
//go:embed openapi.json
var OpenAPI json.RawMessage

// operation says of a route what its row does not: what people call it, what it takes and
// what it gives. Each route of operators has one, or the server does not start.
type operation struct {
	tag    string
	about  string // a sentence without its full stop
	query  []parameter
	oneOf  map[string][]string // of parameters that take these values alone
	header []parameter
	takes  any  // the zero value of the body; nil: none
	gives  any  // the zero value of the answer; nil: 204 without a body
	stream bool // gives is what one line of the stream has
}

// parameter is one of the query. All but org may be left out.
type parameter struct {
	name  string
	kind  string // of JSON Schema
	about string
}

// Parameters that several routes have.
var (
	paramOrg    = parameter{"org", "string", "the organisation; by default \"" + string(route.DefaultOrg) + "\", and for a user the only one"}
	paramLimit  = parameter{"limit", "integer", fmt.Sprintf("at most so many, 1 to %d; by default %d", maxLimit, defaultLimit)}
	paramType   = parameter{"type", "string", "only events of this type"}
	paramAgent  = parameter{"agent", "string", "only events of the agent of this id"}
	paramCursor = parameter{"cursor", "string", "the page after the one whose header Link has this"}
	paramPlace  = parameter{"cursor", "integer", "go on after the item of this id; the header Last-Event-ID says the same"}
	paramSince  = parameter{"since", "string", "none from before this time"}
	paramUntil  = parameter{"until", "string", "none from this time on"}
	paramEvery  = parameter{"limit", "integer", fmt.Sprintf("at most so many, 1 to %d; by default all", maxLimit)}
	paramFollow = parameter{"follow", "boolean", "true: go on until the run ends"}
)

var operations = map[route.ID]operation{
	route.Health:      {tag: "server", about: "Tell what the server is and how it is", gives: Health{}},
	route.APIDocument: {tag: "server", about: "This document", gives: json.RawMessage(nil)},
	route.Doctor:      {tag: "server", about: "Check certificates, clock, disk, database and agents, and say what to do", gives: []Check{}},
	route.Profile: {tag: "server", about: "Take a profile of the server for `go tool pprof`, or a trace for `go tool trace`", query: []parameter{
		{"seconds", "integer", fmt.Sprintf("how long cpu, mutex and block are looked at, 1 to %d, by default %d; trace 1 to %d, by default %d", maxProfile, defaultProfile, maxTrace, defaultTrace)},
	}, gives: download{}},
	route.CAShow:      {tag: "server", about: "Show the certificate authorities and how far their rotation is", gives: Authorities{}},
	route.CARotate:    {tag: "server", about: "Take the next step of replacing the certificate authority", takes: RotateCARequest{}, gives: Authorities{}},
	route.TokenCreate: {tag: "agents", about: "Make an enrolment token", takes: TokenRequest{}, gives: NewToken{}},
	route.TokenList:   {tag: "agents", about: "List the enrolment tokens that were made, newest first", gives: []Token{}},
	route.AgentList: {tag: "agents", about: "List agents by id", query: []parameter{
		paramEvery, paramCursor, {"type", "string", "only agents of this type"}, {"status", "string", "only agents of this status"},
		{"tag", "string", "only agents that have this tag"}, {"plugin", "string", "only agents that have this plugin"},
	}, oneOf: map[string][]string{"type": AgentTypes(), "status": AgentStatuses()}, gives: []Agent{}},
	route.AgentShow:    {tag: "agents", about: "Show one agent", gives: Agent{}},
	route.AgentRevoke:  {tag: "agents", about: "Refuse an agent from now on", takes: RevokeRequest{}},
	route.AgentApprove: {tag: "agents", about: "Let an agent in again that renewed a certificate which had ended, and waits in quarantine", takes: ApproveRequest{}},
	route.WorkflowApply: {tag: "workflows", about: "Check a workflow, run the tests that it brings and put it into effect", header: []parameter{
		{"If-Match", "string", "apply only over one of these versions: entity tags as the workflow's own route has them, or *"},
		{"If-None-Match", "string", "*: apply only where no version is in effect"},
	}, takes: ApplyRequest{}, gives: Applied{}},
	route.WorkflowList:     {tag: "workflows", about: "List the workflows in effect by name, without their texts", query: []parameter{paramEvery, paramCursor}, gives: []Workflow{}},
	route.WorkflowShow:     {tag: "workflows", about: "Show a workflow as it is in effect", gives: Workflow{}},
	route.WorkflowDelete:   {tag: "workflows", about: "Let a workflow start no more runs"},
	route.WorkflowVersions: {tag: "workflows", about: "List the versions of a workflow with their texts, newest first", query: []parameter{paramLimit}, gives: []Workflow{}},
	route.WorkflowShadow: {tag: "workflows", about: "Tell what a workflow in mode shadow would have done", query: []parameter{
		{"since", "string", "from this time on; by default of the last seven days"},
	}, gives: workflow.ShadowReport{}},
	route.WorkflowRollback: {tag: "workflows", about: "Put an earlier version into effect again, as a new one", takes: RollbackRequest{}, gives: Applied{}},
	route.WorkflowRun:      {tag: "workflows", about: "Start a run by hand, if what decides on events lets it", takes: StartRequest{}, gives: Evaluation{}},
	route.RunList: {tag: "runs", about: "List runs, newest first", query: []parameter{
		paramLimit, paramCursor, paramSince, paramUntil, {"workflow", "string", "only runs of the workflow of this name"}, {"status", "string", "only runs of this status"},
		{"event", "string", "only runs that events of this id started"},
	}, oneOf: map[string][]string{"status": RunStatuses()}, gives: []Run{}},
	route.RunShow:   {tag: "runs", about: "Show a run: its steps, their results and its history", gives: RunDetail{}},
	route.RunLogs:   {tag: "runs", about: "Stream what the plugins of a run wrote", query: []parameter{paramPlace, paramFollow}, gives: Log{}, stream: true},
	route.RunFollow: {tag: "runs", about: "Stream the history of a run until it ends", query: []parameter{paramPlace}, gives: History{}, stream: true},
	route.RunRetry:  {tag: "runs", about: "Run the workflow in effect again for what a run that has ended was for", gives: Run{}},
	route.RunCancel: {tag: "runs", about: "Cancel a run", gives: Run{}},
	route.EventList: {tag: "events", about: "List events, newest first", query: []parameter{
		paramLimit, paramCursor, paramSince, paramType, paramAgent, {"severity", "string", "only events of this severity"},
	}, oneOf: map[string][]string{"severity": Severities()}, gives: []Event{}},
	route.EventFollow:  {tag: "events", about: "Stream events as they are stored", query: []parameter{paramPlace, paramType, paramAgent, {"tail", "integer", "begin with the last so many"}}, gives: Event{}, stream: true},
	route.EventExplain: {tag: "events", about: "Say what became of an event, clause by clause; one for each agent that gave an event this id", gives: []Explanation{}},
	route.EventReplay:  {tag: "events", about: "Say what a workflow would make of an event; nothing is executed", takes: ReplayRequest{}, gives: Evaluation{}},
	route.AuditList: {tag: "audit", about: "List what is on record, oldest first unless newest is asked for", query: []parameter{
		paramLimit, paramCursor, paramSince, {"after", "integer", "only records with a higher number"},
		{"newest", "boolean", "true: the newest first"}, {"actor", "string", "only what this one did"}, {"action", "string", "only this action"}, {"object", "string", "only what was done to this"},
	}, gives: []Audit{}},
	route.ApprovalList:  {tag: "approvals", about: "List the steps that wait for people", gives: []Approval{}},
	route.ApprovalJudge: {tag: "approvals", about: "Approve or deny what a step would do, by the digest of what was shown", takes: JudgeRequest{}, gives: Run{}},
}

var pluginOperations = map[route.ID]operation{
	route.PackagePublish:    {tag: "plugins", about: "Publish the package that is the body", takes: upload{}, gives: Published{}},
	route.PackageList:       {tag: "plugins", about: "List the packages that are published, by id", gives: []Package{}},
	route.PackageShow:       {tag: "plugins", about: "Show a plugin: its versions and whom it is assigned to", gives: Plugin{}},
	route.PackageApprove:    {tag: "plugins", about: "Approve what a version asks to reach", gives: PackageDetail{}},
	route.PackageRemove:     {tag: "plugins", about: "Remove a version that is assigned to nobody"},
	route.Assign:            {tag: "plugins", about: "Assign a plugin to agents", takes: AssignRequest{}, gives: Assigned{}},
	route.Unassign:          {tag: "plugins", about: "End an assignment", takes: UnassignRequest{}},
	route.RolloutList:       {tag: "plugins", about: "List the assignments and how far their agents are", query: []parameter{{"plugin", "string", "only those of the plugin of this id"}}, gives: []Rollout{}},
	route.RolloutCommand:    {tag: "plugins", about: "Tell a roll-out what to do", takes: RolloutRequest{}, gives: Rollout{}},
	route.PublisherTrust:    {tag: "plugins", about: "Trust keys that sign packages", takes: TrustRequest{}, gives: []Publisher{}},
	route.PublisherList:     {tag: "plugins", about: "List the keys that are trusted", gives: []Publisher{}},
	route.PublisherDistrust: {tag: "plugins", about: "Trust a key no more", takes: DistrustRequest{}},
}

var accountOperations = map[route.ID]operation{
	route.SessionShow:    {tag: "access", about: "Say who calls", gives: Session{}},
	route.UserList:       {tag: "access", about: "List the users of the organisation by name", gives: []User{}},
	route.UserAdd:        {tag: "access", about: "Add a user, who has no password yet", takes: UserRequest{}, gives: User{}},
	route.UserChange:     {tag: "access", about: "Give a user another role, other groups, or take the user out of use", takes: UserRequest{}, gives: User{}},
	route.UserRemove:     {tag: "access", about: "Remove a user with all sessions and tokens"},
	route.UserInvite:     {tag: "access", about: "Make a one-time link with which a user chooses a password", gives: Invitation{}},
	route.APITokenCreate: {tag: "access", about: "Make an API token, which is shown only now", takes: APITokenRequest{}, gives: NewAPIToken{}},
	route.APITokenList:   {tag: "access", about: "List one's API tokens, or for an admin those of all, newest first", gives: []APIToken{}},
	route.APITokenRevoke: {tag: "access", about: "End an API token"},

	route.SessionBegin:    {tag: "access", about: "Log in: begin a session, whose cookie is in the answer's header", takes: LoginRequest{}, gives: Session{}},
	route.SessionAccept:   {tag: "access", about: "Choose a password with a one-time link, and log in", takes: AcceptRequest{}, gives: Session{}},
	route.SessionEnd:      {tag: "access", about: "Log out: end the session"},
	route.SessionPassword: {tag: "access", about: "Choose another password; all other sessions end", takes: PasswordRequest{}, gives: Session{}},
}

// upload stands for a body that is a package as it is, not JSON.
type upload struct{}

// download stands for an answer that is a file as it is, not JSON.
type download struct{}

// AgentTypes, AgentStatuses, RunStatuses and Severities are the values by which lists are filtered.
func AgentTypes() []string { return []string{string(api.Sensor), string(api.Action)} }

// AgentStatuses are those that [Agent] has.
func AgentStatuses() []string {
	return []string{engine.StatusOnline, engine.StatusDraining, engine.StatusOffline, engine.StatusLost, engine.StatusQuarantined, engine.StatusRevoked}
}

// RunStatuses are those that [Run] has.
func RunStatuses() (out []string) {
	for _, s := range []workflow.Status{workflow.Queued, workflow.Running, workflow.Completed, workflow.Failed, workflow.Cancelled, workflow.Escalated} {
		out = append(out, string(s))
	}
	return out
}

// Severities are those of events, lowest first.
func Severities() (out []string) {
	for _, s := range []api.Severity{api.Low, api.Medium, api.High, api.Critical} {
		out = append(out, string(s))
	}
	return out
}

// described refuses query parameters that a route does not have and values that they do not
// take, and fails for a route that
// has no operation.
func described(handlers map[route.ID]route.Handler) (map[route.ID]route.Handler, error) {
	out := map[route.ID]route.Handler{}
	for id, handle := range handlers {
		op, ok := operationOf(id)
		if !ok {
			return nil, fmt.Errorf("route %s: no operation says what it takes and gives; add one to operations.go", id)
		}
		known := []string{paramOrg.name}
		for _, p := range op.query {
			known = append(known, p.name)
		}
		out[id] = func(ctx context.Context, c *route.Call) (any, error) {
			for _, name := range slices.Sorted(maps.Keys(c.Query)) {
				if !slices.Contains(known, name) {
					return nil, api.Errorf(api.CodeInvalid, "Query parameter %.40q is not one of this route; it has: %s.", name, strings.Join(known, ", "))
				}
				if values, value := op.oneOf[name], c.Query.Get(name); values != nil && value != "" && !slices.Contains(values, value) {
					return nil, api.Errorf(api.CodeInvalid, "Query parameter %s=%.40q: must be one of %s.", name, value, strings.Join(values, ", "))
				}
			}
			return handle(ctx, c)
		}
	}
	return out, nil
}

func operationOf(id route.ID) (operation, bool) {
	for _, table := range []map[route.ID]operation{operations, pluginOperations, accountOperations, secretOperations, webhookOperations} {
		if op, ok := table[id]; ok {
			return op, true
		}
	}
	return operation{}, false
}
