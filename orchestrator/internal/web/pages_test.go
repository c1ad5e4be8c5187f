package web_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/engine/packtest"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/server"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
)

// hostile is what every text of an agent could be.
const hostile = `</pre><script>alert(1)</script><img src=x onerror=alert(1)>`

const password = "correct horse battery staple"

// person is a browser, as far as pages without a script need one.
type person struct {
	t    *testing.T
	http *http.Client
	base string
}

// dashboard is a server with two agents, a workflow that waits for an approval, and an event
// that nothing came of.
func dashboard(t *testing.T) (*servertest.Server, *person) {
	t.Helper()
	link := make(chan string, 1)
	s := servertest.StartWith(t, func(o *server.Options) { o.FirstAdmin = func(l string) { link <- l } })
	sensor := s.Enrol(api.Sensor, "sense-1", "host-1")
	s.Enrol(api.Action, "act-1", "host-1")
	heartbeat := api.Heartbeat{Timestamp: api.At(time.Now()), Status: "online", Version: hostile, Plugins: []api.PluginInfo{{ID: "disk", Version: "1.0.0", Type: "sensor", State: "refused", Message: hostile}},
		Health: &api.Health{Status: "degraded", Conditions: []api.Condition{{Name: "spool", Status: "degraded", Since: api.At(time.Now()), Message: hostile, Remedy: "free some space"}}}}
	if _, err := sensor.Heartbeat(t.Context(), heartbeat); err != nil {
		t.Fatal(err)
	}
	s.Do(http.MethodPost, "/api/v1/workflows", operatorapi.ApplyRequest{File: "w", Text: `name: deploy
triggers: [{manual: {inputs: {version: {default: "1"}}}}, {event: disk.full}]
when: event.type != "disk.full"
actions:
  - id: ask
    approval: {count: 1, within: 5m}
  - {id: work, needs: [ask], plugin: worker, agents: {ids: [act-1]}, with: {version: "${{ event.data.version }}"}}
`, AllowMissing: true}, nil)
	s.Do(http.MethodPut, "/api/v1/secrets/deploy_key", operatorapi.SecretRequest{Value: "a value to keep"}, nil)
	s.Do(http.MethodPost, "/api/v1/workflows/deploy/run", operatorapi.StartRequest{By: "alice", Inputs: map[string]string{"version": hostile}}, nil)
	s.Publish(packtest.Pack(t, "worker", "1.0.0", nil, "description: '"+hostile+"'"))
	text, err := json.Marshal(hostile)
	if err != nil {
		t.Fatal(err)
	}
	event := api.Event{Seq: 1, ID: "01K8Z5V6J3Q0M7E2W1R9T4Y8AB", Type: "disk.full", Source: hostile, Timestamp: api.At(time.Now()), Severity: api.High, Data: map[string]json.RawMessage{"mount": text}}
	if _, err := sensor.Events(t.Context(), api.EventBatch{Stream: api.Stream{Epoch: strings.Repeat("ab", 16)}, Events: []api.Event{event}}); err != nil {
		t.Fatal(err)
	}
	return s, newPerson(t, s, <-link)
}

// newPerson opens a one-time link and chooses a password.
func newPerson(t *testing.T, s *servertest.Server, link string) *person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	base, secret, _ := strings.Cut(link, "/welcome?link=")
	p := &person{t, s.HTTP(nil), base}
	p.http.Jar = jar
	p.get("/welcome?link="+secret, http.StatusOK)
	p.post("/welcome", url.Values{"link": {secret}, "password": {password}, "again": {password}}, http.StatusSeeOther)
	return p
}

// invited is a user of a role, named after it, who has logged in with a link.
func invited(t *testing.T, s *servertest.Server, role account.Role) *person {
	t.Helper()
	name := string(role)
	s.Do(http.MethodPost, "/api/v1/users", operatorapi.UserRequest{Name: name, Role: name}, nil)
	var invitation operatorapi.Invitation
	s.Do(http.MethodPost, "/api/v1/users/"+name+"/invitation", nil, &invitation)
	return newPerson(t, s, invitation.URL)
}

// do makes a request as a page of the server itself would; header has names and values in turn.
func (p *person) do(method, path, accept string, body io.Reader, header ...string) (*http.Response, string) {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.base+path, body)
	if err != nil {
		p.t.Fatal(err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	r.Header.Set("Accept", accept)
	for n := 0; n < len(header); n += 2 {
		r.Header.Set(header[n], header[n+1])
	}
	answer, err := p.http.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return answer, string(text)
}

func (p *person) get(path string, status int) string {
	p.t.Helper()
	answer, text := p.do(http.MethodGet, path, "text/html", nil)
	if answer.StatusCode != status {
		p.t.Errorf("GET %s: %s, want %d\n%s", path, answer.Status, status, text)
	}
	return text
}

func (p *person) post(path string, form url.Values, status int) string {
	p.t.Helper()
	answer, text := p.do(http.MethodPost, path, "text/html", strings.NewReader(form.Encode()))
	if answer.StatusCode != status {
		p.t.Errorf("POST %s: %s, want %d\n%s", path, answer.Status, status, text)
	}
	return answer.Header.Get("Location") + text
}

var (
	linkPattern   = regexp.MustCompile(`(?:href|action|src)="([^"]*)"`)
	valuePattern  = regexp.MustCompile(`"[^"]*"`) // of an attribute: in texts a quote is escaped
	inlinePattern = regexp.MustCompile(`(?i)<style|<script(?:>|\s[^>]*>[^<])|<[^>]*\s(?:style|on[a-z]+)=`)
	formPattern   = regexp.MustCompile(`method="post"[^>]*action="([^"]*)"|action="([^"]*)"[^>]*method="post"`)
)

// crawl opens every page that can be come to, and gives each to look.
func (p *person) crawl(look func(path, text string)) (seen []string) {
	p.t.Helper()
	next := []string{"/", "/events/01K8Z5V6J3Q0M7E2W1R9T4Y8AB?replay=deploy"}
	for len(next) > 0 {
		path := next[0]
		next = next[1:]
		if slices.Contains(seen, path) {
			continue
		}
		seen = append(seen, path)
		text := p.get(path, http.StatusOK)
		if strings.HasPrefix(path, "/assets/") || strings.HasPrefix(path, "/audit/export") {
			continue
		}
		look(path, text)
		for _, m := range linkPattern.FindAllStringSubmatch(text, -1) {
			to, _, _ := strings.Cut(strings.ReplaceAll(m[1], "&amp;", "&"), "#")
			if strings.HasPrefix(to, "?") {
				before, _, _ := strings.Cut(path, "?")
				to = before + to
			}
			if isPage(to) {
				next = append(next, to)
			}
		}
	}
	return seen
}

// isPage reports whether a path can be got, by the table of all routes: the path of a form may
// only be posted to.
func isPage(to string) bool {
	if to == "" {
		return false
	}
	path, _, _ := strings.Cut(to, "?")
	mux := http.NewServeMux()
	for _, row := range route.Table() {
		if row.Page && row.Method == http.MethodGet {
			mux.Handle(row.Pattern, http.NotFoundHandler())
		}
	}
	_, pattern := mux.Handler(&http.Request{Method: http.MethodGet, URL: &url.URL{Path: path}})
	return pattern != ""
}

func TestPages(t *testing.T) {
	s, admin := dashboard(t)
	seen := admin.crawl(func(path, text string) {
		if found := inlinePattern.FindString(valuePattern.ReplaceAllString(text, `""`)); found != "" {
			t.Errorf("%s has something inline: %q", path, found)
		}
		if strings.Contains(text, "<script>") || strings.Contains(text, "<img src=x") {
			t.Errorf("%s shows an agent's text as markup", path)
		}
		if n := len(text); n > 100_000 {
			t.Errorf("%s has %d bytes, at most 100,000 are promised", path, n)
		}
		if n := strings.Count(text, "<h1"); n != 1 {
			t.Errorf("%s has %d main headings", path, n)
		}
	})
	for _, row := range route.Table() {
		if row.Page && row.Method == http.MethodGet && !slices.ContainsFunc(seen, func(path string) bool { return fits(row.Pattern, path) }) &&
			row.ID != route.WebLogin && row.ID != route.WebWelcome &&
			row.ID != route.OpenIDBegin && row.ID != route.OpenIDBack { // for who is not logged in, with a provider
			t.Errorf("no link leads to %s", row.Pattern)
		}
	}
	if page := admin.get("/runs?status=running", http.StatusOK); !strings.Contains(page, "deploy") {
		t.Errorf("the run is not on its list:\n%s", page)
	}
	explained := admin.get("/events/01K8Z5V6J3Q0M7E2W1R9T4Y8AB?replay=deploy", http.StatusOK)
	if strings.Count(explained, "It did not run: ") != 2 {
		t.Errorf("the event and its replay do not say why nothing ran:\n%s", explained)
	}
	admin.get("/runs/01K8Z5V6J3Q0M7E2W1R9T4Y8AB", http.StatusNotFound)
	admin.get("/events?before=x", http.StatusUnprocessableEntity)
	s.Stop()
}

// Who decides on an approval is shown what is installed, and from where.
func TestAnApprovalShowsWhatIsInstalled(t *testing.T) {
	s, admin := dashboard(t)
	s.Do(http.MethodPost, "/api/v1/workflows", operatorapi.ApplyRequest{File: "w", Text: `name: renew
triggers: [{manual: {}}]
actions:
  - {id: ask, approval: {}}
  - {id: get, needs: [ask], plugin: worker, agents: {ids: [act-1]}, type: plugin_install, plugin_configuration: {plugin_url: "https://a.example/worker.git", tag: v1}}
`, AllowMissing: true}, nil)
	s.Do(http.MethodPost, "/api/v1/workflows/renew/run", operatorapi.StartRequest{By: "alice"}, nil)
	page := admin.get("/approvals", http.StatusOK)
	for _, want := range []string{"plugin_install of worker", "https://a.example/worker.git", "v1"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %s:\n%s", want, page)
		}
	}
	if n := strings.Count(page, "plugin_configuration"); n != 1 {
		t.Errorf("%d steps show a plugin_configuration, want 1", n)
	}
}

// fits reports whether a path is of a pattern.
func fits(pattern, path string) bool {
	path, _, _ = strings.Cut(path, "?")
	mux := http.NewServeMux()
	mux.Handle(pattern, http.NotFoundHandler())
	_, found := mux.Handler(&http.Request{Method: http.MethodGet, URL: &url.URL{Path: path}})
	return found != ""
}

// A viewer sees every page that viewers may, and no button that would be refused.
func TestButtonsAreForThoseWhoMay(t *testing.T) {
	s, _ := dashboard(t)
	viewer := invited(t, s, account.Viewer)
	viewer.crawl(func(path, text string) {
		for _, m := range formPattern.FindAllStringSubmatch(text, -1) {
			if to := m[1] + m[2]; to != "/logout" {
				t.Errorf("%s has a button of %s", path, to)
			}
		}
	})
	viewer.get("/audit", http.StatusForbidden)
	viewer.get("/access", http.StatusForbidden)
	viewer.post("/secrets", url.Values{"do": {"set"}, "name": {"deploy_key"}, "value": {"another value"}}, http.StatusForbidden)
	viewer.post("/edit", url.Values{"text": {"name: x"}}, http.StatusForbidden)
}

// Who has not logged in is led to the login, and from there back.
func TestLoginLeadsBack(t *testing.T) {
	_, admin := dashboard(t)
	admin.post("/logout", url.Values{}, http.StatusSeeOther)
	answer, _ := admin.do(http.MethodGet, "/runs?status=failed", "text/html", nil)
	if to := answer.Header.Get("Location"); answer.StatusCode != http.StatusSeeOther || to != "/login?next=%2Fruns%3Fstatus%3Dfailed" {
		t.Fatalf("%s to %q", answer.Status, to)
	}
	form := url.Values{"org": {"default"}, "user": {"admin"}, "password": {password}, "next": {"/runs?status=failed"}}
	if to := admin.post("/login", form, http.StatusSeeOther); to != "/runs?status=failed" {
		t.Errorf("the login leads to %q", to)
	}
	admin.post("/logout", url.Values{}, http.StatusSeeOther)
	for _, elsewhere := range []string{"https://example.com/", "//example.com/", `/\example.com`} {
		form.Set("next", elsewhere)
		if to := admin.post("/login", form, http.StatusSeeOther); to != "/" {
			t.Errorf("next=%s leads to %q", elsewhere, to)
		}
	}
}

// A page tells of a change without being asked for again.
func TestPagesAreLive(t *testing.T) {
	s, admin := dashboard(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, admin.base+"/runs", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	admin.http.Timeout = 0
	answer, err := admin.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if kind := answer.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/event-stream") {
		t.Fatalf("%s %s", answer.Status, kind)
	}
	var got strings.Builder
	cancelled, buffer := false, make([]byte, 64<<10)
	for !strings.Contains(got.String(), "cancelled\\u003c/span") {
		n, err := answer.Body.Read(buffer)
		got.Write(buffer[:n])
		if err != nil {
			t.Fatalf("%v after\n%s", err, got.String())
		}
		if !cancelled {
			cancelled = true
			var runs []operatorapi.Run
			s.Do(http.MethodGet, "/api/v1/runs", nil, &runs)
			s.Do(http.MethodPost, "/api/v1/runs/"+string(runs[0].ID)+"/cancel", struct{}{}, nil)
		}
	}
}
