package api_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

var (
	enrolled    = api.EnrollResponse{AgentID: agentID, OrganizationID: "acme", CertificatePEM: "cert", CAPEM: "ca"}
	instruction = api.Instruction{ID: "01J9", AgentID: agentID, PluginID: "disk-cleaner", Attempt: 1, Lease: "l"}
	batch       = api.EventBatch{Stream: api.Stream{Epoch: "e"}, Events: []api.Event{{Seq: 1, ID: "01J1"}, {Seq: 2, ID: "01J2"}}}
	logs        = api.LogBatch{Logs: []api.LogEntry{{Message: "hello"}}}
)

// wire is a call with what must go over the wire for it and come back.
type wire struct {
	name     string
	invoke   func(context.Context, *api.Client) (any, error)
	request  string // method and URI
	body     any    // nil for none
	response any
}

// mayBeEmpty reports whether 204 is an answer to the call.
func (w wire) mayBeEmpty() bool {
	return w.name == "Heartbeat" || w.name == "Poll" || w.name == "Assignments"
}

var assigned = api.AssignedPlugin{
	ID: "disk-cleaner", Version: "1.2.0", Type: "action", Digest: "sha256:" + strings.Repeat("0f", 32),
	TreeDigest: "sha256:" + strings.Repeat("a1", 32), Size: 12, Signer: "release", Approved: true,
}

var calls = []wire{
	{"Enroll", func(ctx context.Context, c *api.Client) (any, error) {
		return c.Enroll(ctx, " svt_secret\n", api.EnrollRequest{AgentID: agentID, CSRPEM: "csr"})
	}, "POST /agents/v1/enroll", api.EnrollRequest{AgentID: agentID, CSRPEM: "csr"}, enrolled},
	{"Renew", func(ctx context.Context, c *api.Client) (any, error) {
		return c.Renew(ctx, api.CertificateRequest{CSRPEM: "csr"})
	}, "POST /agents/v1/web-01/certificate", api.CertificateRequest{CSRPEM: "csr"}, enrolled},
	{"Refresh", func(ctx context.Context, c *api.Client) (any, error) { return c.Refresh(ctx) },
		"POST /agents/v1/web-01/token", nil, api.TokenResponse{Token: "a.b.c", ExpiresAt: now}},
	{"Heartbeat", func(ctx context.Context, c *api.Client) (any, error) {
		return c.Heartbeat(ctx, api.Heartbeat{Timestamp: now, Status: "online"})
	}, "POST /agents/v1/web-01/heartbeat", api.Heartbeat{Timestamp: now, Status: "online"}, api.HeartbeatResponse{ServerTime: now, ConfigVersion: "7"}},
	{"Poll", func(ctx context.Context, c *api.Client) (any, error) {
		return c.Poll(ctx, 1500*time.Millisecond, 4)
	}, "GET /agents/v1/web-01/instructions?max=4&wait=2", nil,
		api.PollResponse{Instruction: &instruction, Instructions: []api.Instruction{instruction}, Status: api.StatusDelivered, NextPollInterval: 5}},
	{"Progress", func(ctx context.Context, c *api.Client) (any, error) {
		return c.Progress(ctx, "01J9", api.Progress{Status: api.Executing, Attempt: 1, Lease: "l"})
	}, "PUT /agents/v1/web-01/instructions/01J9", api.Progress{Status: api.Executing, Attempt: 1, Lease: "l"},
		api.ProgressResponse{Success: true, InstructionID: "01J9", UpdatedFields: []string{"status"}, LeaseExpiresAt: now, Cancel: true}},
	{"Result", func(ctx context.Context, c *api.Client) (any, error) {
		return c.Result(ctx, "01J9", api.Result{Status: api.Completed})
	}, "POST /agents/v1/web-01/instructions/01J9/result", api.Result{Status: api.Completed}, api.ResultResponse{Acknowledged: true}},
	{"Events", func(ctx context.Context, c *api.Client) (any, error) {
		return c.Events(ctx, batch)
	}, "POST /agents/v1/web-01/events", batch,
		api.EventBatchResponse{AckedThrough: 1, Events: []api.EventOutcome{{Seq: 2, ID: "01J2", Status: api.EventRejected, Reason: "too big"}}}},
	{"Logs", func(ctx context.Context, c *api.Client) (any, error) {
		return c.Logs(ctx, logs)
	}, "POST /agents/v1/web-01/logs", logs, api.LogBatchResponse{Accepted: 1}},
	{"Monitors", func(ctx context.Context, c *api.Client) (any, error) { return c.Monitors(ctx) },
		"GET /agents/v1/web-01/monitors", nil, api.Monitors{Version: "v2", Monitors: []api.DesiredMonitor{{Name: "w.disk", Plugin: "disk", Version: "^1", Interval: 30, Config: map[string]json.RawMessage{"a": json.RawMessage("1")}, Workflow: "w"}}}},
	{"Assignments", func(ctx context.Context, c *api.Client) (any, error) {
		a, _, err := c.Assignments(ctx, "v1", 1500*time.Millisecond)
		return a, err
	}, "GET /agents/v1/web-01/plugins?version=v1&wait=2", nil, api.Assignments{Version: "v2", Plugins: []api.AssignedPlugin{assigned}}},
}

func TestCalls(t *testing.T) {
	for _, k := range calls {
		t.Run(k.name, func(t *testing.T) {
			var got *http.Request
			var body []byte
			_, c := both(t, func(w http.ResponseWriter, r *http.Request) {
				got = r
				body, _ = io.ReadAll(r.Body)
				reply(w, http.StatusOK, k.response)
			}, func(o *api.ClientOptions) { o.BaseURL += "/"; o.UserAgent = "action-agent/1.2" })
			answer, err := k.invoke(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(k.response, answer); diff != "" {
				t.Errorf("answer (-sent +got):\n%s", diff)
			}
			if request := got.Method + " " + got.RequestURI; request != k.request {
				t.Errorf("request %q, want %q", request, k.request)
			}
			if want, err := json.Marshal(k.body); k.body != nil && (err != nil || !bytes.Equal(body, want)) || k.body == nil && len(body) > 0 {
				t.Errorf("body %s, want %s", body, want)
			}
			if got.Proto != "HTTP/2.0" {
				t.Errorf("protocol %s, want HTTP/2.0", got.Proto)
			}
			if ua := got.Header.Get("User-Agent"); ua != "action-agent/1.2" {
				t.Errorf("User-Agent %q", ua)
			}
			if id := got.Header.Get("X-Request-Id"); len(id) < 20 {
				t.Errorf("X-Request-Id %q, want a random one", id)
			}
			token := ""
			if k.name == "Enroll" {
				token = "Bearer svt_secret"
			}
			if auth := got.Header.Get("Authorization"); auth != token {
				t.Errorf("Authorization %q, want %q", auth, token)
			}
		})
	}
}

func TestEmptyAnswers(t *testing.T) {
	_, c := both(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	for _, k := range calls {
		_, err := k.invoke(t.Context(), c)
		if (err == nil) != k.mayBeEmpty() {
			t.Errorf("%s answered with 204: %v, allowed: %v", k.name, err, k.mayBeEmpty())
		}
	}
	if r, err := c.Poll(t.Context(), time.Second, 1); err != nil || len(r.Offers()) != 0 || r.Status != api.StatusNoInstructions {
		t.Errorf("Poll = %+v, %v, want no instructions", r, err)
	}
}

// TestAnswersThatAreNoSuccess: 200 and JSON, and yet not what was asked for.
func TestAnswersThatAreNoSuccess(t *testing.T) {
	for _, k := range []struct{ call, answer, word string }{
		{"Enroll", `{"agent_id":"web-02","organization_id":"acme","certificate_pem":"c","ca_pem":"c"}`, "web-02"},
		{"Enroll", `{"agent_id":"web-01","organization_id":"acme","ca_pem":"c"}`, "certificate_pem"},
		{"Renew", `{"agent_id":"web-01","organization_id":"../acme","certificate_pem":"c","ca_pem":"c"}`, "organization id"},
		{"Heartbeat", `{"config_version":"1"}`, "server_time"},
		{"Poll", `{}`, "status"},
		{"Poll", `{"status":"instruction_delivered","instruction":null}`, "0 instructions"},
		{"Poll", `{"status":"no_pending_instructions","instruction":{"id":"a","agent_id":"web-01"}}`, "1 instructions"},
		{"Poll", `{"status":"instruction_delivered","instruction":{"id":"a","agent_id":"web-02"}}`, "web-02"},
		{"Poll", `{"status":"instruction_delivered","instruction":{"id":"../a","agent_id":"web-01"}}`, "instruction id"},
		{"Poll", `{"status":"instruction_delivered","instructions":[` + strings.Repeat(`{"id":"a","agent_id":"web-01"},`, 4) + `{"id":"a","agent_id":"web-01"}]}`, "at most 4"},
		{"Poll", `{"status":"no_pending_instructions","instructions":"none"}`, "must be a list"},
		{"Progress", `{"success":false,"instruction_id":"01J9"}`, "success is false"},
		{"Progress", `{"success":true,"instruction_id":"01J8"}`, "01J8"},
		{"Result", `{"acknowledged":false}`, "acknowledged"},
		{"Events", `{"acked_through":1,"events":[]}`, "01J2"},
		{"Events", `{"acked_through":2,"events":[{"id":"01J2","status":"perhaps"}]}`, "perhaps"},
		{"Logs", `{"accepted":2}`, "2 of 1"},
		{"Assignments", `{"plugins":[]}`, "version is missing"},
		{"Monitors", `{"monitors":[{"name":"../x","plugin":"p","interval_seconds":1,"workflow":"w"}]}`, "plugin id"},
		{"Monitors", `{"monitors":[{"name":"x","plugin":"/p","interval_seconds":1,"workflow":"w"}]}`, "plugin id"},
		{"Monitors", `{"monitors":[{"name":"x","plugin":"p","interval_seconds":0.1,"workflow":"w"}]}`, "1 to 86400"},
		{"Monitors", `{"monitors":[{"name":"x","plugin":"p","interval_seconds":1},{"name":"x","plugin":"p","interval_seconds":1}]}`, "wanted twice"},
		{"Monitors", `{"monitors":[` + strings.Repeat(`{},`, 100) + `{}]}`, "more than 100"},
		{"Assignments", `{"version":"v2","plugins":[{"id":"../x","version":"1.0.0","size":1}]}`, "plugin id"},
		{"Assignments", `{"version":"v2","plugins":[{"id":"x","version":"-o/..","size":1}]}`, "plugin version"},
		{"Assignments", `{"version":"v2","plugins":[{"id":"x","version":"1.0.0","size":1,"digest":"sha256:0F"}]}`, "64 hex digits"},
		{"Assignments", `{"version":"v2","plugins":[{"id":"x","version":"1.0.0","size":67108865}]}`, "67108865 bytes"},
		{"Assignments", `{"version":"v2","plugins":[` + strings.Repeat(`{},`, 64) + `{}]}`, "more than 64"},
		{"Logs", `null`, "must be an object"},
		{"Logs", `{"accepted":1}{}`, "after the document"},
		{"Logs", ``, "ends after 0 bytes"},
	} {
		_, c := both(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, k.answer)
		})
		i := slices.IndexFunc(calls, func(w wire) bool { return w.name == k.call })
		_, err := calls[i].invoke(t.Context(), c)
		if u := (*api.UnreachableError)(nil); !errors.As(err, &u) || u.Kind != api.KindNotStavily || !strings.Contains(err.Error(), k.word) {
			t.Errorf("%s answered with %.100s: %v, want %s with %q", k.call, k.answer, err, api.KindNotStavily, k.word)
		}
	}
}

func TestRefusals(t *testing.T) {
	sent := &api.Error{Code: api.CodeIdentityMismatch, Message: "This is \x1b[31mnot\u202e you.\nEnrol again.", RequestID: "r-1"}
	_, c := both(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		reply(w, http.StatusForbidden, api.ErrorBody{Error: sent})
	})
	for _, k := range calls {
		_, err := k.invoke(t.Context(), c)
		var got *api.Error
		if !errors.As(err, &got) {
			t.Fatalf("%s: %v, want an *api.Error", k.name, err)
		}
		want := &api.Error{Code: api.CodeIdentityMismatch, Message: "This is  [31mnot  you. Enrol again.", RequestID: "r-1", HTTPStatus: 403, RetryAfter: 7 * time.Second}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", k.name, diff)
		}
		if api.Retryable(err) {
			t.Errorf("%s: a 403 is retryable", k.name)
		}
	}
}

func TestBadArguments(t *testing.T) {
	s := newStand(t)
	good := api.ClientOptions{BaseURL: "https://stavily.test:8443", TLS: s.client, Agent: agentID}
	for name, spoil := range map[string]func(*api.ClientOptions){
		"http":          func(o *api.ClientOptions) { o.BaseURL = "http://stavily.test" },
		"no URL":        func(o *api.ClientOptions) { o.BaseURL = "" },
		"no host":       func(o *api.ClientOptions) { o.BaseURL = "https://:8443" },
		"no scheme":     func(o *api.ClientOptions) { o.BaseURL = "stavily.test:8443" },
		"a password":    func(o *api.ClientOptions) { o.BaseURL = "https://a:b@stavily.test" },
		"a query":       func(o *api.ClientOptions) { o.BaseURL = "https://stavily.test?x=1" },
		"no TLS":        func(o *api.ClientOptions) { o.TLS = nil },
		"no agent":      func(o *api.ClientOptions) { o.Agent = "" },
		"a path for id": func(o *api.ClientOptions) { o.Agent = "../web-02" },
	} {
		o := good
		spoil(&o)
		if _, err := api.NewClient(o); err == nil {
			t.Errorf("%s: NewClient = nil, want an error", name)
		}
	}
	c := dial(t, good.BaseURL, s.client)
	api.AnswerWith(c, roundTrip(func(*http.Request) (*http.Response, error) {
		t.Error("a request was sent")
		return nil, io.EOF
	}))
	for _, token := range []string{"", " ", "a b", "a\r\nX-Evil: 1", "ключ"} {
		_, err := c.Enroll(t.Context(), token, api.EnrollRequest{})
		if err == nil {
			t.Errorf("Enroll with token %q = nil, want an error", token)
		}
		if err != nil && len(token) > 1 && strings.Contains(err.Error(), token) {
			t.Errorf("Enroll with token %q repeats it: %v", token, err)
		}
	}
	for _, id := range []api.InstructionID{"", "..", "a/b", "a?b"} {
		if _, err := c.Result(t.Context(), id, api.Result{}); err == nil {
			t.Errorf("Result of instruction %q = nil, want an error", id)
		}
	}
}

// roundTrip is a transport without a network.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestLargeBatchesAreCompressed(t *testing.T) {
	large := api.EventBatch{Stream: api.Stream{Epoch: "e"}}
	for i := range 500 {
		large.Events = append(large.Events, api.Event{Seq: uint64(i + 1), ID: api.EventID(fmt.Sprintf("01J%d", i)), Type: "disk.space.high"})
	}
	var encodings []string
	var got api.EventBatch
	_, c := both(t, func(w http.ResponseWriter, r *http.Request) {
		encodings = append(encodings, r.Header.Get("Content-Encoding"))
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			zr, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			body = zr
		}
		got = api.EventBatch{}
		if err := json.NewDecoder(body).Decode(&got); err != nil {
			t.Error(err)
		}
		reply(w, http.StatusOK, api.EventBatchResponse{AckedThrough: 500})
	})
	for _, b := range []api.EventBatch{batch, large} {
		if _, err := c.Events(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(b, got); diff != "" {
			t.Errorf("batch (-sent +received):\n%s", diff)
		}
	}
	if diff := cmp.Diff([]string{"", "gzip"}, encodings); diff != "" {
		t.Errorf("Content-Encoding of a small and a large batch (-want +got):\n%s", diff)
	}
}

// TestLongMessagesDoNotCostAHeartbeat: they are cut where they are too long, and the
// caller's are as they were.
func TestLongMessagesDoNotCostAHeartbeat(t *testing.T) {
	var got api.Heartbeat
	_, c := both(t, func(w http.ResponseWriter, r *http.Request) {
		got = api.Heartbeat{}
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		reply(w, http.StatusOK, api.HeartbeatResponse{ServerTime: now})
	})
	long := strings.Repeat("ü", 5000)
	sent := api.Heartbeat{
		Timestamp: now, Status: "online", Plugins: []api.PluginInfo{{ID: "a", Message: long}, {ID: "b", Message: "short"}},
		Assigned: []api.AssignedState{{ID: "a", Message: long}}, Monitors: []api.MonitorInfo{{Name: "m", Message: long}},
		Health: &api.Health{Status: "degraded", Conditions: []api.Condition{{Name: "c", Message: long, Remedy: long}}},
	}
	if _, err := c.Heartbeat(t.Context(), sent); err != nil {
		t.Fatal(err)
	}
	for _, message := range []string{got.Plugins[0].Message, got.Assigned[0].Message, got.Monitors[0].Message, got.Health.Conditions[0].Message, got.Health.Conditions[0].Remedy} {
		if len(message) > api.MaxHeartbeatMessage || len(message) < api.MaxHeartbeatMessage-8 || !strings.HasSuffix(message, "ü…") {
			t.Errorf("a message of %d bytes arrives as one of %d", len(long), len(message))
		}
	}
	if got.Plugins[1].Message != "short" || sent.Plugins[0].Message != long || sent.Health.Conditions[0].Message != long {
		t.Error("a short message, or the caller's, was changed")
	}
}

// limited is a client with a rate limit, whose calls take no time.
func limited(t *testing.T, perSecond float64, burst int) *api.Client {
	t.Helper()
	c, err := api.NewClient(api.ClientOptions{BaseURL: "https://stavily.test", TLS: &tls.Config{}, Agent: agentID, RequestsPerSecond: perSecond, Burst: burst})
	if err != nil {
		t.Fatal(err)
	}
	api.AnswerWith(c, roundTrip(func(r *http.Request) (*http.Response, error) {
		var body any = api.LogBatchResponse{Accepted: 1}
		switch {
		case strings.HasSuffix(r.URL.Path, "/heartbeat"):
			body = api.HeartbeatResponse{ServerTime: now}
		case strings.HasSuffix(r.URL.Path, "/result"):
			body = api.ResultResponse{Acknowledged: true}
		}
		return answer(http.StatusOK, body), nil
	}))
	return c
}

// takes is how long so many calls take.
func takes(t *testing.T, calls int, call func() error) time.Duration {
	t.Helper()
	begin := time.Now()
	for range calls {
		if err := call(); err != nil {
			t.Fatal(err)
		}
	}
	return time.Since(begin)
}

func TestRateLimitSparesHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := limited(t, 2, 3)
		if d := takes(t, 7, func() error { _, err := c.Logs(t.Context(), logs); return err }); d != 2*time.Second {
			t.Errorf("7 calls at 2 a second after a burst of 3 took %v, want 2s", d)
		}
		if d := takes(t, 7, func() error { return beat(t.Context(), c) }); d != 0 {
			t.Errorf("7 heartbeats took %v, want no wait", d)
		}
	})
}

// What was done is told at once, and what is to be done next waits for that: otherwise results wait
// behind claims, of which there are always more, until their leases are over.
func TestResultsWaitForNoRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := limited(t, 2, 1)
		if d := takes(t, 6, func() error { _, err := c.Result(t.Context(), "i1", api.Result{}); return err }); d != 0 {
			t.Errorf("6 results took %v, want no wait", d)
		}
		if d := takes(t, 1, func() error { _, err := c.Logs(t.Context(), logs); return err }); d != 3*time.Second {
			t.Errorf("a call after 6 results at 2 a second waited for %v, want 3s", d)
		}
	})
}

func answer(status int, v any) *http.Response {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(b))}
}

func TestLongPollIsNotCut(t *testing.T) {
	const timeout = 300 * time.Millisecond
	hold := make(chan time.Duration, 1)
	_, c := both(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(<-hold):
			w.WriteHeader(http.StatusNoContent)
		case <-r.Context().Done():
		}
	}, within(timeout))
	hold <- 3 * timeout
	if _, err := c.Poll(t.Context(), time.Second, 1); err != nil {
		t.Errorf("a poll held for %v of 1s: %v", 3*timeout, err)
	}
	hold <- time.Hour
	begin := time.Now()
	_, err := c.Poll(t.Context(), time.Second, 1)
	if u := (*api.UnreachableError)(nil); !errors.As(err, &u) || u.Kind != api.KindNetwork {
		t.Errorf("a poll that is never answered: %v, want a network error", err)
	}
	if d := time.Since(begin); d < time.Second+timeout {
		t.Errorf("gave up after %v, want wait + timeout", d)
	}
}

func TestOneConnection(t *testing.T) {
	srv, c := both(t, alive)
	if err := beat(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if err := beat(t.Context(), c); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := srv.connections.Load(); n != 1 {
		t.Errorf("51 calls over %d connections, want 1", n)
	}
}

// TestServerWithoutHTTP2: a heartbeat passes while a poll is open, on a connection of
// its own.
func TestServerWithoutHTTP2(t *testing.T) {
	s := newStand(t)
	conf := s.server.Clone()
	conf.NextProtos = []string{"http/1.1"}
	polling, release := make(chan struct{}), make(chan struct{})
	srv := serve(t, conf, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			close(polling)
			<-release
			w.WriteHeader(http.StatusNoContent)
			return
		}
		alive(w, r)
	}))
	c := dial(t, srv.url, s.client)
	polled := make(chan error)
	go func() {
		_, err := c.Poll(t.Context(), 30*time.Second, 1)
		polled <- err
	}()
	<-polling
	if err := beat(t.Context(), c); err != nil {
		t.Error(err)
	}
	close(release)
	if err := <-polled; err != nil {
		t.Error(err)
	}
}

// TestReconnect renews a certificate under an open poll: the poll stays, and the
// next call shows the new certificate.
func TestReconnect(t *testing.T) {
	s := newStand(t)
	serials := make(chan string, 2)
	release := make(chan struct{})
	srv := serve(t, s.server, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serials <- r.TLS.PeerCertificates[0].SerialNumber.String()
		if r.Method == http.MethodGet {
			<-release
			w.WriteHeader(http.StatusNoContent)
			return
		}
		alive(w, r)
	}))
	c := dial(t, srv.url, s.client)
	polled := make(chan error)
	go func() {
		_, err := c.Poll(t.Context(), 30*time.Second, 1)
		polled <- err
	}()
	first := <-serials
	renewed := s.ca.Issue(pkitest.Agent(agentURI))
	c.Reconnect(s.ca.ClientTLS(renewed))
	if err := beat(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if second := <-serials; second == first || second != renewed.Leaf.SerialNumber.String() {
		t.Errorf("after Reconnect the certificate is %s, want the renewed one", second)
	}
	close(release)
	if err := <-polled; err != nil {
		t.Errorf("the open poll: %v", err)
	}
}

// TestCallsThatARenewalOvertakes: a call on its way with the old certificate, which the
// server refuses because it has seen the new one, is made again; one that is refused
// with the certificate in use is not.
func TestCallsThatARenewalOvertakes(t *testing.T) {
	s := newStand(t)
	renewed := s.ca.Issue(pkitest.Agent(agentURI))
	arrived, release := make(chan struct{}, 4), make(chan struct{})
	var refusedAlways atomic.Bool
	srv := serve(t, s.server, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		if !refusedAlways.Load() && r.TLS.PeerCertificates[0].Equal(renewed.Leaf) {
			alive(w, r)
			return
		}
		<-release
		e := api.Errorf(api.CodeBadCertificate, "superseded")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(e.Status())
		_ = json.NewEncoder(w).Encode(api.ErrorBody{Error: e})
	}))
	c := dial(t, srv.url, s.client)
	beaten := make(chan error)
	go func() { beaten <- beat(t.Context(), c) }()
	<-arrived
	c.Reconnect(s.ca.ClientTLS(renewed))
	close(release)
	if err := <-beaten; err != nil || len(arrived) != 1 {
		t.Errorf("the call that was overtaken: %v after %d more requests, want success after one", err, len(arrived))
	}
	refusedAlways.Store(true)
	for len(arrived) > 0 {
		<-arrived
	}
	if err := beat(t.Context(), c); api.CodeOf(err) != api.CodeBadCertificate || len(arrived) != 1 {
		t.Errorf("a certificate that is refused: %v after %d requests, want the refusal after one", err, len(arrived))
	}
}

// TestDeadConnection: a path that swallows packets without a word ends a long poll
// when a ping gets no answer, not when the poll's time is over.
func TestDeadConnection(t *testing.T) {
	s := newStand(t)
	arrived := make(chan struct{})
	srv := serve(t, s.server, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	}))
	relay := newRelay(t, strings.TrimPrefix(srv.url, "https://"))
	c := dial(t, "https://"+relay.addr, s.client)
	api.ReconnectWith(c, s.client, 100*time.Millisecond, 100*time.Millisecond, time.Second)
	begin := time.Now()
	failed := make(chan error)
	go func() {
		_, err := c.Poll(t.Context(), time.Minute, 1)
		failed <- err
	}()
	<-arrived
	relay.swallow()
	err := <-failed
	if u := (*api.UnreachableError)(nil); !errors.As(err, &u) || u.Kind != api.KindNetwork {
		t.Errorf("%v, want a network error", err)
	}
	if d := time.Since(begin); d > 20*time.Second {
		t.Errorf("noticed after %v", d)
	}
}

// relay copies TCP to a target until it is told to swallow everything.
type relay struct {
	addr string
	dead chan struct{}
}

func (r *relay) swallow() { close(r.dead) }

func newRelay(t *testing.T, target string) *relay {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{addr: l.Addr().String(), dead: make(chan struct{})}
	var all sync.WaitGroup
	pump := func(to, from net.Conn) {
		defer to.Close()
		buf := make([]byte, 4096)
		for {
			n, err := from.Read(buf)
			select {
			case <-r.dead:
				io.Copy(io.Discard, from)
				return
			default:
			}
			if err != nil {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
	}
	all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				in.Close()
				return
			}
			all.Go(func() { pump(in, out) })
			all.Go(func() { pump(out, in) })
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return r
}

func TestCancelledCallsSayCancelled(t *testing.T) {
	arrived := make(chan struct{}, 1)
	_, c := both(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	_, err := c.Poll(ctx, time.Minute, 1)
	if !errors.Is(err, context.Canceled) || errors.As(err, new(*api.UnreachableError)) || api.Retryable(err) {
		t.Errorf("%v, want the context's error, which is not retryable", err)
	}
}

// A running client calls as often and as long as it is told now.
func TestTune(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := api.NewClient(api.ClientOptions{BaseURL: "https://stavily.test", TLS: &tls.Config{}, Agent: agentID, RequestsPerSecond: 1000, Burst: 1000})
		if err != nil {
			t.Fatal(err)
		}
		api.AnswerWith(c, roundTrip(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}))
		took := func() time.Duration {
			begin := time.Now()
			if _, err := c.Logs(t.Context(), logs); err == nil {
				t.Error("a call without an answer succeeds")
			}
			return time.Since(begin)
		}
		if d := took(); d != api.DefaultTimeout {
			t.Errorf("a call took %v, want %v", d, api.DefaultTimeout)
		}
		c.Tune(3*time.Second, 1, 1)
		took()
		if d := took(); d != 3*time.Second {
			t.Errorf("a call took %v, want 3s after what the limiter makes it wait", d)
		}
	})
}
