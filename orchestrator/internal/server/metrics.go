package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// listenMetrics opens the endpoint that Prometheus scrapes; nil where none is asked for.
// It has no login, so that it is its own listener on an address that the owner chooses.
func listenMetrics(ctx context.Context, o Options) (net.Listener, error) {
	if o.MetricsListen == "" {
		return nil, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.MetricsListen)
	if err != nil {
		return nil, fmt.Errorf("listen for metrics: %w; choose another address with --metrics-listen", err)
	}
	return l, nil
}

// serveMetrics serves GET /metrics and GET /ready until its context ends.
func serveMetrics(o Options, registry *telemetry.Registry, l net.Listener, e *engine.Engine) func(context.Context) error {
	return func(ctx context.Context) error {
		if l == nil {
			return nil
		}
		o.Logger.Info("metrics", "address", l.Addr().String())
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", registry.Handler())
		mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) { tellReadiness(w, e) })
		return serve(ctx, &http.Server{
			Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 15 * time.Second,
			IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10,
		}, l)
	}
}

// tellReadiness says 503 and why while not all is taken. It is for people and alerts: a server
// that a load balancer took out for it could not be told results any more.
func tellReadiness(w http.ResponseWriter, e *engine.Engine) {
	answer := api.Health{Status: "ready"}
	w.Header().Set("Content-Type", "application/json")
	if condition, full := e.Full(); full {
		answer = api.Health{Status: condition.Status, Conditions: []api.Condition{condition}}
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(answer) // who asked has gone
}
