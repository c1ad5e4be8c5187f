package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/shared/pkg/api"
)

type loginPage struct {
	frame
	Next, Organisation, User string
	Refused                  string
	OpenID                   bool // there is a provider to log in with
}

func (*loginPage) template() string { return "login.html" }

// login asks who it is.
func (s *Site) login(ctx context.Context, c *route.Call) (any, error) {
	next := local(c.Query.Get("next"), "/")
	if c.Principal.Kind == route.User {
		return redirect(next), nil
	}
	return s.gate(ctx, c, &loginPage{frame: frame{Title: "Log in"}, Next: next, Organisation: string(route.DefaultOrg), OpenID: s.opts.OpenID != nil}, http.StatusOK)
}

// gate is a page for somebody who has not logged in, whatever session the browser shows.
func (s *Site) gate(_ context.Context, _ *route.Call, v view, status int) (any, error) {
	body, err := s.render(v, layout)
	if err != nil {
		return nil, err
	}
	return &route.Document{Status: status, Type: htmlType, Body: body}, nil
}

// loginDo begins a session.
func (s *Site) loginDo(ctx context.Context, c *route.Call) (any, error) {
	f, err := readForm(c)
	if err != nil {
		return nil, err
	}
	p := &loginPage{frame: frame{Title: "Log in"}, Next: local(f.text("next"), "/"), Organisation: f.text("org"), User: f.text("user"), OpenID: s.opts.OpenID != nil}
	session, err := s.opts.Accounts.Login(ctx, account.Attempt{
		Org: api.OrgID(p.Organisation), Name: p.User, Password: f.Get("password"), Address: c.Address(), Session: c.Session,
	})
	return s.begun(ctx, c, session, err, p.Next, func(why string) view { p.Refused = why; return p })
}

// begun lets the browser show a session that has begun, or shows the page again that says why
// there is none.
func (s *Site) begun(ctx context.Context, c *route.Call, session account.Session, err error, to string, again func(string) view) (any, error) {
	var known *api.Error
	if errors.As(err, &known) && known.Status() < http.StatusInternalServerError {
		return s.gate(ctx, c, again(known.Message), known.Status())
	}
	if err != nil {
		return nil, err
	}
	answer := redirect(to)
	answer.Cookies = []*http.Cookie{route.SessionCookie(session)}
	return answer, nil
}

// logout ends the session.
func (s *Site) logout(ctx context.Context, c *route.Call) (any, error) {
	if err := s.opts.Accounts.Logout(ctx, c.Session); err != nil {
		return nil, err
	}
	answer := redirect("/login")
	answer.Cookies = []*http.Cookie{route.NoSession()}
	return answer, nil
}

type welcomePage struct {
	frame
	Link, Name, Organisation string
	Refused                  string
}

func (*welcomePage) template() string { return "welcome.html" }

// welcome lets somebody with a one-time link choose a password.
func (s *Site) welcome(ctx context.Context, c *route.Call) (any, error) {
	p := &welcomePage{frame: frame{Title: "Welcome"}, Link: c.Query.Get("link")}
	status := http.StatusOK
	invited, err := s.opts.Accounts.Invited(ctx, p.Link, c.Address())
	var known *api.Error
	switch {
	case errors.As(err, &known) && known.Status() < http.StatusInternalServerError:
		p.Refused, p.Link, status = known.Message, "", known.Status()
	case err != nil:
		return nil, err
	}
	p.Name, p.Organisation = invited.User, string(invited.Org)
	return s.gate(ctx, c, p, status)
}

// welcomeDo uses the link up.
func (s *Site) welcomeDo(ctx context.Context, c *route.Call) (any, error) {
	f, err := readForm(c)
	if err != nil {
		return nil, err
	}
	p := &welcomePage{frame: frame{Title: "Welcome"}, Link: f.Get("link"), Name: f.text("user"), Organisation: f.text("org")}
	if f.Get("password") != f.Get("again") {
		p.Refused = "The two passwords differ; type the same twice."
		return s.gate(ctx, c, p, http.StatusUnprocessableEntity)
	}
	session, err := s.opts.Accounts.Accept(ctx, p.Link, account.Attempt{Password: f.Get("password"), Address: c.Address(), Session: c.Session})
	return s.begun(ctx, c, session, err, "/", func(why string) view { p.Refused = why; return p })
}

// redirect sends a browser on to a page of this server.
func redirect(to string) *route.Document {
	return &route.Document{Status: http.StatusSeeOther, Header: http.Header{"Location": {to}}}
}

// ErrorPage is what a browser shows of an error: the login for somebody who has not logged
// in, else a page that says what is wrong.
func (s *Site) ErrorPage(c *route.Call, e *api.Error) *route.Document {
	if e.Status() == http.StatusUnauthorized {
		next := "/"
		if c.Method() == http.MethodGet && c.Header("Accept") != streamType {
			next = c.Path()
			if len(c.Query) > 0 {
				next += "?" + c.Query.Encode()
			}
		}
		return redirect("/login?next=" + url.QueryEscape(next))
	}
	body, err := s.render(refusal(e), layout)
	if err != nil {
		return nil // the error as JSON
	}
	return &route.Document{Status: e.Status(), Type: htmlType, Body: body}
}
