package agent

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/telemetry"
	"github.com/stavily/agents/shared/pkg/trace"
)

// conditionTracing holds while the collector does not take spans. Nothing waits for it.
const conditionTracing = "tracing"

// openTracing sets rt.Trace, or leaves it nil where tracing is off. Where the environment
// names no collector that can be used the agent works without.
func (rt *Runtime) openTracing() {
	if !rt.Config().Tracing.Enabled {
		return
	}
	var err error
	if rt.Trace, err = rt.newTracer(); err != nil {
		rt.Log.Warn("tracing is off", "reason", err)
		rt.Health.Set(conditionTracing, Degraded, false, "tracing is off: "+err.Error(), "correct it and restart the agent")
	}
}

func (rt *Runtime) newTracer() (*trace.Tracer, error) {
	c := rt.Config().Tracing
	endpoint, unusable := c.Collector(os.Getenv), ""
	c.CheckEndpoint(endpoint, func(why string) { unusable = why })
	if unusable != "" { // that of the configuration was checked
		return nil, fmt.Errorf("%s %s", trace.EnvEndpoint, unusable)
	}
	headers, err := collectorHeaders(c.Headers)
	if err != nil {
		return nil, err
	}
	return trace.New(trace.Options{
		Endpoint: endpoint, Headers: headers, Sampler: c.Sampler,
		Service: "stavily-" + rt.Role.Program, Version: api.Version, Instance: string(rt.Config().Agent.ID),
		Count: func(outcome string, n int) { rt.counts.spans.WithLabelValues(outcome).Add(float64(n)) },
		State: rt.noteCollector,
	})
}

// collectorHeaders are those of the configuration, or those of the environment.
func collectorHeaders(configured map[string]config.Secret) (map[string]string, error) {
	if len(configured) == 0 {
		headers, err := trace.ParseHeaders(os.Getenv(trace.EnvHeaders))
		if err != nil {
			return nil, fmt.Errorf("%s %w", trace.EnvHeaders, err)
		}
		return headers, nil
	}
	headers := map[string]string{}
	for name, value := range configured {
		headers[name] = value.Reveal()
	}
	return headers, nil
}

func (rt *Runtime) noteCollector(err error) {
	if err == nil {
		rt.untraced.Store(false)
		rt.Health.Clear(conditionTracing)
		return
	}
	rt.Health.Set(conditionTracing, Degraded, false, err.Error(), "start the collector or correct tracing.endpoint; what waits too long is dropped, nothing else is affected")
	if !rt.untraced.Swap(true) { // once for each time that it is away
		rt.Log.Warn("the collector takes no spans", telemetry.KeyError, err)
	}
}

// tracingFarewell bounds how long the end of the agent waits for a collector.
const tracingFarewell = 2 * time.Second

func (rt *Runtime) flushTraces(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tracingFarewell)
	defer cancel()
	rt.Trace.Flush(ctx)
}
