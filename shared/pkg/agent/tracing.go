package agent

import (
	"context"
	"os"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/telemetry"
	"github.com/stavily/agents/shared/pkg/trace"
)

// conditionTracing holds while the collector does not take spans. Nothing waits for it.
const conditionTracing = "tracing"

// openTracing sets rt.Trace, or leaves it nil where tracing is off. Where the environment
// names no collector that can be used the agent works without.
func (rt *Runtime) openTracing() {
	c := rt.Config().Tracing
	if !c.Enabled {
		return
	}
	endpoint := c.Collector(os.Getenv)
	unusable := ""
	c.CheckEndpoint(endpoint, func(why string) { unusable = why })
	headers, err := trace.ParseHeaders(os.Getenv(trace.EnvHeaders))
	if err != nil && unusable == "" {
		unusable = trace.EnvHeaders + " " + err.Error()
	}
	if unusable == "" {
		if len(c.Headers) > 0 {
			headers = map[string]string{}
			for name, value := range c.Headers {
				headers[name] = value.Reveal()
			}
		}
		rt.Trace, err = trace.New(trace.Options{
			Endpoint: endpoint, Headers: headers, Sampler: c.Sampler,
			Service: "stavily-" + rt.Role.Program, Version: api.Version, Instance: string(rt.Config().Agent.ID),
			Count: func(outcome string, n int) { rt.counts.spans.WithLabelValues(outcome).Add(float64(n)) },
			State: rt.noteCollector,
		})
		if err != nil {
			unusable = err.Error()
		}
	}
	if unusable != "" {
		rt.Log.Warn("tracing is off", "reason", unusable)
		rt.Health.Set(conditionTracing, Degraded, false, "tracing is off: "+unusable, "set tracing.endpoint or "+trace.EnvEndpoint+" and restart the agent")
	}
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
