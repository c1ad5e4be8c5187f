package telemetry

import (
	"context"
	"fmt"
	"math"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// scrape reads the registry as Prometheus does, and with its linter.
func scrape(t *testing.T, r *Registry) (string, map[string]*dto.MetricFamily) {
	t.Helper()
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	body := w.Body.String()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		t.Fatalf("%v in:\n%s", err, body)
	}
	if got := expfmt.ResponseFormat(w.Header()).FormatType(); got != expfmt.TypeTextPlain {
		t.Errorf("content type %q is not the text format", w.Header().Get("Content-Type"))
	}
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	return body, families
}

func TestMetricsAreServed(t *testing.T) {
	r := NewRegistry("stavily_agent")
	r.Counter("polls_total", "Polls.")
	r.CounterVec("runs_total", "Runs.", "plugin", "status").WithLabelValues("p", "completed").Add(2)
	r.CounterVec("unused_total", "What never happened.", "plugin")
	r.CounterFunc("calls_total", "Calls.", func() float64 { return 1e21 })
	r.Gauge("connected", "Whether the orchestrator answers.").Set(1)
	r.GaugeVec("monitor_up", "Whether a monitor runs.", "monitor").WithLabelValues("logs").Add(-0.5)
	r.GaugeFunc("spool_bytes", "Bytes that wait.", func() float64 { return 7 })
	r.GaugesFunc("agents", "Agents.", "state", func(context.Context) map[string]float64 { return map[string]float64{"silent": 2} })
	r.GaugeFunc("expiry_seconds", "What is not known.", func() float64 { return math.NaN() })
	h := r.HistogramVec("run_seconds", "How long runs take.", []float64{1, 2}, "plugin").WithLabelValues("p")
	for _, v := range []float64{0.5, 1, 1.5, 3} {
		h.Observe(v)
	}

	body, families := scrape(t, r)
	for _, want := range []string{
		"# HELP stavily_agent_polls_total Polls.\n# TYPE stavily_agent_polls_total counter\nstavily_agent_polls_total 0\n",
		"stavily_agent_runs_total{plugin=\"p\",status=\"completed\"} 2\n",
		"stavily_agent_connected 1\n",
		"stavily_agent_monitor_up{monitor=\"logs\"} -0.5\n",
		"stavily_agent_spool_bytes 7\n",
		"stavily_agent_agents{state=\"silent\"} 2\n",
		"stavily_agent_run_seconds_bucket{plugin=\"p\",le=\"1\"} 2\n",
		"stavily_agent_run_seconds_bucket{plugin=\"p\",le=\"2\"} 3\n",
		"stavily_agent_run_seconds_bucket{plugin=\"p\",le=\"+Inf\"} 4\n",
		"stavily_agent_run_seconds_sum{plugin=\"p\"} 6\n",
		"stavily_agent_run_seconds_count{plugin=\"p\"} 4\n",
		"\ngo_goroutines ",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in:\n%s", want, body)
		}
	}
	for _, not := range []string{"unused", "expiry"} {
		if strings.Contains(body, not) {
			t.Errorf("%s has no sample and is there", not)
		}
	}
	if got := families["stavily_agent_calls_total"].GetMetric()[0].GetCounter().GetValue(); got != 1e21 {
		t.Errorf("calls = %v", got)
	}
	if n := len(r.Describe()); n != len(families)+2 {
		t.Errorf("%d metrics described, %d served and two without a sample", n, len(families))
	}
}

func TestLabelsOfAnyText(t *testing.T) {
	r := NewRegistry("x")
	v := r.CounterVec("seen_total", "A \\ and\na line.", "text")
	texts := []string{"", `quo"te`, `back\slash`, "line\nfeed", `\n`, "snow ☃", "}", "a=b,c", "bad \xff byte", "\r\x00"}
	for _, text := range texts {
		v.WithLabelValues(text).Inc()
	}
	_, families := scrape(t, r)
	got := map[string]bool{}
	for _, m := range families["x_seen_total"].GetMetric() {
		got[m.GetLabel()[0].GetValue()] = true
	}
	for _, text := range texts {
		if !got[strings.ToValidUTF8(text, "\uFFFD")] {
			t.Errorf("%q is not read back, of %v", text, got)
		}
	}
}

func TestTheNumberOfSeriesIsBounded(t *testing.T) {
	r := NewRegistry("x")
	v := r.CounterVec("seen_total", "Seen.", "plugin", "outcome")
	for i := range 10 * maxSeries {
		v.WithLabelValues(fmt.Sprint("p", i), "ok").Inc()
	}
	_, families := scrape(t, r)
	var sum, others float64
	for _, m := range families["x_seen_total"].GetMetric() {
		sum += m.GetCounter().GetValue()
		if m.GetLabel()[0].GetValue() == overflow {
			others = m.GetCounter().GetValue()
		}
	}
	if n := len(families["x_seen_total"].GetMetric()); n != maxSeries+1 || sum != 10*maxSeries || others != 9*maxSeries {
		t.Errorf("%d series that count %v, %v of them as others", n, sum, others)
	}
	v.Forget("p1", "ok")
	if body, _ := scrape(t, r); strings.Contains(body, `"p1"`) {
		t.Error("a series that was to be forgotten is there")
	}
}

func TestMetricsUnderConcurrency(t *testing.T) {
	r := NewRegistry("x")
	c, g := r.CounterVec("a_total", "A.", "n"), r.Gauge("level", "B.")
	h := r.HistogramVec("c_seconds", "C.", []float64{1}).WithLabelValues()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 1000 {
				c.WithLabelValues(fmt.Sprint(i % 4)).Inc()
				g.Add(1)
				h.Observe(0.5)
			}
			r.render(t.Context())
		})
	}
	wg.Wait()
	_, families := scrape(t, r)
	for _, m := range families["x_a_total"].GetMetric() {
		if m.GetCounter().GetValue() != 2000 {
			t.Errorf("%v", m)
		}
	}
	if h := families["x_c_seconds"].GetMetric()[0].GetHistogram(); h.GetSampleCount() != 8000 || h.GetSampleSum() != 4000 || g.value.load() != 8000 {
		t.Errorf("%v, %v", h, g.value.load())
	}
}

func TestACounterDoesNotFall(t *testing.T) {
	var c Counter
	for _, v := range []float64{2, -1, math.NaN(), 0} {
		c.Add(v)
	}
	if got := c.value.load(); got != 2 {
		t.Errorf("%v", got)
	}
}

func TestMistakesOfTheProgramPanic(t *testing.T) {
	for name, mistake := range map[string]func(r *Registry){
		"declared twice":       func(r *Registry) { r.Counter("a_total", "A."); r.Gauge("a_total", "A.") },
		"no name":              func(r *Registry) { r.Counter("a-b", "A.") },
		"no name of a label":   func(r *Registry) { r.CounterVec("a_total", "A.", "le gal") },
		"too few values":       func(r *Registry) { r.CounterVec("a_total", "A.", "x").WithLabelValues() },
		"buckets not in order": func(r *Registry) { r.HistogramVec("a_seconds", "A.", []float64{2, 1}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: taken", name)
				}
			}()
			mistake(NewRegistry("x"))
		}()
	}
}

func TestTheProcessIsMeasured(t *testing.T) {
	if _, err := os.Stat("/proc/self/statm"); err != nil {
		t.Skip("the system tells less than Linux")
	}
	value := func() func(string) float64 {
		_, families := scrape(t, NewRegistry("x"))
		return func(name string) float64 {
			if families[name] == nil {
				t.Fatalf("no %s", name)
			}
			m := families[name].GetMetric()[0]
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	before := value()
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	big := make([]byte, 64<<20)
	sum := 0
	for i := range big { // touched, so that it is resident, and CPU time is spent
		big[i] = byte(i)
		sum += int(big[i])
	}
	after := value()
	if got := after("process_open_fds") - before("process_open_fds"); got != 1 {
		t.Errorf("one more file and %v more descriptors", got)
	}
	if got := after("process_resident_memory_bytes") - before("process_resident_memory_bytes"); got < 48<<20 {
		t.Errorf("64 MiB more and %v more resident (%d)", got, sum)
	}
	if after("process_cpu_seconds_total") <= before("process_cpu_seconds_total") || after("go_memstats_heap_alloc_bytes") < 64<<20 {
		t.Errorf("CPU %v to %v, heap %v", before("process_cpu_seconds_total"), after("process_cpu_seconds_total"), after("go_memstats_heap_alloc_bytes"))
	}
	if age := float64(started.Unix()) - after("process_start_time_seconds"); age < -1 || age > 1 || after("process_threads") < 2 || after("process_max_fds") < 64 {
		t.Errorf("start differs by %v, %v threads, %v descriptors at most", age, after("process_threads"), after("process_max_fds"))
	}
	_ = big[0]
}
