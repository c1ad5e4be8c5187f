//go:build unix

package agent

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

// teller is an orchestrator that tells of other assignments by polls, and counts what is open.
type teller struct {
	mu      sync.Mutex // guards the fields below
	version string
	changed chan struct{}
	polls   int // that are open and name a version
	looks   int // held calls for assignments
	asked   int // calls for assignments
}

func (s *teller) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	look, known := r.URL.Path == "/agents/v1/web-01/plugins", r.URL.Query().Get("assignments")
	open := &s.polls
	if look {
		open, known = &s.looks, r.URL.Query().Get("version")
	}
	s.mu.Lock()
	version, changed := s.version, s.changed
	if look {
		s.asked++
	}
	held := (known == "" && !look || known == version) && r.URL.Query().Get("wait") != ""
	if held && known != "" {
		*open++
		defer func() { s.mu.Lock(); *open--; s.mu.Unlock() }()
	}
	s.mu.Unlock()
	if held {
		if known == "" {
			changed = nil
		}
		select {
		case <-changed:
		case <-time.After(300 * time.Millisecond):
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
		s.mu.Lock()
		version = s.version
		s.mu.Unlock()
	}
	if known == version || known == "" && !look {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if look {
		_ = json.NewEncoder(w).Encode(api.Assignments{Version: version, Plugins: []api.AssignedPlugin{}, ToldByPolls: true})
		return
	}
	_ = json.NewEncoder(w).Encode(api.PollResponse{Status: api.StatusNoInstructions, AssignmentsVersion: version})
}

func (s *teller) change(version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version = version
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *teller) counts() (polls, looks, asked int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.polls, s.looks, s.asked
}

// TestAPollTellsOfOtherAssignments holds that an agent that polls has no call for assignments
// open beside it, that it hears of others by the poll, and that one that does not poll asks
// by itself.
func TestAPollTellsOfOtherAssignments(t *testing.T) {
	s, ca := &teller{version: "1", changed: make(chan struct{})}, pkitest.New(t, "ca")
	server := httptest.NewUnstartedServer(s)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Issue(pkitest.Server())}}
	server.StartTLS()
	t.Cleanup(server.Close)
	h := newHost(t, api.Action, nil, "STAVILY_API_BASE_URL="+server.URL, "STAVILY_API_RATE_LIMIT=1000/s")
	enrolled(t, h.rt.Config(), ca, "acme/action/web-01")
	var err error
	if h.rt.identity, err = h.rt.loadIdentity(); err == nil {
		h.rt.API, err = h.rt.connect(h.rt.identity)
	}
	if err != nil {
		t.Fatal(err)
	}
	f := &follower{host: h}
	f.start()
	defer h.rt.API.CloseIdle()
	defer f.stop()
	has := func(version string) func() bool {
		return func() bool { return h.rt.assigned.current().Version == version }
	}
	h.eventually("a call of its own is held", func() bool { _, looks, _ := s.counts(); return looks == 1 })

	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if _, err := h.rt.Poll(ctx, time.Minute, 1); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	}()
	h.eventually("the poll is all that is held", func() bool { polls, looks, _ := s.counts(); return polls == 1 && looks == 0 })
	_, _, before := s.counts()
	s.change("2")
	h.eventually("the poll has told of version 2", has("2"))
	time.Sleep(time.Second)
	if _, looks, asked := s.counts(); asked > before+3 || looks != 0 {
		t.Errorf("%d calls for assignments after the change, %d of them held; want one, or a few while polls begin to tell, and none held", asked-before, looks)
	}
	stop()
	<-done
	h.eventually("it asks by itself again", func() bool { _, looks, _ := s.counts(); return looks == 1 })
	s.change("3")
	h.eventually("its own call has told of version 3", has("3"))
}
