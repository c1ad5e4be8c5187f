package operatorapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
)

// busy is a server with seven events, of which every second started a run.
func busy(t *testing.T) *servertest.Server {
	t.Helper()
	s := servertest.Start(t)
	sensor := s.Enrol(api.Sensor, "sensor-1", "a")
	s.Do("POST", "/api/v1/workflows", operatorapi.ApplyRequest{File: "w", Text: "name: clean\ntriggers:\n  - event: even\nactions:\n  - plugin: cleaner\n"}, nil)
	events := api.EventBatch{Stream: api.Stream{Epoch: "e"}}
	for n := range 7 {
		severity := []api.Severity{api.Low, api.High}[n%2]
		events.Events = append(events.Events, api.Event{Seq: uint64(n + 1), ID: api.EventID(fmt.Sprint("E", n)), Type: []string{"even", "odd"}[n%2], Severity: severity, Timestamp: api.At(time.Now())})
	}
	if _, err := sensor.Events(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	return s
}

// get asks the operator socket as it is.
func get(t *testing.T, s *servertest.Server, address string, header http.Header) *http.Response {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(s.DataDir, operatorapi.SocketName))
	}}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://stavily"+address, nil)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// pagesOf reads a list in pages of a size and returns the names of what each page has.
func pagesOf[T any](t *testing.T, s *servertest.Server, path string, query url.Values, size int, name func(T) string) (pages []string) {
	t.Helper()
	for address := path + "?" + query.Encode() + fmt.Sprint("&limit=", size); address != ""; {
		resp := get(t, s, address, nil)
		var items []T
		if err := json.NewDecoder(resp.Body).Decode(&items); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s, %v", address, resp.Status, err)
		}
		resp.Body.Close()
		names := []string{}
		for _, item := range items {
			names = append(names, name(item))
		}
		pages = append(pages, strings.Join(names, " "))
		if len(pages) > 20 {
			t.Fatalf("%s has no last page: %q", path, pages)
		}
		address, _ = strings.CutPrefix(resp.Header.Get("Link"), "<")
		address = strings.TrimSuffix(address, `>; rel="next"`)
	}
	return pages
}

// TestPages holds that the pages of a list have each of its items once, in order, and that
// filters hold over all of them.
func TestPages(t *testing.T) {
	s := busy(t)
	event := func(e operatorapi.Event) string { return string(e.ID) }
	run := func(r operatorapi.Run) string { return string(r.EventID) }
	audit := func(a operatorapi.Audit) string { return a.Action }
	now := time.Now()
	past, future := now.Add(-time.Hour).Format(time.RFC3339), now.Add(time.Hour).Format(time.RFC3339)
	for _, c := range []struct {
		path  string
		query url.Values
		size  int
		want  string
	}{
		{"events", nil, 3, "E6 E5 E4|E3 E2 E1|E0"},
		{"events", nil, 7, "E6 E5 E4 E3 E2 E1 E0"},
		{"events", url.Values{"severity": {"high"}}, 2, "E5 E3|E1"},
		{"events", url.Values{"severity": {"critical"}}, 2, ""},
		{"events", url.Values{"type": {"even"}, "agent": {"sensor-1"}, "since": {past}}, 3, "E6 E4 E2|E0"},
		{"events", url.Values{"since": {future}}, 3, ""},
		{"runs", nil, 3, "E6 E4 E2|E0"},
		{"runs", url.Values{"workflow": {"clean"}, "status": {"running"}}, 4, "E6 E4 E2 E0"},
		{"runs", url.Values{"status": {"failed"}}, 4, ""},
		{"runs", url.Values{"since": {future}}, 4, ""},
		{"runs", url.Values{"until": {past}}, 4, ""},
		{"runs", url.Values{"since": {past}, "until": {future}}, 4, "E6 E4 E2 E0"},
		{"runs", url.Values{"event": {"E4"}}, 4, "E4"},
		{"runs", url.Values{"event": {"E4"}, "status": {"failed"}}, 4, ""},
		{"runs", url.Values{"event": {"E1"}}, 4, ""},
		{"audit", url.Values{"action": {"workflow.apply"}, "object": {"clean"}, "actor": {"operator"}, "since": {past}}, 1, "workflow.apply"},
		{"audit", url.Values{"since": {future}}, 1, ""},
		{"audit", url.Values{}, 2, "token.create agent.enroll|workflow.apply"},
		{"audit", url.Values{"newest": {"true"}}, 2, "workflow.apply agent.enroll|token.create"},
		{"audit", url.Values{"newest": {"true"}, "after": {"1"}}, 2, "workflow.apply agent.enroll"},
	} {
		var pages []string
		switch path := "/api/v1/" + c.path; c.path {
		case "events":
			pages = pagesOf(t, s, path, c.query, c.size, event)
		case "runs":
			pages = pagesOf(t, s, path, c.query, c.size, run)
		case "audit":
			pages = pagesOf(t, s, path, c.query, c.size, audit)
		}
		if got := strings.Join(pages, "|"); got != c.want {
			t.Errorf("%s %v by %d: %q, want %q", c.path, c.query, c.size, got, c.want)
		}
	}
	all, err := operatorapi.List[operatorapi.Event](t.Context(), s.Operator, "/api/v1/events", nil, 0)
	some, err2 := operatorapi.List[operatorapi.Event](t.Context(), s.Operator, "/api/v1/events", nil, 3)
	if len(all) != 7 || len(some) != 3 || err != nil || err2 != nil {
		t.Errorf("the client read %d of 7 events and %d of 3: %v, %v", len(all), len(some), err, err2)
	}
}

// TestPagesOfAgents holds the same of lists that come whole unless pages are asked for.
func TestPagesOfAgents(t *testing.T) {
	s := servertest.Start(t)
	for _, id := range []api.AgentID{"c", "a", "b"} {
		s.Enrol(api.Sensor, id, "host")
	}
	s.Enrol(api.Action, "d", "host")
	name := func(a operatorapi.Agent) string { return string(a.ID) }
	for want, query := range map[string]url.Values{
		"a b|c d": nil, "a b|c": {"type": {"sensor"}}, "a b|c ": {"type": {"sensor"}, "status": {"offline"}}, "": {"tag": {"none"}}, " ": {"plugin": {"none"}},
	} {
		if got := strings.Join(pagesOf(t, s, "/api/v1/agents", query, 2, name), "|"); got != strings.TrimSpace(want) {
			t.Errorf("%v: %q, want %q", query, got, want)
		}
	}
	var all []operatorapi.Agent
	if s.Do("GET", "/api/v1/agents", nil, &all); len(all) != 4 {
		t.Errorf("without pages %d agents of 4 are listed", len(all))
	}
}

// TestFiltersTakeTheirValuesAlone: a value that nothing can have is a mistake, and no empty list.
func TestFiltersTakeTheirValuesAlone(t *testing.T) {
	s := servertest.Start(t)
	for path, says := range map[string]string{
		"agents?status=banana": "online, draining, offline, lost, quarantined, revoked", "agents?status=Online": "must be one of", "agents?type=Sensor": "sensor, action",
		"runs?status=Failed": "queued, running, completed, failed, cancelled, escalated", "events?severity=banana": "low, medium, high, critical",
		"agents?status=": "", "agents?status=lost&type=action": "", "runs?status=escalated": "", "events?severity=low": "",
	} {
		resp := get(t, s, "/api/v1/"+path, nil)
		text, err := io.ReadAll(resp.Body)
		want := http.StatusOK
		if says != "" {
			want = http.StatusUnprocessableEntity
		}
		if err != nil || resp.StatusCode != want || !strings.Contains(string(text), says) {
			t.Errorf("%s: %s, %s, %v; want %d and %q", path, resp.Status, text, err, want, says)
		}
	}
}

// TestEntityTags holds that what a client has is not sent again, and that what has changed is.
func TestEntityTags(t *testing.T) {
	s := busy(t)
	for _, path := range []string{"/api/v1/runs", "/api/v1/workflows/clean", "/api/v1/agents/sensor-1", "/api/v1/openapi.json"} {
		first := get(t, s, path, nil)
		tag := first.Header.Get("ETag")
		again := get(t, s, path, http.Header{"If-None-Match": {`"other", ` + tag}})
		other := get(t, s, path, http.Header{"If-None-Match": {`"other"`}})
		if tag == "" || first.StatusCode != 200 || again.StatusCode != http.StatusNotModified || again.ContentLength > 0 || other.StatusCode != 200 {
			t.Errorf("%s: tag %q, then %s for it and %s for another", path, tag, again.Status, other.Status)
		}
	}
	tag := get(t, s, "/api/v1/runs", nil).Header.Get("ETag")
	run := s.Runs()[0].ID
	s.Do("POST", "/api/v1/runs/"+string(run)+"/cancel", nil, nil)
	if again := get(t, s, "/api/v1/runs", http.Header{"If-None-Match": {tag}}); again.StatusCode != 200 {
		t.Errorf("after a change: %s", again.Status)
	}
}

// TestApplyOverWhatWasSeen holds that a text replaces the version that its author has seen, and
// no other.
func TestApplyOverWhatWasSeen(t *testing.T) {
	s := servertest.Start(t)
	apply := func(text, name, value string) (version int, code api.Code) {
		t.Helper()
		var a operatorapi.Applied
		r := operatorapi.ApplyRequest{File: "w", Text: "name: clean\ntriggers:\n  - event: e\nactions:\n  - plugin: " + text + "\n", AllowMissing: true}
		err := s.Operator.With(name, value).Do(t.Context(), "POST", "/api/v1/workflows", nil, r, &a)
		var refusal *api.Error
		if errors.As(err, &refusal) && refusal.HTTPStatus != http.StatusPreconditionFailed {
			t.Errorf("%s: %s is refused with status %d, want 412", name, value, refusal.HTTPStatus)
		}
		return a.Version, api.CodeOf(err)
	}
	for _, c := range []struct {
		text, name, value string
		version           int
		code              api.Code
	}{
		{"a", "If-Match", `"v1"`, 0, api.CodeConflict},
		{"a", "If-Match", "*", 0, api.CodeConflict},
		{"a", "If-None-Match", "*", 1, ""},
		{"b", "If-None-Match", "*", 0, api.CodeConflict},
		{"b", "If-Match", `"v1"`, 2, ""},
		{"c", "If-Match", `"v1"`, 0, api.CodeConflict},
		{"c", "If-Match", `"v1", "v2"`, 3, ""},
		{"d", "If-Match", "*", 4, ""},
		{"e", "X-Other", "", 5, ""},
	} {
		if version, code := apply(c.text, c.name, c.value); version != c.version || code != c.code {
			t.Errorf("plugin %s with %s: %s is version %d, %q; want %d, %q", c.text, c.name, c.value, version, code, c.version, c.code)
		}
	}
	if tag := get(t, s, "/api/v1/workflows/clean", nil).Header.Get("ETag"); tag != `"v5"` {
		t.Errorf("version 5 has the tag %s", tag)
	}
}

// eventsOf reads a stream of server-sent events until it ends or has n data lines.
func eventsOf(t *testing.T, s *servertest.Server, path, last string, n int) (ids []string, text string) {
	t.Helper()
	header := http.Header{"Accept": {"text/event-stream"}}
	if last != "" {
		header.Set("Last-Event-ID", last)
	}
	resp := get(t, s, path, header)
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatalf("%s: %s %s", path, resp.Status, got)
	}
	var out strings.Builder
	buf := make([]byte, 4096)
	for {
		k, err := resp.Body.Read(buf)
		out.Write(buf[:k])
		if strings.Count(out.String(), "\n\n") >= n || err != nil {
			break
		}
	}
	for line := range strings.Lines(out.String()) {
		if id, ok := strings.CutPrefix(line, "id: "); ok {
			ids = append(ids, strings.TrimSpace(id))
		}
	}
	return ids, out.String()
}

// TestServerSentEvents holds that streams come as server-sent events to who asks, and go on
// after what a client saw last.
func TestServerSentEvents(t *testing.T) {
	s := busy(t)
	ids, text := eventsOf(t, s, "/api/v1/events/follow?tail=3", "", 3)
	if !slices.Equal(ids, []string{"5", "6", "7"}) || !strings.Contains(text, `data: {"seq":7,"id":"E6",`) {
		t.Errorf("the last three events: %v\n%s", ids, text)
	}
	if ids, _ = eventsOf(t, s, "/api/v1/events/follow", "2", 5); !slices.Equal(ids, []string{"3", "4", "5", "6", "7"}) {
		t.Errorf("after event 2: %v", ids)
	}
	run := string(s.Runs()[0].ID)
	s.Do("POST", "/api/v1/runs/"+run+"/cancel", nil, nil)
	ids, text = eventsOf(t, s, "/api/v1/runs/"+run+"/follow", "1", 1000)
	if len(ids) == 0 || ids[0] != "2" || !strings.HasSuffix(text, "\n\nevent: end\ndata: {}\n\n") {
		t.Errorf("the history of a run that has ended, after 1: %v\n%s", ids, text)
	}
	for _, bad := range []string{"x", "-1"} {
		if resp := get(t, s, "/api/v1/events/follow", http.Header{"Last-Event-Id": {bad}}); resp.StatusCode != 422 && resp.StatusCode != 400 {
			t.Errorf("Last-Event-ID %s: %s", bad, resp.Status)
		}
	}
}

// TestFollowersGoOn holds that a follower of lines says with cursor what it has.
func TestFollowersGoOn(t *testing.T) {
	s := busy(t)
	var got []api.EventID
	err := s.Operator.Follow(t.Context(), "/api/v1/events/follow", url.Values{"cursor": {"5"}}, func(line json.RawMessage) error {
		var e operatorapi.Event
		if err := json.Unmarshal(line, &e); err != nil {
			return err
		}
		if got = append(got, e.ID); len(got) == 2 {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) || sprint(got) != "[E5 E6]" {
		t.Errorf("after 5: %v, %v", got, err)
	}
}
