package web

import (
	"context"
	"html"
	"net/http"

	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/openid"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/shared/pkg/api"
)

var errNoProvider = api.Errorf(api.CodeNotFound, "This server knows no OpenID provider; start it with --oidc-issuer, or log in with a password.")

// openIDBegin sends a browser to the provider.
func (s *Site) openIDBegin(ctx context.Context, c *route.Call) (any, error) {
	if s.opts.OpenID == nil {
		return nil, errNoProvider
	}
	org, err := c.Organisation()
	if err != nil {
		return nil, err
	}
	to, keep, err := s.opts.OpenID.Begin(ctx, c.Host(), org, local(c.Query.Get("next"), "/"))
	if err != nil {
		return nil, err
	}
	answer := redirect(to)
	answer.Cookies = []*http.Cookie{keep}
	return answer, nil
}

// openIDBack begins a session for who comes back from the provider.
func (s *Site) openIDBack(ctx context.Context, c *route.Call) (any, error) {
	if s.opts.OpenID == nil {
		return nil, errNoProvider
	}
	back, err := openid.Back(http.Header{"Cookie": {c.Header("Cookie")}}, c.Query, c.Host())
	var session account.Session
	if err == nil {
		session, err = s.opts.Accounts.LoginSubject(ctx, account.Attempt{Org: back.Org, Address: c.Address(), Session: c.Session},
			func(ctx context.Context) (string, error) { return s.opts.OpenID.Subject(ctx, back) })
	}
	next := local(back.Next, "/")
	answer, err := s.begun(ctx, c, session, err, next, func(why string) view {
		return &loginPage{frame: frame{Title: "Log in"}, Refused: why, Next: next, Organisation: string(route.DefaultOrg), OpenID: true}
	})
	if page, ok := answer.(*route.Document); ok {
		if page.Status == http.StatusSeeOther {
			page = arrived(next, page.Cookies)
			answer = page
		}
		page.Cookies = append(page.Cookies, openid.Done())
	}
	return answer, err
}

// arrived leads on from a page of this server. A redirection would still count as one of the
// provider's, and a browser would keep the session's strict cookie back.
func arrived(next string, cookies []*http.Cookie) *route.Document {
	to := html.EscapeString(next)
	body := `<!doctype html><html lang="en"><meta charset="utf-8"><title>Logged in</title><meta http-equiv="refresh" content="0; url=` + to + `"><p><a href="` + to + `">Go on</a></p></html>`
	return &route.Document{Type: htmlType, Cookies: cookies, Body: []byte(body)}
}
