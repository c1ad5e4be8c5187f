package operatorapi

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/ca"
	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// Pages of lists.
const (
	defaultLimit = 50
	maxLimit     = 500
)

// Server is what operators are told about the server itself.
type Server struct {
	BaseURL  string // where agents connect
	WebURL   string // where people connect; empty: nowhere
	DataDir  string
	CA       *ca.Authority
	Accounts *account.Accounts
}

// Handlers returns the handlers of the operators' routes, which the socket and the web share,
// and those that only the web has.
func Handlers(e *engine.Engine, s Server) (shared, web map[route.ID]route.Handler, err error) {
	o := operators{e, s}
	handlers := map[route.ID]route.Handler{
		route.Health:           o.health,
		route.APIDocument:      o.apiDocument,
		route.Doctor:           o.doctor,
		route.Profile:          o.profile,
		route.CAShow:           o.caShow,
		route.CARotate:         o.caRotate,
		route.TokenCreate:      o.tokenCreate,
		route.TokenList:        o.tokenList,
		route.AgentList:        o.agentList,
		route.AgentShow:        o.agentShow,
		route.AgentRevoke:      o.agentRevoke,
		route.AgentApprove:     o.agentApprove,
		route.WorkflowApply:    o.workflowApply,
		route.WorkflowList:     o.workflowList,
		route.WorkflowShow:     o.workflowShow,
		route.WorkflowDelete:   o.workflowDelete,
		route.WorkflowVersions: o.workflowVersions,
		route.WorkflowShadow:   o.workflowShadow,
		route.WorkflowRollback: o.workflowRollback,
		route.WorkflowRun:      o.workflowRun,
		route.RunList:          o.runList,
		route.RunShow:          o.runShow,
		route.RunLogs:          o.runLogs,
		route.RunFollow:        o.runFollow,
		route.RunCancel:        o.runCancel,
		route.RunRetry:         o.runRetry,
		route.EventList:        o.eventList,
		route.EventFollow:      o.eventFollow,
		route.EventExplain:     o.eventExplain,
		route.EventReplay:      o.eventReplay,
		route.AuditList:        o.auditList,
		route.ApprovalList:     o.approvalList,
		route.ApprovalJudge:    o.approvalJudge,
	}
	maps.Copy(handlers, o.plugins())
	maps.Copy(handlers, o.accountHandlers())
	maps.Copy(handlers, o.secrets())
	if shared, err = described(handlers); err != nil {
		return nil, nil, err
	}
	web, err = described(o.sessionHandlers())
	return shared, web, err
}

// operators are the handlers.
type operators struct {
	engine *engine.Engine
	server Server
}

// org is the organisation that a request is about.
func org(c *route.Call) (api.OrgID, error) { return c.Organisation() }

// whole reads a query parameter that is a whole number from least to most.
func whole(c *route.Call, name string, absent, least, most int64) (int64, error) {
	text := c.Query.Get(name)
	if text == "" {
		return absent, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most {
		return 0, api.Errorf(api.CodeInvalid, "Query parameter %s=%.40q: must be a whole number from %d to %d.", name, text, least, most)
	}
	return n, nil
}

// read runs f over one view of the organisation that the request is about. That
// something is not there is told as a 404 about the id in the path.
func (o operators) read(ctx context.Context, c *route.Call, f func(store.Reader) error) error {
	id, err := org(c)
	if err != nil {
		return err
	}
	return missing(c, o.engine.View(ctx, id, f))
}

func missing(c *route.Call, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return api.Errorf(api.CodeNotFound, "There is no %.80q here; the list command shows what there is.", c.PathValue("id"))
	}
	return err
}

// list reads records and converts each to what operators see.
func list[Record, View any](ctx context.Context, o operators, c *route.Call, read func(store.Reader) ([]Record, error), view func(Record) View) (any, error) {
	views := []View{}
	err := o.read(ctx, c, func(r store.Reader) error {
		records, err := read(r)
		for _, record := range records {
			views = append(views, view(record))
		}
		return err
	})
	return views, err
}

func (o operators) health(context.Context, *route.Call) (any, error) {
	h := Health{
		Status: "ok", Version: api.Version, ServerTime: api.At(time.Now()), BaseURL: o.server.BaseURL, WebURL: o.server.WebURL,
		TrustDomain: o.server.CA.TrustDomain(), CAFingerprint: o.server.CA.Fingerprint(), CANotAfter: api.At(o.server.CA.NotAfter()),
	}
	if condition, full := o.engine.Full(); full {
		h.Status, h.Conditions = condition.Status, []api.Condition{condition}
	}
	return h, nil
}

func (o operators) apiDocument(context.Context, *route.Call) (any, error) { return OpenAPI, nil }

func (o operators) tokenCreate(ctx context.Context, c *route.Call) (any, error) {
	var r TokenRequest
	if err := c.Decode(&r); err != nil {
		return nil, err
	}
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	spec := engine.TokenSpec{Type: r.AgentType, Agent: r.AgentID, TTL: time.Duration(r.TTLSeconds) * time.Second, Note: r.Note}
	if r.JWT {
		token, err := o.engine.CreateJWT(ctx, id, spec)
		if err != nil {
			return nil, err
		}
		return NewToken{
			Token: token.Text, AgentType: r.AgentType, AgentID: r.AgentID, ExpiresAt: api.At(token.NotAfter),
			BaseURL: o.server.BaseURL, CAFingerprint: o.server.CA.Fingerprint(), CAPEM: o.server.CA.PEM(),
		}, nil
	}
	token, record, err := o.engine.CreateToken(ctx, id, spec)
	if err != nil {
		return nil, err
	}
	return NewToken{
		Token: token, AgentType: r.AgentType, AgentID: r.AgentID, ExpiresAt: api.At(record.ExpiresAt),
		BaseURL: o.server.BaseURL, CAFingerprint: o.server.CA.Fingerprint(),
	}, nil
}

func (o operators) tokenList(ctx context.Context, c *route.Call) (any, error) {
	return list(ctx, o, c, store.Reader.Tokens, viewToken)
}

// agentList lists agents by id, all of them unless pages are asked for.
func (o operators) agentList(ctx context.Context, c *route.Call) (any, error) {
	typ, status, tag, plugin := api.AgentType(c.Query.Get("type")), c.Query.Get("status"), c.Query.Get("tag"), api.PluginID(c.Query.Get("plugin"))
	key := func(a store.Agent) string { return string(a.ID) }
	return pager[store.Agent, Agent]{
		read: window(store.Reader.Agents, key), key: key, view: viewAgent,
		keep: func(a Agent) bool {
			return (typ == "" || a.Type == typ) && (status == "" || a.Status == status) && (tag == "" || slices.Contains(a.Tags, tag)) &&
				(plugin == "" || slices.ContainsFunc(a.Plugins, func(p api.PluginInfo) bool { return p.ID == plugin }))
		},
	}.page(ctx, o, c, everything)
}

func (o operators) agentShow(ctx context.Context, c *route.Call) (any, error) {
	var view Agent
	err := o.read(ctx, c, func(r store.Reader) error {
		a, err := r.Agent(api.AgentID(c.PathValue("id")))
		if err != nil {
			return err
		}
		view = viewAgent(a)
		gaps, err := r.NewestGaps(a.ID, store.GapsShown+1)
		view.MoreGaps = len(gaps) > store.GapsShown
		for _, g := range gaps[:min(len(gaps), store.GapsShown)] {
			view.Gaps = append(view.Gaps, Gap{g.Gap, api.At(g.ReceivedAt)})
		}
		return err
	})
	return view, err
}

func (o operators) agentRevoke(ctx context.Context, c *route.Call) (any, error) {
	var r RevokeRequest
	if err := c.Decode(&r); err != nil {
		return nil, err
	}
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	return nil, missing(c, o.engine.Revoke(ctx, id, api.AgentID(c.PathValue("id")), r.Reason))
}

func (o operators) agentApprove(ctx context.Context, c *route.Call) (any, error) {
	var r ApproveRequest
	if err := c.Decode(&r); err != nil {
		return nil, err
	}
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	return nil, missing(c, o.engine.LetIn(ctx, id, api.AgentID(c.PathValue("id")), r.Serial))
}

func (o operators) workflowApply(ctx context.Context, c *route.Call) (any, error) {
	var r ApplyRequest
	if err := c.Decode(&r); err != nil {
		return nil, err
	}
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	warnings, err := o.engine.Check(ctx, id, r.File, []byte(r.Text), r.AllowMissing)
	if err != nil {
		return nil, err
	}
	w, changed, err := o.engine.ApplyIf(ctx, id, r.File, []byte(r.Text), func(version int) error { return precondition(c, version) })
	return Applied{Name: w.Name, Version: w.Version, Changed: changed, Warnings: warnings}, err
}

// tagOf names a version of a workflow: applied texts never change.
func tagOf(version int) string { return "v" + strconv.Itoa(version) }

// precondition is what the caller thinks of the version in effect, 0 for none: that it is one of
// those that If-Match names, or that there is none (If-None-Match: *).
func precondition(c *route.Call, version int) error {
	match, none := c.Header("If-Match"), c.Header("If-None-Match")
	if (match == "" || version > 0 && route.Matches(match, tagOf(version))) && (none == "" || version == 0) {
		return nil
	}
	e := api.Errorf(api.CodeConflict, "There is no version of this workflow in effect, and you want to replace one.")
	if version > 0 {
		e = api.Errorf(api.CodeConflict, "Version %d of this workflow is in effect, which is not what you want to replace; look at it (`stavily workflows diff`) and apply over it.", version)
	}
	e.HTTPStatus = http.StatusPreconditionFailed
	return e
}

// workflowList lists workflows by name, all of them unless pages are asked for.
func (o operators) workflowList(ctx context.Context, c *route.Call) (any, error) {
	key := func(w store.Workflow) string { return w.Name }
	return pager[store.Workflow, Workflow]{
		read: window(store.Reader.Workflows, key), key: key,
		view: func(w store.Workflow) Workflow {
			w.Text = ""
			return viewWorkflow(w)
		},
	}.page(ctx, o, c, everything)
}

func (o operators) workflowShow(ctx context.Context, c *route.Call) (any, error) {
	var w store.Workflow
	err := o.read(ctx, c, func(r store.Reader) (err error) {
		w, err = r.Workflow(c.PathValue("id"))
		return err
	})
	return route.Answer{Value: viewWorkflow(w), Tag: tagOf(w.Version)}, err
}

// workflowVersions lists the versions of a workflow with their texts, the newest first.
func (o operators) workflowVersions(ctx context.Context, c *route.Call) (any, error) {
	limit, err := whole(c, "limit", defaultLimit, 1, maxLimit)
	if err != nil {
		return nil, err
	}
	return list(ctx, o, c, func(r store.Reader) ([]store.Workflow, error) {
		versions, err := r.WorkflowVersions(c.PathValue("id"), int(limit))
		if err == nil && len(versions) == 0 {
			err = store.ErrNotFound
		}
		return versions, err
	}, viewWorkflow)
}

func (o operators) workflowRollback(ctx context.Context, c *route.Call) (any, error) {
	var r RollbackRequest
	if err := c.Decode(&r); err != nil {
		return nil, err
	}
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	w, changed, err := o.engine.Rollback(ctx, id, c.PathValue("id"), r.Version)
	if errors.Is(err, store.ErrNotFound) {
		return nil, api.Errorf(api.CodeNotFound, "Workflow %.80q has no such version; stavily workflows history shows those there are.", c.PathValue("id"))
	}
	return Applied{Name: w.Name, Version: w.Version, Changed: changed}, err
}

func (o operators) workflowDelete(ctx context.Context, c *route.Call) (any, error) {
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	return nil, missing(c, o.engine.Delete(ctx, id, c.PathValue("id")))
}
