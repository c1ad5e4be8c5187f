package telemetry

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestMetricsAreServed(t *testing.T) {
	r := NewRegistry("stavily_agent")
	r.Counter("polls_total", "Polls.")
	r.CounterVec("runs_total", "Runs.", "plugin", "status").WithLabelValues("p", "completed").Add(2)
	r.Gauge("connected", "Whether the orchestrator answers.").Set(1)
	r.GaugeVec("monitor_up", "Whether a monitor runs.", "monitor").WithLabelValues("logs").Set(1)
	r.GaugeFunc("spool_bytes", "Bytes that wait.", func() float64 { return 7 })
	r.HistogramVec("run_seconds", "How long runs take.", []float64{1, 2}, "plugin").WithLabelValues("p").Observe(1.5)

	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	body := w.Body.String()
	for _, want := range []string{
		"# TYPE stavily_agent_polls_total counter\nstavily_agent_polls_total 0\n",
		"stavily_agent_runs_total{plugin=\"p\",status=\"completed\"} 2\n",
		"stavily_agent_connected 1\n",
		"stavily_agent_monitor_up{monitor=\"logs\"} 1\n",
		"stavily_agent_spool_bytes 7\n",
		"stavily_agent_run_seconds_bucket{plugin=\"p\",le=\"2\"} 1\n",
		"\ngo_goroutines ",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in:\n%s", want, body)
		}
	}
	if w.Code != 200 {
		t.Errorf("status %d", w.Code)
	}
}

func TestAMetricIsDeclaredOnce(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("the second declaration of a metric is taken")
		}
	}()
	r := NewRegistry("x")
	r.Counter("a_total", "A.")
	r.Counter("a_total", "A.")
}
