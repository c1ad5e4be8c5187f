package operatorapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
)

// visitor is one column of the matrix: who comes to the web listener, and what is theirs.
type visitor struct {
	name  string
	b     *servertest.Browser
	role  account.Role // Nobody: not logged in
	token bool
	areas []string
	org   string // named in the query
	own   string // organisation
}

// visitors makes one of each kind.
func visitors(t *testing.T, s *servertest.Server) []visitor {
	t.Helper()
	var all []visitor
	for _, role := range []account.Role{account.Viewer, account.Operator, account.Approver, account.Admin} {
		b := s.Browser("u-"+string(role), role)
		all = append(all, visitor{name: string(role), b: b, role: role, own: "default"})
		all = append(all, visitor{name: "token of a " + string(role), b: tokenOf(s, "u-"+string(role), role), role: role, token: true, own: "default"})
	}
	ended := s.Browser("ended", account.Admin)
	stolen := ended.Cookie()
	ended.Do("DELETE", "/api/v1/session", nil, nil)
	other := s.Organisation("other")
	foreign := other.Browser("u-admin", account.Admin) // the same name in another organisation
	return append(all,
		visitor{name: "nobody", b: s.Stranger()},
		visitor{name: "a session that has ended", b: withCookie(s, stolen)},
		visitor{name: "a token made up", b: withToken(s, "sva_default_aaaaaaaaaaaaaaaaaaaaaaaaaa")},
		visitor{name: "a session as a token", b: withToken(s, all[len(all)-2].b.Cookie())},
		visitor{name: "an admin's token as a session", b: withCookie(s, all[len(all)-1].b.Token)},
		visitor{name: "a viewer's token of an admin", b: tokenOf(s, "u-admin", account.Viewer), role: account.Viewer, token: true, own: "default"},
		visitor{name: "an admin's token for runs", b: tokenOf(s, "u-admin", account.Admin, "runs"), role: account.Admin, token: true, areas: []string{"runs"}, own: "default"},
		visitor{name: "admin of another organisation", b: foreign, role: account.Admin, own: "other"},
		visitor{name: "admin of another organisation who names this one", b: foreign, role: account.Admin, own: "other", org: "default"},
	)
}

func tokenOf(s *servertest.Server, user string, role account.Role, areas ...string) *servertest.Browser {
	var made operatorapi.NewAPIToken
	name := strings.Join(append([]string{"t", string(role)}, areas...), "-")
	s.Do("POST", "/api/v1/api-tokens", operatorapi.APITokenRequest{User: user, Name: name, Role: string(role), Areas: areas}, &made)
	return withToken(s, made.Secret)
}

// TestATokenIsForAPartThatThereIs holds that a mistyped area makes no token that is good for nothing.
func TestATokenIsForAPartThatThereIs(t *testing.T) {
	s := servertest.Start(t)
	admin := s.Browser("root", account.Admin)
	for area, want := range map[string]int{"runs": 200, "health": 200, "banana": 422, "": 422, "ca": 422} {
		status, e := admin.Do("POST", "/api/v1/api-tokens", operatorapi.APITokenRequest{Name: "t" + area, Areas: []string{"runs", area}}, nil)
		if status != want || want == 422 && (e == nil || !strings.Contains(e.Message, "must be one of agents, api-tokens, approvals, audit, ")) {
			t.Errorf("area %q: %d, %v, want %d", area, status, e, want)
		}
	}
}

func withToken(s *servertest.Server, text string) *servertest.Browser {
	b := s.Stranger()
	b.Token = text
	return b
}

func withCookie(s *servertest.Server, value string) *servertest.Browser {
	b := s.Stranger()
	b.Planted = value
	return b
}

// want is what a visitor is to get of a row: a status, or 0 for the handler's own answer.
func (v visitor) want(row route.Row) int {
	kind := route.User
	if v.token {
		kind = route.APIToken
	}
	area, _, _ := strings.Cut(strings.TrimPrefix(row.Pattern, "/api/v1/"), "/")
	switch {
	case v.role == account.Nobody && row.Page:
		return http.StatusSeeOther // to the login
	case v.role == account.Nobody:
		return http.StatusUnauthorized
	case !row.Allows(kind), !v.role.Includes(row.Role), len(v.areas) > 0 && !slices.Contains(v.areas, area), v.org != "" && v.org != v.own:
		return http.StatusForbidden
	}
	return 0
}

var placeholder = regexp.MustCompile(`\{[a-z_]+\}`)

// pathOf is a path of a row with something in the place of what it leaves open.
func pathOf(row route.Row, something string) string {
	return placeholder.ReplaceAllString(strings.TrimSuffix(row.Pattern, "{$}"), something)
}

// TestWhoMayWhat asks every route of every visitor that there can be: what each gets is made
// of the table, so a route that is added is held without a line here.
func TestWhoMayWhat(t *testing.T) {
	s := servertest.Start(t)
	all := visitors(t, s)
	asked := 0
	for _, row := range route.Table() {
		if row.Listener == route.Agents || row.Role == account.Nobody { // TestTable names the latter one by one
			continue
		}
		path := pathOf(row, "nothing")
		for _, v := range all {
			if v.org != "" {
				path += "?org=" + v.org
			}
			status, body := ask(t, v.b, row.Method, path, "")
			asked++
			let := status != http.StatusUnauthorized && status != http.StatusForbidden && body != toLogin
			if (row.ID == route.APITokenCreate || row.ID == route.UserInvite) && v.token && status == http.StatusForbidden && v.want(row) == 0 {
				continue // its handler says no to tokens
			}
			if want := v.want(row); want == 0 && !let || want != 0 && status != want {
				t.Errorf("%s %s: %s: %d %s; want %d (0: its own answer)", row.Method, row.Pattern, v.name, status, body, want)
			}
		}
	}
	t.Logf("%d answers of %d visitors", asked, len(all))
	// And the agents' listener and what is not in the table are nobody's.
	for _, path := range []string{"/agents/v1/sensor-1/heartbeat", "/metrics", "/debug/pprof/", "/.git/config"} {
		if status, _ := ask(t, all[7].b, "GET", path, ""); status != http.StatusNotFound {
			t.Errorf("GET %s: %d, want 404", path, status)
		}
	}
}

// TestATokenMakesNoLogin: neither with a link nor with a subject, of its own user or another, also one
// that it has added, or areas and end of a token would limit nobody.
func TestATokenMakesNoLogin(t *testing.T) {
	s := servertest.Start(t)
	root := s.Browser("root", account.Admin)
	const subject = "https://id.example 1"
	s.Do("POST", "/api/v1/users", operatorapi.UserRequest{Name: "ann", Role: "viewer", Subject: subject}, nil)
	token := tokenOf(s, "root", account.Admin, "users")
	user := func(name, role, subject string) operatorapi.UserRequest {
		return operatorapi.UserRequest{Name: name, Role: role, Subject: subject}
	}
	for _, try := range []struct {
		method, path string
		in           any
		want         int
	}{
		{"POST", "/root/invitation", nil, 403},
		{"POST", "/ann/invitation", nil, 403},
		{"POST", "", user("eve", "viewer", "https://id.example 2"), 403},
		{"POST", "", user("eve", "viewer", ""), 200},
		{"POST", "/eve/invitation", nil, 403},
		{"PUT", "/eve", user("", "viewer", "https://id.example 2"), 403},
		{"PUT", "/root", user("", "admin", "https://id.example 2"), 403},
		{"PUT", "/ann", user("", "operator", subject), 200}, // it stays
		{"PUT", "/ann", user("", "operator", ""), 200},
		{"PUT", "/ann", user("", "operator", subject), 403},
	} {
		status, e := token.Do(try.method, "/api/v1/users"+try.path, try.in, nil)
		if status != try.want || e != nil && !strings.HasPrefix(e.Message, "A token ") {
			t.Errorf("%s %s %+v: %d %v, want %d", try.method, try.path, try.in, status, e, try.want)
		}
	}
	if status, e := root.Do("POST", "/api/v1/users/eve/invitation", nil, nil); e != nil {
		t.Errorf("a link by a session: %d %v", status, e)
	}
	if status, e := root.Do("PUT", "/api/v1/users/ann", user("", "viewer", subject), nil); e != nil {
		t.Errorf("a subject by a session: %d %v", status, e)
	}
}

// toLogin stands for the body of an answer that leads to the login.
const toLogin = "to the login"

// ask makes a call and reads the beginning of its answer: some never end.
func ask(t *testing.T, b *servertest.Browser, method, path, body string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, b.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(body, "{") {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := b.Send(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	if strings.HasPrefix(resp.Header.Get("Location"), "/login") {
		return resp.StatusCode, toLogin
	}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return resp.StatusCode, string(bytes.TrimSpace(text))
	}
	return resp.StatusCode, ""
}

// TestIDsOfAnotherOrganisation gives an admin the real ids of everything that another
// organisation has: none of it is shown, and none of it changes.
func TestIDsOfAnotherOrganisation(t *testing.T) {
	s := servertest.Start(t)
	sensor := s.Enrol(api.Sensor, "sensor-1", "a")
	s.Apply("name: w\ntriggers: [{event: wanted}]\nactions: [{plugin: p}]\n")
	if _, err := sensor.Events(t.Context(), batch(1, "E1", "wanted")); err != nil {
		t.Fatal(err)
	}
	run := s.Runs()[0].ID
	s.Browser("ann", account.Admin)
	var token operatorapi.NewAPIToken
	s.Do("POST", "/api/v1/api-tokens", operatorapi.APITokenRequest{User: "ann", Name: "ci", Role: "viewer"}, &token)
	real := map[string]string{
		"agents": "sensor-1", "workflows": "w", "runs": string(run), "events": "E1", "users": "ann", "api-tokens": token.Token.ID,
	}
	before := everything(t, s)
	foreign := s.Organisation("other").Browser("eve", account.Admin)
	for _, row := range route.Table() {
		area, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(row.Pattern, "/api/v1"), "/"), "/")
		id, known := real[area]
		if row.Listener == route.Agents || !strings.Contains(row.Pattern, "{id}") || !known {
			continue
		}
		path := placeholder.ReplaceAllString(strings.Replace(row.Pattern, "{id}", id, 1), "x")
		body := `{"role":"viewer","version":1}`
		if row.Page {
			body = "role=viewer&version=1&do=x"
		}
		status, body := ask(t, foreign, row.Method, path, body)
		if status < 400 && body != "[]" && body != `""` {
			t.Errorf("%s %s: %d %.200s", row.Method, path, status, body)
		}
	}
	if after := everything(t, s); after != before {
		t.Errorf("the organisation has changed:\n%s\n%s", before, after)
	}
}

// everything is what an organisation has, as its own admin sees it.
func everything(t *testing.T, s *servertest.Server) string {
	t.Helper()
	var b strings.Builder
	for _, path := range []string{"agents", "workflows", "runs", "events", "users", "api-tokens", "approvals", "audit"} {
		var v json.RawMessage
		s.Do("GET", "/api/v1/"+path, nil, &v)
		b.Write(v)
	}
	return b.String()
}

// TestAStreamEndsWithItsSession holds that who follows is let go when the session ends, and
// not only at the next request.
func TestAStreamEndsWithItsSession(t *testing.T) {
	s := servertest.Start(t)
	for name, end := range map[string]func(b *servertest.Browser){
		"logout":  func(b *servertest.Browser) { b.Do("DELETE", "/api/v1/session", nil, nil) },
		"removal": func(b *servertest.Browser) { s.Do("DELETE", "/api/v1/users/removal", nil, nil) },
		"disabled": func(b *servertest.Browser) {
			s.Do("PUT", "/api/v1/users/disabled", operatorapi.UserRequest{Role: "operator", Disabled: true}, nil)
		},
		"less": func(b *servertest.Browser) {
			s.Do("PUT", "/api/v1/users/less", operatorapi.UserRequest{Role: "viewer"}, nil)
		},
		"password": func(b *servertest.Browser) {
			s.Stranger().Do("POST", "/api/v1/session/accept", operatorapi.AcceptRequest{Link: s.Invite("password"), Password: "another few words"}, nil)
		},
	} {
		b := s.Browser(name, account.Operator)
		req, err := http.NewRequestWithContext(t.Context(), "GET", b.URL+"/api/v1/events/follow", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := b.Send(req)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: follow: %v", name, err)
		}
		end(b)
		ended := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, resp.Body)
			ended <- err
		}()
		select {
		case err := <-ended:
			if err == nil {
				t.Errorf("%s: the stream ended as if it were whole", name)
			}
		case <-time.After(5 * time.Second): // before anything ends it that goes by time
			t.Errorf("%s: the stream goes on", name)
		}
		resp.Body.Close()
	}
}
