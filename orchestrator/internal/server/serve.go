package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// drainLimit is how long requests in flight get once the server is asked to stop.
// None waits then; the longest is the upload of 2 MiB over a slow line. systemd
// kills a unit after 90 s.
const drainLimit = 20 * time.Second

// stopping is the answer to requests that wait when the server stops.
var stopping = &api.Error{Code: api.CodeUnavailable, Message: "The orchestrator stops; try again.", RetryAfter: time.Second}

// serve runs srv on l until ctx is done and requests in flight have ended.
func serve(ctx context.Context, srv *http.Server, l net.Listener) error {
	requests, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	silent := newSilent()
	srv.BaseContext = func(net.Listener) context.Context { return requests }
	srv.ConnState = silent.track
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	cancel(stopping)
	l.Close()
	silent.close()
	drain, done := context.WithTimeout(context.WithoutCancel(ctx), drainLimit)
	defer done()
	err := srv.Shutdown(drain)
	if errors.Is(err, net.ErrClosed) {
		err = nil // of the listener, which was closed above; the requests have ended
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("requests in flight after %s: %w", drainLimit, err), srv.Close())
	}
	<-ended
	return err
}

// silent are connections that have not sent a request yet: clients open some to spare.
// http.Server.Shutdown would wait 5 s for each to begin one.
type silent struct {
	mu    sync.Mutex // guards conns
	conns map[net.Conn]struct{}
}

func newSilent() *silent { return &silent{conns: map[net.Conn]struct{}{}} }

func (s *silent) track(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state == http.StateNew {
		s.conns[c] = struct{}{}
	} else {
		delete(s.conns, c)
	}
}

func (s *silent) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}
