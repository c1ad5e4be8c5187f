//go:build unix

package agent

import (
	"crypto/tls"
	"encoding/json"
	"errors"
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

// Kinds of calls.
const (
	claim    = "claim"
	progress = "progress"
	result   = "result"
)

// seen is one call of the agent about an instruction.
type seen struct {
	Kind     string
	ID       api.InstructionID
	Progress api.Progress
	Result   api.Result
}

// reply answers the nth call of its kind for its instruction, from 1. Nil is yes.
// errCut drops the connection instead; the call was received all the same.
type reply func(n int, call seen) error

var (
	errCut   = fmt.Errorf("cut the connection")
	errProxy = fmt.Errorf("what a proxy says to a body that is too large for it")
)

// orchestrator is a real HTTPS server that does what its test says.
type orchestrator struct {
	t      *testing.T
	ca     *pkitest.Authority
	server *httptest.Server

	mu      sync.Mutex // guards the fields below
	changed chan struct{}
	offers  []api.Instruction
	polls   int // that are held
	calls   []seen
	replies map[string]reply // by kind and instruction
	cancel  map[api.InstructionID]bool
	away    bool // answers 503 to everything
	beats   []api.Heartbeat
}

func newOrchestrator(t *testing.T) *orchestrator {
	o := &orchestrator{t: t, ca: pkitest.New(t, "CA"), changed: make(chan struct{}), replies: map[string]reply{}, cancel: map[api.InstructionID]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+api.PathHeartbeat, o.heartbeat)
	mux.HandleFunc("GET "+api.PathInstructions, o.poll)
	mux.HandleFunc("PUT "+api.PathInstruction, o.progress)
	mux.HandleFunc("POST "+api.PathResult, o.result)
	mux.HandleFunc("POST "+api.PathLogs, func(w http.ResponseWriter, r *http.Request) {
		answer(w, api.LogBatchResponse{})
	})
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

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the agent may be gone
}

func refuse(w http.ResponseWriter, err error) {
	if errors.Is(err, errCut) {
		panic(http.ErrAbortHandler)
	}
	if errors.Is(err, errProxy) {
		http.Error(w, "<html>413 Request Entity Too Large</html>", http.StatusRequestEntityTooLarge)
		return
	}
	e := err.(*api.Error)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Status())
	_ = json.NewEncoder(w).Encode(api.ErrorBody{Error: e})
}

var errAway = api.Errorf(api.CodeUnavailable, "away")

func (o *orchestrator) heartbeat(w http.ResponseWriter, r *http.Request) {
	var h api.Heartbeat
	if err := json.NewDecoder(r.Body).Decode(&h); err != nil {
		panic(http.ErrAbortHandler) // the agent was killed in the middle of it
	}
	o.change(func() { o.beats = append(o.beats, h) })
	answer(w, api.HeartbeatResponse{ServerTime: api.At(time.Now())})
}

// poll hands out offers, and waits for them as long as it is asked to.
func (o *orchestrator) poll(w http.ResponseWriter, r *http.Request) {
	most := 1
	if text := r.URL.Query().Get("max"); text != "" {
		fmt.Sscan(text, &most)
	}
	limit := time.After(time.Second)
	hold := func(more int) { o.change(func() { o.polls += more }) }
	hold(1)
	defer hold(-1)
	for {
		o.mu.Lock()
		changed, away := o.changed, o.away
		n := min(most, len(o.offers))
		offers := o.offers[:n]
		o.offers = o.offers[n:]
		o.mu.Unlock()
		switch {
		case away:
			refuse(w, errAway)
			return
		case n > 0:
			answer(w, api.PollResponse{Instructions: offers, Status: api.StatusDelivered})
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		case <-limit:
			answer(w, api.PollResponse{Status: api.StatusNoInstructions})
			return
		}
	}
}

func (o *orchestrator) progress(w http.ResponseWriter, r *http.Request) {
	call := seen{Kind: progress, ID: api.InstructionID(r.PathValue("id"))}
	if !take(w, r, 1<<20, &call.Progress) {
		return
	}
	if call.Progress.BootID != "" {
		call.Kind = claim
	}
	if err := o.record(call); err != nil {
		refuse(w, err)
		return
	}
	o.mu.Lock()
	cancelled := o.cancel[call.ID]
	o.mu.Unlock()
	answer(w, api.ProgressResponse{Success: true, InstructionID: call.ID, Cancel: cancelled && call.Kind == progress})
}

// take reads a body of at most most bytes, as the orchestrator does, and refuses a larger one.
func take(w http.ResponseWriter, r *http.Request, most int64, v any) bool {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, most)).Decode(v)
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		refuse(w, api.Errorf(api.CodeTooLarge, "the body has more than %d bytes", most))
		return false
	}
	if err != nil {
		panic(http.ErrAbortHandler) // the agent was killed in the middle of it
	}
	return true
}

func (o *orchestrator) result(w http.ResponseWriter, r *http.Request) {
	call := seen{Kind: result, ID: api.InstructionID(r.PathValue("id"))}
	if !take(w, r, 2<<20, &call.Result) {
		return
	}
	if n := len(call.Result.Result); n > api.MaxResultBytes {
		refuse(w, api.Errorf(api.CodeTooLarge, "the data have %d bytes", n))
		return
	}
	if err := o.record(call); err != nil {
		refuse(w, err)
		return
	}
	answer(w, api.ResultResponse{Acknowledged: true})
}

// record keeps a call and finds the reply to it.
func (o *orchestrator) record(call seen) error {
	o.mu.Lock()
	away := o.away
	o.mu.Unlock()
	if away {
		return errAway
	}
	o.change(func() { o.calls = append(o.calls, call) })
	o.mu.Lock()
	script := o.replies[call.Kind+" "+string(call.ID)]
	o.mu.Unlock()
	if script == nil {
		return nil
	}
	return script(len(o.of(call.Kind, call.ID)), call)
}

// change changes what the test waits for.
func (o *orchestrator) change(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
	close(o.changed)
	o.changed = make(chan struct{})
}

// on scripts the answers to one kind of call about one instruction.
func (o *orchestrator) on(kind string, id api.InstructionID, r reply) {
	o.change(func() { o.replies[kind+" "+string(id)] = r })
}

// offer lets the next polls have instructions.
func (o *orchestrator) offer(instructions ...api.Instruction) {
	o.change(func() { o.offers = append(o.offers, instructions...) })
}

// polled reports whether a poll is held.
func (o *orchestrator) polled() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.polls > 0
}

func (o *orchestrator) setAway(away bool) { o.change(func() { o.away = away }) }

// of are the calls of a kind about an instruction so far.
func (o *orchestrator) of(kind string, id api.InstructionID) []seen {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []seen
	for _, c := range o.calls {
		if c.Kind == kind && c.ID == id {
			out = append(out, c)
		}
	}
	return out
}

// await waits until there are n calls of a kind about an instruction.
func (o *orchestrator) await(kind string, id api.InstructionID, n int) []seen {
	o.t.Helper()
	o.until(fmt.Sprintf("%s %d of %s", kind, n, id), func() bool { return len(o.of(kind, id)) >= n })
	return o.of(kind, id)
}

// heartbeats are those that came, the first first.
func (o *orchestrator) heartbeats() []api.Heartbeat {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.beats)
}

// lastBeat is the newest heartbeat, or none of anything before the first. It needs mu.
func (o *orchestrator) lastBeat() api.Heartbeat {
	if len(o.beats) == 0 {
		return api.Heartbeat{Health: &api.Health{}}
	}
	return o.beats[len(o.beats)-1]
}

// until waits for something that calls bring about.
func (o *orchestrator) until(what string, done func() bool) {
	o.t.Helper()
	limit := time.After(patience)
	for {
		o.mu.Lock()
		changed := o.changed
		o.mu.Unlock()
		if done() {
			return
		}
		select {
		case <-changed:
		case <-limit:
			o.t.Fatalf("waited in vain for %s; calls were\n%s", what, o.transcript())
		}
	}
}

func (o *orchestrator) transcript() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var b strings.Builder
	for _, c := range o.calls {
		fmt.Fprintln(&b, c.Kind, c.ID, c.Progress.Attempt, c.Progress.Lease, c.Result.Status, c.Result.ErrorMessage)
	}
	return b.String()
}

// outcome waits for the result of an instruction and holds its status against want.
func (o *orchestrator) outcome(id api.InstructionID, want api.InstructionStatus) api.Result {
	o.t.Helper()
	got := o.await(result, id, 1)[0].Result
	if got.Status != want {
		o.t.Errorf("%s ended as %s (%s), want %s", id, got.Status, got.ErrorMessage, want)
	}
	return got
}

// same holds what was counted against what must be.
func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
