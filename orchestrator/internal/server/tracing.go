package server

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/trace"
)

// tracingFarewell bounds how long the end of the server waits for a collector.
const tracingFarewell = 2 * time.Second

// openTracing makes the server's tracer, nil where no collector is named.
func openTracing(o Options) (*trace.Tracer, error) {
	if o.Collector == "" {
		return nil, nil
	}
	var away atomic.Bool
	t, err := trace.New(trace.Options{
		Endpoint: o.Collector, Headers: o.CollectorHeaders, Sampler: o.Sampler, Service: "stavily-server", Version: api.Version,
		State: func(err error) { // once for each time that it is away or back
			if was := away.Swap(err != nil); err != nil && !was {
				o.Logger.Warn("the collector takes no spans; they are dropped after a minute, nothing else is affected", "error", err)
			} else if err == nil && was {
				o.Logger.Info("the collector takes spans again")
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("tracing: --otlp-endpoint %w", err)
	}
	return t, nil
}

func flushTraces(ctx context.Context, t *trace.Tracer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tracingFarewell)
	defer cancel()
	t.Flush(ctx)
}
