package server

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

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

// serveMetrics serves GET /metrics until its context ends.
func serveMetrics(o Options, registry *telemetry.Registry, l net.Listener) func(context.Context) error {
	return func(ctx context.Context) error {
		if l == nil {
			return nil
		}
		o.Logger.Info("metrics", "address", l.Addr().String())
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", registry.Handler())
		return serve(ctx, &http.Server{
			Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 15 * time.Second,
			IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10,
		}, l)
	}
}
