package engine

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/telemetry"
	"github.com/stavily/agents/shared/pkg/trace"
)

// traces is a collector without a network; parents has each span's name and the one above it.
type traces struct{ parents map[string]string }

func (c *traces) RoundTrip(r *http.Request) (*http.Response, error) {
	var d struct {
		ResourceSpans []struct {
			ScopeSpans []struct {
				Spans []struct{ SpanID, ParentSpanID, Name string }
			}
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&d); err != nil {
		return nil, err
	}
	names := map[string]string{"00f067aa0ba902b7": "the client's"}
	spans := d.ResourceSpans[0].ScopeSpans[0].Spans
	for _, s := range spans {
		names[s.SpanID] = s.Name
	}
	for _, s := range spans {
		c.parents[s.Name] = names[s.ParentSpanID]
	}
	return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("{}"))}, nil
}

const clients = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// traced runs one event to its result and returns the offer of its instruction.
func (w world) traced(parent string) api.Instruction {
	w.t.Helper()
	w.apply(simple("", ""))
	sensor, action := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
	b := event(1)
	b.Events[0].TraceParent = parent
	w.sends(sensor, b, api.EventAccepted)
	i := w.takes(action)
	w.claims(action, i)
	if err := w.reports(action, i, api.Completed); err != nil {
		w.t.Fatal(err)
	}
	return i
}

func TestWhatIsDecidedIsInTheTrace(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		c := &traces{map[string]string{}}
		tracer, err := trace.New(trace.Options{Endpoint: "http://127.0.0.1:1", Client: &http.Client{Transport: c}})
		if err != nil {
			t.Fatal(err)
		}
		w.trace = tracer
		i := w.traced(clients)
		tracer.Flush(t.Context())
		for name, above := range map[string]string{"event.intake": "the client's", "workflow.decide": "event.intake", "instruction.create": "workflow.decide", "instruction.result": "instruction.create"} {
			if got := c.parents[name]; got != above {
				t.Errorf("%s is below %q, want %q; there are %v", name, got, above, c.parents)
			}
		}
		if id := clients[:len("00-")+32]; !strings.HasPrefix(i.TraceParent, id) {
			t.Errorf("the instruction carries %q", i.TraceParent)
		}
	})
}

func TestATracePassesThroughUnchanged(t *testing.T) {
	for came, goes := range map[string]string{clients: clients, "": "", "rubbish": ""} {
		inWorld(t, func(t *testing.T, w world) {
			if got := w.traced(came).TraceParent; got != goes {
				t.Errorf("%q goes on as %q, want %q", came, got, goes)
			}
		})
	}
}

func TestTheEngineCounts(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		m := telemetry.NewRegistry("x")
		w.counts = newCounts(m, w.Engine)
		w.traced("")
		answer := httptest.NewRecorder()
		m.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil).WithContext(t.Context()))
		for _, want := range []string{
			`x_events_total{outcome="accepted"} 1`, `x_runs_started_total 1`, `x_runs_ended_total{status="completed"} 1`,
			`x_instructions_total{state="pending"} 1`, `x_instructions_total{state="completed"} 1`, `x_transaction_seconds_count{outcome="committed"}`,
			`x_agents{state="connected"}`, `x_agents{state="revoked"} 0`,
		} {
			if !strings.Contains(answer.Body.String(), want) {
				t.Errorf("no %q in\n%s", want, answer.Body)
			}
		}
	})
}
