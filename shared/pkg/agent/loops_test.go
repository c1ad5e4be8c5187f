package agent

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

func numbered(n int) api.LogEntry { return api.LogEntry{Level: "info", Message: strconv.Itoa(n)} }

// A plugin that floods loses the oldest copies, and never waits.
func TestLogsGiveWayOldestFirst(t *testing.T) {
	dropped := 0
	u := newLogUpload(func() { dropped++ }, &api.Backoff{})
	for n := range logBuffer + 10 {
		u.add(numbered(n)) // nobody takes them: where this blocked, the test would hang
	}
	if first := <-u.queue; dropped != 10 || first.Message != "10" {
		t.Errorf("%d dropped, %s is the oldest left; want 10 and 10", dropped, first.Message)
	}
}

func TestLogsTravelInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dropped atomic.Int64
		u := newLogUpload(func() { dropped.Add(1) }, &api.Backoff{})
		var batches []api.LogBatch
		var at []time.Time
		answer := error(nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- u.run(ctx, func(_ context.Context, b api.LogBatch) error {
				batches, at = append(batches, b), append(at, time.Now())
				err := answer
				if api.Retryable(err) {
					answer = nil
				}
				return err
			})
		}()
		pass := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		begin := time.Now()
		u.add(numbered(0))
		pass(logLinger / 2)
		u.add(numbered(1))
		pass(logLinger)
		if len(batches) != 1 || len(batches[0].Logs) != 2 || at[0].Sub(begin) != logLinger {
			t.Fatalf("%d batches at %v, want one of two lines after %v", len(batches), at, logLinger)
		}
		begin = time.Now()
		for n := range api.MaxLogLines + 1 {
			u.add(numbered(n))
		}
		pass(2 * logLinger)
		if len(batches) != 3 || len(batches[1].Logs) != api.MaxLogLines || at[1] != begin || len(batches[2].Logs) != 1 {
			t.Errorf("%d batches at %v, want a full one at once and a rest", len(batches), at)
		}

		// Lines of the longest kind: no batch is over what one request may have.
		batches = nil
		for range 200 {
			u.add(api.LogEntry{Level: "info", Message: strings.Repeat("\x01", api.MaxLogLineBytes)})
		}
		pass(time.Minute)
		total := 0
		for _, b := range batches {
			text, err := json.Marshal(b)
			if err != nil || len(text) > api.MaxBatchBytes {
				t.Errorf("a batch has %d bytes, %v", len(text), err)
			}
			total += len(b.Logs)
		}
		if total != 200 || dropped.Load() != 0 {
			t.Errorf("%d lines sent and %d dropped, want all 200", total, dropped.Load())
		}

		batches, answer = nil, &api.UnreachableError{Kind: api.KindNetwork}
		u.add(numbered(0))
		pass(2 * time.Second)
		u.add(numbered(1))
		pass(time.Second)
		if len(batches) != 3 || !reflect.DeepEqual(batches[0], batches[1]) || batches[2].From != batches[1].From+1 || batches[2].Stream != batches[1].Stream || dropped.Load() != 0 {
			t.Errorf("sent %+v, %d dropped: want a batch twice, and another one with the next number", batches, dropped.Load())
		}

		answer = errors.New("away")
		u.add(numbered(1))
		u.add(numbered(2))
		pass(time.Second)
		if dropped.Load() != 2 {
			t.Errorf("%d lines counted as dropped, want the 2 that could not be sent", dropped.Load())
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run = %v, want nil after its context ended", err)
		}
	})
}

// Only a change of the connection is logged; the condition says how it is.
func TestContactIsLoggedWhenItChanges(t *testing.T) {
	rt, log := testRuntime(t, api.Sensor)
	away, gone := &api.UnreachableError{Kind: api.KindNetwork}, api.Errorf(api.CodeRevoked, "revoked")
	for _, c := range []struct {
		err   error
		lines int
		holds string
	}{
		{context.Canceled, 0, ""},
		{away, 1, conditionOffline}, // the first call of all fails
		{away, 1, conditionOffline},
		{nil, 2, ""},
		{nil, 2, ""},
		{api.Errorf(api.CodeConflict, "stale"), 2, ""},
		{gone, 3, conditionRefused},
		{gone, 3, conditionRefused},
		{away, 4, conditionOffline},
		{context.Canceled, 4, conditionOffline},
		{nil, 5, ""},
	} {
		rt.NoteContact(c.err)
		if n := strings.Count(log.String(), "\n"); n != c.lines {
			t.Errorf("after %v: %d lines, want %d:\n%s", c.err, n, c.lines, log)
		}
		for _, name := range []string{conditionOffline, conditionRefused} {
			// One that refuses may go on refusing while nobody answers.
			if held := condition(rt, name) != nil; held != (name == c.holds) && !(name == conditionRefused && c.holds == conditionOffline) {
				t.Errorf("after %v: %s holds: %v, want %q", c.err, name, held, c.holds)
			}
		}
		if ready, _ := rt.Health.Ready(); c.holds == conditionRefused && ready {
			t.Error("an agent that is refused is ready")
		}
	}
}

func TestClockSkew(t *testing.T) {
	rt, _ := testRuntime(t, api.Sensor)
	sent := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	received := sent.Add(20 * time.Second) // a slow answer is no skew
	for _, c := range []struct {
		server time.Time
		skewed bool
	}{
		{sent.Add(10*time.Second + maxSkew), false},
		{sent.Add(11*time.Second + maxSkew), true},
		{sent.Add(9*time.Second - maxSkew), true},
		{sent.Add(10 * time.Second), false},
		{sent.Add(time.Hour), true},
		{time.Time{}, false}, // an answer without a time
	} {
		rt.noteSkew(sent, received, c.server)
		if got := condition(rt, "clock_skew"); (got != nil) != c.skewed {
			t.Errorf("server at %v: condition %+v, want %v", c.server, got, c.skewed)
		}
	}
}

// Heartbeats come at once, when asked for, and to say goodbye.
func TestHeartbeat(t *testing.T) {
	ca := pkitest.New(t, "ca")
	beats := make(chan api.Heartbeat, 10)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var beat api.Heartbeat
		if err := json.NewDecoder(r.Body).Decode(&beat); err != nil || r.TLS.PeerCertificates[0].URIs[0].Path != "/org/acme/sensor/web-01" {
			t.Errorf("%s: %v from %v", r.URL, err, r.TLS.PeerCertificates)
		}
		beats <- beat
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(api.HeartbeatResponse{ServerTime: api.At(time.Now().Add(time.Hour + time.Second/2)), ConfigVersion: "1", HeartbeatSeconds: 300})
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Issue(pkitest.Server())}, ClientCAs: ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert}
	server.StartTLS()
	defer server.Close()

	rt, _ := testRuntime(t, api.Sensor, "STAVILY_API_BASE_URL="+server.URL, "STAVILY_AGENT_HEARTBEAT_INTERVAL=1s")
	enrolled(t, rt.Config(), ca, "acme/sensor/web-01")
	var err error
	if rt.identity, err = rt.loadIdentity(); err != nil {
		t.Fatal(err)
	}
	if rt.API, err = rt.connect(rt.identity); err != nil {
		t.Fatal(err)
	}
	defer rt.API.CloseIdle()
	rt.Plugins = &Plugins{rt: rt, posture: api.Posture{Level: "limited"}}
	var state atomic.Value // of the monitor
	state.Store("running")
	rt.ReportMonitors(func() []api.MonitorInfo {
		return []api.MonitorInfo{{Name: "var", State: state.Load().(string), LastRun: api.At(time.Now())}}
	})

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- rt.heartbeat(ctx) }()
	b := <-beats
	if b.Status != "online" || b.Plugins == nil || len(b.Monitors) != 1 || b.Sandbox.Level != "limited" || b.CertificateNotAfter.Unix() != rt.identity.Leaf().NotAfter.Unix() {
		t.Errorf("the first says %+v", b)
	}
	rt.BeatSoon()
	b = <-beats // sent after the answer to the first was taken
	if b.Status != "online" || b.Health.Status != "degraded" || b.Health.Conditions[0].Name != "clock_skew" {
		t.Errorf("the second says %+v with %+v, want the clock an hour off", b, b.Health)
	}
	select { // the orchestrator wants what is known every five minutes
	case b = <-beats:
		t.Errorf("told again that nothing is new: %+v with %+v", b, b.Health)
	case <-time.After(2500 * time.Millisecond):
	}
	state.Store("backoff")
	if b = <-beats; b.Monitors[0].State != "backoff" {
		t.Errorf("the third says %+v, want what is new", b)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("heartbeat = %v", err)
	}
	select {
	case b = <-beats:
		if b.Status != "offline" {
			t.Errorf("the last says %q, want offline", b.Status)
		}
	default:
		t.Error("nothing is said at the end")
	}
}
