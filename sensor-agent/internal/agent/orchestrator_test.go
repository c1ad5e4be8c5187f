//go:build unix

package agent

import (
	"compress/gzip"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

// patience bounds every wait for something that takes milliseconds.
const patience = time.Minute

// orchestrator is a real HTTPS server that takes events as its test says.
type orchestrator struct {
	t      *testing.T
	ca     *pkitest.Authority
	server *httptest.Server

	mu      sync.Mutex // guards the fields below
	changed chan struct{}
	refuse  func(n int, b api.EventBatch) error // of the nth batch, from 1; nil takes all
	batches []api.EventBatch
	taken   []api.Event // of batches that were answered
	gaps    []api.Gap
	beats   []api.Heartbeat
	logs    []string      // batches as they came
	wanted  *api.Monitors // that workflows bring; nil: it knows no such call
	away    bool          // for these
}

var (
	errCut   = fmt.Errorf("cut the connection after the batch was taken")
	errProxy = fmt.Errorf("what a proxy says to a body that is too large for it")
)

func newOrchestrator(t *testing.T) *orchestrator {
	o := &orchestrator{t: t, ca: pkitest.New(t, "CA"), changed: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+api.PathHeartbeat, o.heartbeat)
	mux.HandleFunc("POST "+api.PathEvents, o.events)
	mux.HandleFunc("POST "+api.PathLogs, o.log)
	mux.HandleFunc("GET "+api.PathPlugins, o.assignments)
	mux.HandleFunc("GET "+api.PathMonitors, o.assignments)
	o.server = httptest.NewUnstartedServer(mux)
	cert := o.ca.Issue(pkitest.Server())
	o.server.TLS = o.ca.ServerTLS(cert)
	o.server.TLS.Certificates = []tls.Certificate{cert} // else httptest adds its own
	o.server.EnableHTTP2 = true
	o.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	o.server.StartTLS()
	t.Cleanup(func() {
		o.server.CloseClientConnections()
		o.server.Close()
	})
	return o
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the agent may be gone
}

func (o *orchestrator) heartbeat(w http.ResponseWriter, r *http.Request) {
	var h api.Heartbeat
	if err := json.NewDecoder(r.Body).Decode(&h); err != nil {
		panic(http.ErrAbortHandler) // the agent was killed in the middle of it
	}
	o.change(func() { o.beats = append(o.beats, h) })
	answer(w, http.StatusOK, api.HeartbeatResponse{ServerTime: api.At(time.Now())})
}

// assignments tells which monitors are wanted, and that no packages are.
func (o *orchestrator) assignments(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	set, away := o.wanted, o.away
	o.mu.Unlock()
	switch {
	case set == nil:
		answer(w, http.StatusNotFound, api.ErrorBody{Error: api.Errorf(api.CodeNotFound, "Nothing is served here.")})
	case away:
		answer(w, http.StatusServiceUnavailable, api.ErrorBody{Error: api.Errorf(api.CodeUnavailable, "Away.")})
	case strings.HasSuffix(r.URL.Path, "/monitors"):
		answer(w, http.StatusOK, set)
	case r.URL.Query().Get("version") == "of "+set.Version:
		w.WriteHeader(http.StatusNoContent)
	default:
		answer(w, http.StatusOK, api.Assignments{Version: "of " + set.Version, MonitorsVersion: set.Version})
	}
}

// unpacked is the body of a call.
func unpacked(r *http.Request) io.Reader {
	if r.Header.Get("Content-Encoding") != "gzip" {
		return r.Body
	}
	body, err := gzip.NewReader(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // the agent was killed in the middle of it
	}
	return body
}

func (o *orchestrator) log(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(unpacked(r))
	if err != nil {
		panic(http.ErrAbortHandler) // the agent was killed in the middle of it
	}
	o.change(func() { o.logs = append(o.logs, string(text)) })
	answer(w, http.StatusOK, api.LogBatchResponse{})
}

func (o *orchestrator) events(w http.ResponseWriter, r *http.Request) {
	var b api.EventBatch
	if err := json.NewDecoder(unpacked(r)).Decode(&b); err != nil {
		panic(http.ErrAbortHandler) // the agent was killed in the middle of it
	}
	var refuse func(int, api.EventBatch) error
	n := 0
	o.change(func() {
		o.batches = append(o.batches, b)
		refuse, n = o.refuse, len(o.batches)
	})
	var err error
	if refuse != nil {
		err = refuse(n, b)
	}
	if err == errProxy {
		http.Error(w, "<html>413 Request Entity Too Large</html>", http.StatusRequestEntityTooLarge)
		return
	}
	if refusal, ok := err.(*api.Error); ok {
		answer(w, refusal.Status(), api.ErrorBody{Error: refusal})
		return
	}
	out := api.EventBatchResponse{}
	for _, e := range b.Events {
		out.AckedThrough = max(out.AckedThrough, e.Seq)
		out.Events = append(out.Events, api.EventOutcome{Seq: e.Seq, ID: e.ID, Status: api.EventAccepted})
	}
	for _, g := range b.Gaps {
		out.AckedThrough = max(out.AckedThrough, g.To)
	}
	o.change(func() {
		o.taken = append(o.taken, b.Events...)
		o.gaps = append(o.gaps, b.Gaps...)
	})
	if err == errCut {
		panic(http.ErrAbortHandler)
	}
	answer(w, http.StatusOK, out)
}

// change changes what the test waits for.
func (o *orchestrator) change(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
	close(o.changed)
	o.changed = make(chan struct{})
}

// lastBeat is the newest heartbeat, or none of anything before the first. It needs mu.
func (o *orchestrator) lastBeat() api.Heartbeat {
	if len(o.beats) == 0 {
		return api.Heartbeat{Health: &api.Health{}}
	}
	return o.beats[len(o.beats)-1]
}

// until waits for something that calls bring about; done is called with mu held.
func (o *orchestrator) until(what string, done func() bool) {
	o.t.Helper()
	limit := time.After(patience)
	for {
		o.mu.Lock()
		changed, ok := o.changed, done()
		o.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-limit:
			o.t.Fatalf("waited in vain for %s; events were %v", what, o.types())
		}
	}
}

// sent are the batches that came, also those that were refused.
func (o *orchestrator) sent() []api.EventBatch {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.batches)
}

// told are the gaps that agents told of.
func (o *orchestrator) told() []api.Gap {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.gaps)
}

// types are those of the events that were taken, in their order.
func (o *orchestrator) types() (out []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.taken {
		out = append(out, e.Type)
	}
	return out
}

// kinds are the different events of a type: one whose answer was lost comes again.
func (o *orchestrator) kinds(kind string) (ids []api.EventID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.taken {
		if e.Type == kind && !slices.Contains(ids, e.ID) {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// await waits for an event of a type and returns the first.
func (o *orchestrator) await(kind string) (found api.Event) {
	o.t.Helper()
	o.until("event "+kind, func() bool {
		i := slices.IndexFunc(o.taken, func(e api.Event) bool { return e.Type == kind })
		if i >= 0 {
			found = o.taken[i]
		}
		return i >= 0
	})
	return found
}

// monitor waits until a heartbeat says what is wanted of a monitor.
func (o *orchestrator) monitor(name string, fits func(api.MonitorInfo) bool) (found api.MonitorInfo) {
	o.t.Helper()
	o.until("monitor "+name, func() bool {
		for _, b := range o.beats {
			for _, m := range b.Monitors {
				if m.Name == name && fits(m) {
					found = m
					return true
				}
			}
		}
		return false
	})
	return found
}

// same holds what was counted against what must be.
func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
