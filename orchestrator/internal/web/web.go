package web

import (
	"cmp"
	"context"
	"errors"
	"net/http"

	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/openid"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// Options of the dashboard.
type Options struct {
	Accounts      *account.Accounts
	BaseURL       string           // where agents connect
	CAFingerprint string           // by which agents know the server when they enrol
	WebURL        string           // where people connect
	OpenID        *openid.Provider // that vouches for users; nil: none
}

// Site is the dashboard. Make it with [New].
type Site struct {
	engine *engine.Engine
	opts   Options
	views  views
	assets assets
}

// New reads the embedded templates and files; an error is a mistake in one of them.
func New(e *engine.Engine, o Options) (*Site, error) {
	files, err := readAssets()
	if err != nil {
		return nil, err
	}
	pages, err := parseViews(files)
	if err != nil {
		return nil, err
	}
	return &Site{engine: e, opts: o, views: pages, assets: files}, nil
}

// Handlers are those of all pages and buttons.
func (s *Site) Handlers() map[route.ID]route.Handler {
	return map[route.ID]route.Handler{
		route.WebAsset:          s.asset,
		route.WebLogin:          s.login,
		route.WebLoginDo:        s.loginDo,
		route.WebLogout:         s.logout,
		route.OpenIDBegin:       s.openIDBegin,
		route.OpenIDBack:        s.openIDBack,
		route.WebWelcome:        s.welcome,
		route.WebWelcomeDo:      s.welcomeDo,
		route.WebAccess:         s.page(s.access, nil),
		route.WebAccessDo:       s.accessDo,
		route.WebOverview:       s.page(s.overview, s.engine.RunsChanged),
		route.WebAgents:         s.page(s.agents, s.engine.RunsChanged),
		route.WebAgent:          s.page(s.agent, s.engine.RunsChanged),
		route.WebAgentRevoke:    s.button(s.agentRevoke),
		route.WebAgentApprove:   s.button(s.agentApprove),
		route.WebEvents:         s.page(s.events, s.engine.EventsChanged),
		route.WebEvent:          s.page(s.event, s.engine.RunsChanged),
		route.WebWorkflows:      s.page(s.workflows, s.engine.RunsChanged),
		route.WebWorkflow:       s.page(s.workflow, s.engine.RunsChanged),
		route.WebWorkflowRun:    s.button(s.workflowRun),
		route.WebWorkflowBack:   s.button(s.workflowRollback),
		route.WebWorkflowDelete: s.button(s.workflowDelete),
		route.WebHistory:        s.page(s.history, nil),
		route.WebEdit:           s.page(s.edit, nil),
		route.WebApply:          s.button(s.apply),
		route.WebCheck:          s.check,
		route.WebRuns:           s.page(s.runs, s.engine.RunsChanged),
		route.WebRun:            s.page(s.run, s.engine.RunsChanged),
		route.WebRunLog:         s.page(s.runLog, s.engine.RunsChanged),
		route.WebRunCancel:      s.button(s.runCancel),
		route.WebRunRetry:       s.button(s.runRetry),
		route.WebApprovals:      s.page(s.approvals, s.engine.RunsChanged),
		route.WebJudge:          s.button(s.judge),
		route.WebPlugins:        s.page(s.plugins, s.engine.RunsChanged),
		route.WebPluginPublish:  s.pluginPublish,
		route.WebPlugin:         s.page(s.plugin, s.engine.RunsChanged),
		route.WebPluginDo:       s.button(s.pluginDo),
		route.WebSecrets:        s.page(s.secrets, nil),
		route.WebSecretsDo:      s.button(s.secretsDo),
		route.WebAudit:          s.page(s.audit, nil),
		route.WebAuditExport:    s.auditExport,
	}
}

// button is what a form does: it says where the browser goes on, or what was refused, which
// the page tells that the form was on.
func (s *Site) button(do func(context.Context, *route.Call, form) (to string, err error)) route.Handler {
	return func(ctx context.Context, c *route.Call) (any, error) {
		f, err := readForm(c)
		if err != nil {
			return s.refused(ctx, c, err)
		}
		to, err := do(ctx, c, f)
		var shown *shownAgain
		if errors.As(err, &shown) {
			return s.whole(ctx, c, shown.view, http.StatusUnprocessableEntity)
		}
		if err != nil {
			return s.refused(ctx, c, err)
		}
		return redirect(to), nil
	}
}

// shownAgain is a form that was refused, as it is shown again with what is wrong.
type shownAgain struct{ view view }

func (*shownAgain) Error() string { return "the form is shown again" }

// refused is the page that tells what could not be done, and why.
func (s *Site) refused(ctx context.Context, c *route.Call, err error) (any, error) {
	if errors.Is(err, store.ErrNotFound) {
		err = api.Errorf(api.CodeNotFound, "There is nothing of this name here; it may have been removed.")
	}
	var known *api.Error
	if !errors.As(err, &known) || known.Status() >= http.StatusInternalServerError {
		return nil, err // for the log; the listener shows the page
	}
	return s.whole(ctx, c, refusal(known), known.Status())
}

type refusalPage struct {
	frame
	Status  int
	Message string
}

func (*refusalPage) template() string { return "refusal.html" }

func refusal(e *api.Error) *refusalPage {
	title := map[int]string{
		http.StatusForbidden: "You may not do this", http.StatusNotFound: "Not found", http.StatusConflict: "It is not as you saw it",
		http.StatusTooManyRequests: "Too many requests", http.StatusInternalServerError: "This server could not do it",
	}[e.Status()]
	return &refusalPage{frame: frame{Title: cmp.Or(title, "This cannot be done")}, Status: e.Status(), Message: e.Message}
}
