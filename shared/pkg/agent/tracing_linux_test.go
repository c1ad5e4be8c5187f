package agent

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/trace"
)

// tracingCondition is what the agent's health says of tracing, and how to mend it.
func tracingCondition(rt *Runtime) string {
	c := condition(rt, conditionTracing)
	if c == nil {
		return ""
	}
	return c.Message + "; " + c.Remedy
}

// A collector that is away is a condition that keeps the agent from nothing, a line of the
// log each time, and a count of what is lost.
func TestACollectorThatTakesNothing(t *testing.T) {
	var well atomic.Bool
	var key atomic.Value
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key.Store(r.Header.Get("api-key"))
		if !well.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(collector.Close)
	t.Setenv(trace.EnvEndpoint, collector.URL)
	t.Setenv(trace.EnvHeaders, "api-key=hunter2")
	rt, log := testRuntime(t, api.Sensor, "STAVILY_TRACING_ENABLED=true")
	rt.openTracing()
	send := func() {
		rt.Trace.Start(trace.Context{}, "x", trace.Internal).End()
		rt.flushTraces(t.Context())
	}
	for life := range 2 {
		well.Store(false)
		send()
		send()
		if got := tracingCondition(rt); !strings.Contains(got, "503") || !strings.Contains(got, "start the collector") {
			t.Errorf("while it is away health says %q", got)
		}
		if ready, against := rt.Health.Ready(); slices.ContainsFunc(against, func(c api.Condition) bool { return c.Name == conditionTracing }) {
			t.Errorf("ready is %v because of it", ready)
		}
		if n := strings.Count(log.String(), "the collector takes no spans"); n != life+1 {
			t.Errorf("the log says so %d times in %d absences", n, life+1)
		}
		well.Store(true)
		send()
		if got := tracingCondition(rt); got != "" {
			t.Errorf("once it is back health says %q", got)
		}
	}
	h := &host{t: t, rt: rt}
	if lost, taken := h.metric(`trace_spans_total{outcome="dropped"}`), h.metric(`trace_spans_total{outcome="exported"}`); lost != "4" || taken != "2" {
		t.Errorf("%s spans are lost and %s taken", lost, taken)
	}
	if key.Load() != "hunter2" || strings.Contains(log.String(), "hunter2") {
		t.Errorf("the key is %q and the log\n%s", key.Load(), log)
	}
}

// Where the environment names what cannot be used, the agent works without tracing and
// says what to correct.
func TestACollectorThatCannotBeUsed(t *testing.T) {
	for name, c := range map[string]struct{ endpoint, headers, configured, want string }{
		"no URL":             {"otel:4318", "", "", trace.EnvEndpoint + ` "otel:4318": must be a URL`},
		"in the clear":       {"http://otel.example.com:4318", "", "", "tracing.insecure"},
		"damaged headers":    {"http://127.0.0.1:4318", "hunter2", "", trace.EnvHeaders},
		"damaged and unused": {"http://127.0.0.1:4318", "hunter2", "api-key=k", ""},
		"nothing is wrong":   {"http://127.0.0.1:4318", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(trace.EnvEndpoint, c.endpoint)
			t.Setenv(trace.EnvHeaders, c.headers)
			settings := []string{"STAVILY_TRACING_ENABLED=true"}
			if c.configured != "" {
				settings = append(settings, "STAVILY_TRACING_HEADERS="+c.configured)
			}
			rt, log := testRuntime(t, api.Action, settings...)
			rt.openTracing()
			got := tracingCondition(rt)
			if (rt.Trace == nil) != (c.want != "") || (got != "") != (c.want != "") || !strings.Contains(got, c.want) || c.want != "" && !strings.Contains(got, "correct it and restart") {
				t.Errorf("tracing is %v and health says %q, want %q", rt.Trace != nil, got, c.want)
			}
			if strings.Contains(got+log.String(), "hunter2") {
				t.Errorf("headers are shown: %s\n%s", got, log)
			}
		})
	}
}
