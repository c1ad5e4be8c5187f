package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/stavily/agents/shared/pkg/api"
)

// span is what the test's collector keeps of one.
type span struct {
	trace, id, parent, name, service string
	fields                           map[string]any
	failed                           bool
}

// collector reads spans as the OpenTelemetry collector does.
type collector struct {
	*httptest.Server
	mu    sync.Mutex // guards the fields below
	spans []span
	bad   error
}

func newCollector(t *testing.T) *collector {
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		traces, decoding := new(ptrace.JSONUnmarshaler).UnmarshalTraces(body)
		c.mu.Lock()
		defer c.mu.Unlock()
		if err = errors.Join(err, decoding); err != nil || r.URL.Path != "/v1/traces" {
			c.bad = errors.Join(c.bad, fmt.Errorf("%s: %w", r.URL.Path, err))
			return
		}
		c.take(traces)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) take(traces ptrace.Traces) {
	for _, rs := range traces.ResourceSpans().All() {
		service, _ := rs.Resource().Attributes().Get("service.name")
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				c.spans = append(c.spans, span{
					s.TraceID().String(), s.SpanID().String(), s.ParentSpanID().String(), s.Name(), service.Str(),
					s.Attributes().AsRaw(), s.Status().Code() == ptrace.StatusCodeError,
				})
			}
		}
	}
}

// byName are the spans so far, of which there must be one of each name.
func (c *collector) byName() (map[string]span, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out, err := map[string]span{}, c.bad
	for _, s := range c.spans {
		if _, double := out[s.name]; double {
			err = errors.Join(err, fmt.Errorf("%s is there twice", s.name))
		}
		out[s.name] = s
	}
	return out, err
}

// wayOfAnEvent is the trace of one event: span, the one above it, and who told it.
var wayOfAnEvent = []struct{ name, above, service string }{
	{"sensor.sample", "", "stavily-sensor-agent"},
	{"event.emit", "sensor.sample", "stavily-sensor-agent"},
	{"event.spool", "event.emit", "stavily-sensor-agent"},
	{"event.deliver", "event.emit", "stavily-sensor-agent"},
	{"event.intake", "event.emit", "stavily-server"},
	{"workflow.decide", "event.intake", "stavily-server"},
	{"instruction.create", "workflow.decide", "stavily-server"},
	{"instruction.claim", "instruction.create", "stavily-action-agent"},
	{"plugin.run", "instruction.create", "stavily-action-agent"},
	{"result.report", "instruction.create", "stavily-action-agent"},
	{"instruction.result", "instruction.create", "stavily-server"},
}

func TestOneTraceFromALookToAResult(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	w := newWorld(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+c.URL, "STAVILY_TRACING_ENABLED=true")
	w.apply("name: traced\ntriggers:\n  - event: traced.found\nactions:\n  - {id: act, plugin: traced-action}\n")
	w.agent("trace-s", api.Sensor, []string{"traced-sensor"}, map[string]string{"traced": "plugin: traced-sensor\ninterval: 1s\n"})
	w.agent("trace-a", api.Action, []string{"traced-action"}, nil)
	w.start("trace-a", "trace-s")
	r := w.awaitRun()
	if r.Status != "completed" {
		t.Fatalf("the run %s: %+v", r.Status, r.Steps)
	}
	var spans map[string]span
	var cancel context.CancelFunc
	w.ctx, cancel = context.WithTimeout(w.ctx, time.Minute) // they are gathered for a second
	defer cancel()
	w.await("all spans", func() (err error) {
		if spans, err = c.byName(); err != nil {
			t.Fatal(err)
		}
		if len(spans) < len(wayOfAnEvent) {
			return fmt.Errorf("%d of %d: %v", len(spans), len(wayOfAnEvent), spans)
		}
		return nil
	})
	for _, want := range wayOfAnEvent {
		got := spans[want.name]
		if got.id == "" || got.parent != spans[want.above].id || got.service != want.service || got.trace != spans["sensor.sample"].trace || got.failed {
			t.Errorf("%s: %+v, want it below %q (%s), of %s, without failure", want.name, got, want.above, spans[want.above].id, want.service)
		}
	}
	if len(spans) != len(wayOfAnEvent) {
		t.Errorf("%d spans, want %d: %v", len(spans), len(wayOfAnEvent), spans)
	}
	if got := spans["plugin.run"].fields; got["process.exit_code"] != int64(0) || got["stavily.status"] != "completed" || got["stavily.plugin"] != "traced-action" {
		t.Errorf("plugin.run has %v", got)
	}
	pluginSaw(t, r, spans["plugin.run"])
}

// pluginSaw checks that the plugin's part of the trace is below the agent's.
func pluginSaw(t *testing.T, r run, above span) {
	t.Helper()
	var saw struct {
		Headers     map[string]string `json:"headers"`
		TraceID     string            `json:"trace_id"`
		Environment string            `json:"environment"`
	}
	if err := json.Unmarshal(r.Steps[0].Result.Result, &saw); err != nil {
		t.Fatal(err)
	}
	want := "00-" + above.trace + "-" + above.id + "-01"
	if saw.Environment != want || saw.Headers["traceparent"] != want || saw.TraceID != above.trace {
		t.Errorf("the plugin saw %+v, want %s", saw, want)
	}
}

// Where tracing is off, nobody talks to a collector, and a trace that a client brings
// reaches the plugin as it came.
func TestATraceOfOthersPassesThrough(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply("name: traced\ntriggers:\n  - event: test.go\nactions:\n  - {id: act, plugin: traced-action}\n")
	sensor := w.client(w.agent("pass-s", api.Sensor, nil, nil))
	w.agent("pass-a", api.Action, []string{"traced-action"}, nil)
	w.start("pass-a")
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	event := strings.Replace(oneEvent, `"severity"`, `"traceparent":"`+parent+`","severity"`, 1)
	if event == oneEvent {
		t.Fatalf("no place for a traceparent in %s", oneEvent)
	}
	if status, body := sensor.call(w.ctx, "POST", "pass-s/events", event); status != 200 {
		t.Fatalf("event = %d %s", status, body)
	}
	r := w.awaitRun()
	if r.Status != "completed" || !strings.Contains(string(r.Steps[0].Result.Result), parent) {
		t.Errorf("the run %s: %s", r.Status, r.Steps[0].Result.Result)
	}
}
