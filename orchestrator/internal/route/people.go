package route

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/shared/pkg/api"
)

// cookieName has the prefix that browsers hold to: set by this host alone, for its whole
// path, over TLS. Another host of the domain cannot plant one.
const cookieName = "__Host-stavily"

// SessionCookie lets a browser show a session from now on.
func SessionCookie(s account.Session) *http.Cookie {
	c := sessionCookie(s.Token)
	c.Expires = s.ExpiresAt
	return c
}

// NoSession lets a browser forget its session.
func NoSession() *http.Cookie {
	c := sessionCookie("")
	c.MaxAge = -1
	return c
}

func sessionCookie(value string) *http.Cookie {
	return &http.Cookie{Name: cookieName, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode}
}

// recognise finds out which user calls. A token counts before a session, so that a program
// in a browser is what it says it is. A row that is for anybody takes whoever shows nothing,
// or nothing that is good any more.
func (e *endpoint) recognise(r *http.Request, c *Call) (context.Context, *Call, func(), error) {
	if cookie, err := r.Cookie(cookieName); err == nil {
		c.Session = cookie.Value
	}
	kind, text := account.KindToken, bearer(r)
	if r.Header.Get("Authorization") == "" {
		kind, text = account.KindSession, c.Session
	}
	ctx, who, release, err := e.site.people.Recognise(r.Context(), kind, text, address(r))
	var refusal *api.Error
	switch {
	case err == nil:
		c.Principal = principalOf(who)
		return ctx, c, release, nil
	case e.row.Allows(Anonymous) && errors.As(err, &refusal) && refusal.Status() < http.StatusInternalServerError:
		c.Principal = Principal{Kind: Anonymous}
		return r.Context(), c, func() {}, nil
	}
	return nil, nil, nil, err
}

func principalOf(who account.Caller) Principal {
	p := Principal{Kind: User, Org: who.Org, Name: who.User, Role: who.Role, Token: who.Token, Areas: who.Areas}
	if who.Kind == account.KindToken {
		p.Kind = APIToken
	}
	return p
}

// authorizePerson decides whether a user may use the row: by the role, by what the token
// is for, and in the user's own organisation alone.
func (e *endpoint) authorizePerson(c *Call) *api.Error {
	p := c.Principal
	if !p.Role.Includes(e.row.Role) {
		return api.Errorf(api.CodeForbidden, "%s has the role %s, and this needs %s; ask an admin of the organisation.", p.Name, p.Role, e.row.Role)
	}
	if area := areaOf(e.row.Pattern); len(p.Areas) > 0 && !slices.Contains(p.Areas, area) {
		return api.Errorf(api.CodeForbidden, "The token %s is for %s, and this is %s; use another token.", p.Token, strings.Join(p.Areas, ", "), area)
	}
	asked := c.Query["org"]
	if p.Org != "" && slices.ContainsFunc(asked, func(org string) bool { return org != "" && org != string(p.Org) }) {
		return api.Errorf(api.CodeForbidden, "%s is a user of the organisation %s, and of no other; log in there.", p.Name, p.Org)
	}
	return nil
}

// areaOf is the part of the API that a row belongs to: the first of its path, after /api/v1.
func areaOf(pattern string) string {
	rest := strings.TrimPrefix(strings.TrimPrefix(pattern, "/api/v1"), "/")
	area, _, _ := strings.Cut(rest, "/")
	return area
}

// Organisation is the one that a call is about: a user's own, and the one that the query
// names on the operator socket, "default" where it names none.
func (c *Call) Organisation() (api.OrgID, error) {
	if c.Principal.Org != "" {
		return c.Principal.Org, nil
	}
	id := api.OrgID(c.Query.Get("org"))
	if id == "" {
		return DefaultOrg, nil
	}
	if err := id.Validate(); err != nil {
		return "", api.Errorf(api.CodeInvalid, "Query parameter org: %v.", err)
	}
	return id, nil
}

// DefaultOrg is the organisation of a request that names none.
const DefaultOrg api.OrgID = "default"

// contentPolicy lets a page load what this server serves and nothing else, run no script and
// use no style that stands in the page, and be shown in no frame.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// front is what every request to the web listener passes, whatever it asks for: the name by
// which the server was called, so that no name that an attacker's DNS points here is taken
// for it; and where it comes from, so that no other site makes a browser do something.
func front(s http.Handler, hosts []string) http.Handler {
	origin := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Frame-Options", "DENY")
		// same-origin, and not no-referrer: with that a browser's forms have the origin "null".
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
		if !calledBy(hosts, r.Host) {
			misdirected := api.Errorf(api.CodeForbidden, "This server is not called %.100q; use one of its names, or start it with --hostname for this one.", r.Host)
			misdirected.HTTPStatus = http.StatusMisdirectedRequest
			newReply(w).fail(misdirected)
			return
		}
		if err := origin.Check(r); err != nil {
			newReply(w).fail(api.Errorf(api.CodeForbidden, "The request comes from a page of another site; open this server's own pages."))
			return
		}
		s.ServeHTTP(w, r)
	})
}

// calledBy reports whether a Host header names one of hosts, at whatever port: the one that
// people see may be of a container's host.
func calledBy(hosts []string, host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	return slices.ContainsFunc(hosts, func(known string) bool { return strings.EqualFold(known, name) })
}

// WebServer returns the HTTP server of the web listener. The handler sets its own deadlines
// for bodies and answers.
func WebServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 100, SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
