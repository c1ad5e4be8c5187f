package web

import (
	"context"
	"strings"

	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

type approvalsPage struct {
	frame
	Asked []asked
}

func (*approvalsPage) template() string { return "approvals.html" }

// approvals lists what waits for people.
func (s *Site) approvals(ctx context.Context, c *route.Call) (view, error) {
	p := &approvalsPage{frame: frame{Title: "Approvals", Section: "approvals"}}
	return p, s.read(ctx, c, func(r store.Reader) (err error) {
		p.Asked, err = approvalsOf(r, func(store.Approval) bool { return true })
		return err
	})
}

// judge takes what somebody says to an approval.
func (s *Site) judge(ctx context.Context, c *route.Call, f form) (string, error) {
	verdict := f.text("verdict")
	if verdict != "approve" && verdict != "deny" {
		return "", api.Errorf(api.CodeInvalid, "%.40q is no verdict; approve or deny.", verdict)
	}
	if verdict == "deny" && f.text("reason") == "" {
		return "", api.Errorf(api.CodeInvalid, "Say why you deny it: whoever looks at the run reads that.")
	}
	_, err := s.engine.Judge(ctx, c.Principal.Org, api.RunID(c.PathValue("id")), workflow.Verdict{
		Step: c.PathValue("step"), Digest: f.text("digest"), By: c.Principal.Name, Approve: verdict == "approve", Reason: f.text("reason"),
	})
	return local(f.text("back"), "/approvals"), err
}

// local is a path of this server that a form names, else the other one: nobody is led away.
func local(path, other string) string {
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\r\n\t") {
		return other
	}
	return path
}
