package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// listenRetry is how long a listener waits before it tries to bind again. A port
// that is taken never stops the agent (F18).
const listenRetry = 30 * time.Second

// listener serves one small handler on one port for as long as the agent lives.
type listener struct {
	name    string // health or metrics: names the condition and the state file
	addr    string
	handler http.Handler
	base    string
	health  *Health
	log     *slog.Logger
	bound   func(net.Addr) // told the address each time it is bound; may be nil
}

// Run binds, serves, and binds again when it must, until ctx is cancelled.
func (l *listener) Run(ctx context.Context) error {
	if err := removeState(l.base, l.name+".addr"); err != nil { // of a process that was killed
		l.log.Warn("the address of a former process stays recorded", "endpoint", l.name, "error", err)
	}
	for {
		err := l.serve(ctx)
		if ctx.Err() != nil {
			return nil
		}
		l.health.Set("listen_"+l.name, Degraded, false, fmt.Sprintf("%s endpoint: %v", l.name, err),
			fmt.Sprintf("free the port or set %s.port (0 takes any free one); trying again every %v", l.name, listenRetry))
		l.log.Warn("endpoint is not served", "endpoint", l.name, "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(listenRetry):
		}
	}
}

func (l *listener) serve(ctx context.Context) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", l.addr)
	if err != nil {
		return err
	}
	l.health.Clear("listen_" + l.name)
	recorded := l.record(ctx, ln.Addr().String())
	defer func() { // whoever has the port next is not this agent
		recorded()
		if err := removeState(l.base, l.name+".addr"); err != nil {
			l.log.Warn("the address that was bound stays recorded", "endpoint", l.name, "error", err)
		}
	}()
	if l.bound != nil {
		l.bound(ln.Addr())
	}
	srv := &http.Server{ // probes are small and quick: whoever is slower than this is not one
		Handler: l.handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second,
		WriteTimeout: 10 * time.Second, IdleTimeout: 60 * time.Second, MaxHeaderBytes: 8 << 10,
		ErrorLog: slog.NewLogLogger(l.log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// record writes down where the endpoint is, now or as soon as there is room for it, until the
// function that it returns is called.
func (l *listener) record(ctx context.Context, addr string) (end func()) {
	written := func() bool {
		err := writeState(l.base, l.name+".addr", addr)
		if err != nil {
			l.log.Warn("the bound address is not recorded", "endpoint", l.name, "error", err, "again_in", listenRetry.String())
		}
		return err == nil
	}
	if written() {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var trying sync.WaitGroup
	trying.Go(func() {
		for again := true; again; again = !written() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(listenRetry):
			}
		}
	})
	return func() {
		cancel()
		trying.Wait()
	}
}

func hostPort(bind string, port int) string { return net.JoinHostPort(bind, strconv.Itoa(port)) }

// healthHandler serves the two probes. Only local callers see the conditions and the
// sandbox: the endpoint may be bound to every address for a kubelet to reach.
func healthHandler(h *Health, healthPath, readyPath string) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+healthPath, func(w http.ResponseWriter, r *http.Request) {
		snapshot := h.Snapshot()
		answerProbe(w, r, snapshot.Status != string(Failing), probed{snapshot, h.sandbox()})
	})
	mux.HandleFunc("GET "+readyPath, func(w http.ResponseWriter, r *http.Request) {
		ready, against := h.Ready()
		status := "ready"
		if !ready {
			status = "not ready"
		}
		answerProbe(w, r, ready, probed{Health: api.Health{Status: status, Conditions: against}})
	})
	return mux
}

// probed is the body of a probe's answer.
type probed struct {
	api.Health
	Sandbox *api.Posture `json:"sandbox,omitempty"` // what confines plugins
}

func answerProbe(w http.ResponseWriter, r *http.Request, ok bool, body probed) {
	if !isLocal(r.RemoteAddr) {
		body.Conditions, body.Sandbox = nil, nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	// A probe that hung up has its answer already; there is nobody to tell.
	_ = json.NewEncoder(w).Encode(body)
}

func isLocal(remote string) bool {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
