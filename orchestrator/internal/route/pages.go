package route

import (
	"net/http"

	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/shared/pkg/api"
)

// The pages of the dashboard and their buttons.
var (
	WebAsset          = ID{"web_asset"}
	WebLogin          = ID{"web_login"}
	WebLoginDo        = ID{"web_login_do"}
	WebLogout         = ID{"web_logout"}
	OpenIDBegin       = ID{"openid_begin"}
	OpenIDBack        = ID{"openid_back"}
	WebWelcome        = ID{"web_welcome"}
	WebWelcomeDo      = ID{"web_welcome_do"}
	WebOverview       = ID{"web_overview"}
	WebAgents         = ID{"web_agents"}
	WebAgent          = ID{"web_agent"}
	WebAgentRevoke    = ID{"web_agent_revoke"}
	WebAgentApprove   = ID{"web_agent_approve"}
	WebEvents         = ID{"web_events"}
	WebEvent          = ID{"web_event"}
	WebWorkflows      = ID{"web_workflows"}
	WebWorkflow       = ID{"web_workflow"}
	WebWorkflowRun    = ID{"web_workflow_run"}
	WebWorkflowBack   = ID{"web_workflow_rollback"}
	WebWorkflowDelete = ID{"web_workflow_delete"}
	WebHistory        = ID{"web_history"}
	WebEdit           = ID{"web_edit"}
	WebApply          = ID{"web_apply"}
	WebCheck          = ID{"web_check"}
	WebRuns           = ID{"web_runs"}
	WebRun            = ID{"web_run"}
	WebRunLog         = ID{"web_run_log"}
	WebRunCancel      = ID{"web_run_cancel"}
	WebRunRetry       = ID{"web_run_retry"}
	WebApprovals      = ID{"web_approvals"}
	WebJudge          = ID{"web_judge"}
	WebPlugins        = ID{"web_plugins"}
	WebPluginPublish  = ID{"web_plugin_publish"}
	WebPlugin         = ID{"web_plugin"}
	WebPluginDo       = ID{"web_plugin_do"}
	WebSecrets        = ID{"web_secrets"}
	WebSecretsDo      = ID{"web_secrets_do"}
	WebAudit          = ID{"web_audit"}
	WebAuditExport    = ID{"web_audit_export"}
	WebAccess         = ID{"web_access"}
	WebAccessDo       = ID{"web_access_do"}
)

// pages need the same roles as the routes of the API that show and do the same.
var pages = pageRows(
	Row{ID: WebAsset, Method: http.MethodGet, Pattern: "/assets/{name}", Allow: anybody},
	Row{ID: WebLogin, Method: http.MethodGet, Pattern: "/login", Allow: anybody},
	Row{ID: WebLoginDo, Method: http.MethodPost, Pattern: "/login", Allow: anybody, MaxBody: small, InFlight: few},
	Row{ID: OpenIDBegin, Method: http.MethodGet, Pattern: "/oidc/login", Allow: anybody, InFlight: few},
	Row{ID: OpenIDBack, Method: http.MethodGet, Pattern: "/oidc/callback", Allow: anybody, InFlight: few},
	Row{ID: WebLogout, Method: http.MethodPost, Pattern: "/logout", Allow: anybody, MaxBody: small},
	Row{ID: WebWelcome, Method: http.MethodGet, Pattern: "/welcome", Allow: anybody, InFlight: few},
	Row{ID: WebWelcomeDo, Method: http.MethodPost, Pattern: "/welcome", Allow: anybody, MaxBody: small, InFlight: few},
	Row{ID: WebOverview, Role: account.Viewer, Method: http.MethodGet, Pattern: "/{$}"},
	Row{ID: WebAgents, Role: account.Viewer, Method: http.MethodGet, Pattern: "/agents"},
	Row{ID: WebAgent, Role: account.Viewer, Method: http.MethodGet, Pattern: "/agents/{id}"},
	Row{ID: WebAgentRevoke, Role: account.Admin, Method: http.MethodPost, Pattern: "/agents/{id}/revoke", MaxBody: small},
	Row{ID: WebAgentApprove, Role: account.Admin, Method: http.MethodPost, Pattern: "/agents/{id}/approve", MaxBody: small},
	Row{ID: WebEvents, Role: account.Viewer, Method: http.MethodGet, Pattern: "/events"},
	Row{ID: WebEvent, Role: account.Viewer, Method: http.MethodGet, Pattern: "/events/{id}"},
	Row{ID: WebWorkflows, Role: account.Viewer, Method: http.MethodGet, Pattern: "/workflows"},
	Row{ID: WebWorkflow, Role: account.Viewer, Method: http.MethodGet, Pattern: "/workflows/{id}"},
	Row{ID: WebWorkflowRun, Role: account.Operator, Method: http.MethodPost, Pattern: "/workflows/{id}/run", MaxBody: 2 * small},
	Row{ID: WebWorkflowBack, Role: account.Admin, Method: http.MethodPost, Pattern: "/workflows/{id}/rollback", MaxBody: small},
	Row{ID: WebWorkflowDelete, Role: account.Admin, Method: http.MethodPost, Pattern: "/workflows/{id}/delete", MaxBody: small},
	Row{ID: WebHistory, Role: account.Viewer, Method: http.MethodGet, Pattern: "/workflows/{id}/history"},
	Row{ID: WebEdit, Role: account.Admin, Method: http.MethodGet, Pattern: "/edit"},
	Row{ID: WebApply, Role: account.Admin, Method: http.MethodPost, Pattern: "/edit", MaxBody: 4 * large},
	Row{ID: WebCheck, Role: account.Admin, Method: http.MethodPost, Pattern: "/edit/check", MaxBody: 4 * large, InFlight: few},
	Row{ID: WebRuns, Role: account.Viewer, Method: http.MethodGet, Pattern: "/runs"},
	Row{ID: WebRun, Role: account.Viewer, Method: http.MethodGet, Pattern: "/runs/{id}"},
	Row{ID: WebRunLog, Role: account.Viewer, Method: http.MethodGet, Pattern: "/runs/{id}/log"},
	Row{ID: WebRunCancel, Role: account.Operator, Method: http.MethodPost, Pattern: "/runs/{id}/cancel", MaxBody: small},
	Row{ID: WebRunRetry, Role: account.Operator, Method: http.MethodPost, Pattern: "/runs/{id}/retry", MaxBody: small},
	Row{ID: WebApprovals, Role: account.Viewer, Method: http.MethodGet, Pattern: "/approvals"},
	Row{ID: WebJudge, Role: account.Approver, Method: http.MethodPost, Pattern: "/runs/{id}/approvals/{step}", MaxBody: small},
	Row{ID: WebPlugins, Role: account.Viewer, Method: http.MethodGet, Pattern: "/plugins"},
	Row{ID: WebPluginPublish, Role: account.Admin, Method: http.MethodPost, Pattern: "/plugins", MaxUpload: api.MaxPackageBytes + small, InFlight: few},
	Row{ID: WebPlugin, Role: account.Viewer, Method: http.MethodGet, Pattern: "/plugins/{id}"},
	Row{ID: WebPluginDo, Role: account.Admin, Method: http.MethodPost, Pattern: "/plugins/{id}", MaxBody: small},
	Row{ID: WebSecrets, Role: account.Viewer, Method: http.MethodGet, Pattern: "/secrets"},
	Row{ID: WebSecretsDo, Role: account.Admin, Method: http.MethodPost, Pattern: "/secrets", MaxBody: 4 * small},
	Row{ID: WebAudit, Role: account.Admin, Method: http.MethodGet, Pattern: "/audit"},
	Row{ID: WebAuditExport, Role: account.Admin, Method: http.MethodGet, Pattern: "/audit/export"},
	Row{ID: WebAccess, Role: account.Admin, Method: http.MethodGet, Pattern: "/access"},
	Row{ID: WebAccessDo, Role: account.Admin, Method: http.MethodPost, Pattern: "/access", MaxBody: small},
)

// pageRows completes rows with what all pages share.
func pageRows(rows ...Row) []Row {
	rows = webRows(rows...)
	for i := range rows {
		rows[i].Page = true
	}
	return rows
}
