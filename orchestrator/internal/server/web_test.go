package server_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
)

// TestFirstAdmin holds that whoever has the link of a first start becomes admin with it,
// once, and that a later start makes none.
func TestFirstAdmin(t *testing.T) {
	links := make(chan string, 2)
	s := servertest.StartWith(t, func(o *server.Options) { o.FirstAdmin = func(link string) { links <- link } })
	link, err := url.Parse(<-links)
	if err != nil || !strings.HasPrefix(link.String(), s.WebURL()+"/welcome?link=svi_default_") {
		t.Fatalf("the link is %s, %v", link, err)
	}
	b := s.Stranger()
	accept := operatorapi.AcceptRequest{Link: link.Query().Get("link"), Password: "short"}
	if status, e := b.Do("POST", "/api/v1/session/accept", accept, nil); status != http.StatusUnprocessableEntity {
		t.Fatalf("a short password: %d %v", status, e)
	}
	accept.Password = "a password of several words"
	var session operatorapi.Session
	if status, e := b.Do("POST", "/api/v1/session/accept", accept, &session); e != nil || session.User != "admin" || session.Role != "admin" {
		t.Fatalf("accept: %d %v, %+v", status, e, session)
	}
	if status, e := s.Stranger().Do("POST", "/api/v1/session/accept", accept, nil); status != http.StatusUnauthorized {
		t.Errorf("the link a second time: %d %v", status, e)
	}
	if status, e := b.Do("POST", "/api/v1/tokens", operatorapi.TokenRequest{AgentType: api.Sensor}, nil); e != nil {
		t.Errorf("the admin makes an enrolment token: %d %v", status, e)
	}
	audit := s.Audit()
	if last := audit[len(audit)-1]; last.Action != "token.create" || last.Actor != "user admin" {
		t.Errorf("on record is %+v, want the admin's name", last)
	}
	s.Restart()
	select {
	case link := <-links:
		t.Errorf("there is an admin, and another link was made: %s", link)
	default:
	}
}

// TestSessions holds how a session begins and ends.
func TestSessions(t *testing.T) {
	s := servertest.Start(t)
	ann := s.Browser("ann", account.Viewer)
	first := ann.Cookie()
	if status, e := ann.Login("default", "ann"); e != nil {
		t.Fatalf("login: %d %v", status, e)
	}
	if second := ann.Cookie(); second == first || second == "" {
		t.Error("a login kept the session that was there: it could have been planted")
	}
	old := s.Stranger()
	if status, _ := old.Do("GET", "/api/v1/session", nil, nil, "Cookie", "__Host-stavily="+first); status != http.StatusUnauthorized {
		t.Errorf("the session before the login: %d", status)
	}
	stolen := ann.Cookie()
	if status, e := ann.Do("DELETE", "/api/v1/session", nil, nil); e != nil || ann.Cookie() != "" {
		t.Errorf("logout: %d %v, and the cookie %q", status, e, ann.Cookie())
	}
	if status, _ := old.Do("GET", "/api/v1/session", nil, nil, "Cookie", "__Host-stavily="+stolen); status != http.StatusUnauthorized {
		t.Errorf("a session after its logout: %d", status)
	}
}

// TestFrontOfTheWeb holds what every request passes before anything is read of it.
func TestFrontOfTheWeb(t *testing.T) {
	s := servertest.Start(t)
	ann := s.Browser("ann", account.Admin)
	_, port, _ := strings.Cut(strings.TrimPrefix(ann.URL, "https://"), ":")
	for name, c := range map[string]struct {
		method string
		header []string
		want   int
	}{
		"its own page":                 {"POST", nil, 200},
		"another port of its name":     {"POST", []string{"Host", "127.0.0.1:1"}, 200},
		"a name of somebody's DNS":     {"GET", []string{"Host", "rebound.example:" + port}, 421},
		"a longer name":                {"GET", []string{"Host", "127.0.0.1.rebound.example"}, 421},
		"no name":                      {"GET", []string{"Host", "."}, 421},
		"another site":                 {"POST", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		"another site's reading":       {"GET", []string{"Sec-Fetch-Site", "cross-site"}, 200}, // the cookie is not sent then: SameSite
		"a sister of the same domain":  {"POST", []string{"Sec-Fetch-Site", "same-site"}, 403},
		"an old browser, another site": {"POST", []string{"Sec-Fetch-Site", "", "Origin", "https://evil.example"}, 403},
		"an old browser, a file":       {"POST", []string{"Sec-Fetch-Site", "", "Origin", "null"}, 403},
		"asking for CORS":              {"OPTIONS", []string{"Origin", "https://evil.example", "Access-Control-Request-Method", "POST"}, 405},
	} {
		path, in := "/api/v1/tokens", any(operatorapi.TokenRequest{AgentType: api.Sensor})
		if c.method == "GET" {
			in = nil
		}
		if status, e := ann.Do(c.method, path, in, nil, c.header...); status != c.want {
			t.Errorf("%s: %d %v, want %d", name, status, e, c.want)
		}
	}
	resp, err := ann.Get(ann.URL + "/api/v1/agents")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	h := resp.Header
	if !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") || strings.Contains(h.Get("Content-Security-Policy"), "unsafe") ||
		h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") != "DENY" || h.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("the header of an answer: %v", h)
	}
}

// TestCookieOfASession holds what browsers are told of the cookie.
func TestCookieOfASession(t *testing.T) {
	s := servertest.Start(t)
	s.Browser("ann", account.Viewer)
	b := s.Stranger()
	resp, err := b.Post(b.URL+"/api/v1/session", "application/json", strings.NewReader(`{"user":"ann","password":"correct horse battery"}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	c := resp.Cookies()[0]
	if c.Name != "__Host-stavily" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" {
		t.Errorf("the cookie is %+v", c)
	}
}
