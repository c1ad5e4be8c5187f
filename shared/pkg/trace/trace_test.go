package trace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"
)

const (
	sampled   = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	unsampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		sampled:   sampled,
		unsampled: unsampled,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff":      sampled, // unknown flags are not passed on
		"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what": sampled, // of a later version
		"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01what":  "",
		sampled + "-more": "", // version 00 has no more
		"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01": "",
		"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01": "",
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01": "",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01": "",
		"00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01": "",
		"00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01": "",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7":    "",
		"": "",
	} {
		c := Parse(in)
		if got := c.String(); got != want || c.Valid() != (want != "") {
			t.Errorf("Parse(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sampled)
	f.Add(strings.Repeat("-", 60))
	f.Fuzz(func(t *testing.T, text string) {
		c := Parse(text)
		if again := Parse(c.String()); again != c {
			t.Errorf("%q gives %v, and that %v", text, c, again)
		}
	})
}

func TestSamplers(t *testing.T) {
	for name, want := range map[string]int{AlwaysOn: 10000, AlwaysOff: 0, "traceidratio:1": 10000, "traceidratio:0": 0, "traceidratio:0.25": 2500} {
		s, err := ParseSampler(name)
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for range 10000 {
			var id [16]byte
			fill(id[:])
			if s.takes(id) {
				got++
			}
		}
		if diff := got - want; diff < -300 || diff > 300 { // 7 standard deviations
			t.Errorf("%s takes %d of 10000", name, got)
		}
	}
	for _, name := range []string{"", "always", "traceidratio:", "traceidratio:1.1", "traceidratio:-1", "traceidratio:NaN", "0.5"} {
		if _, err := ParseSampler(name); err == nil {
			t.Errorf("%q is taken", name)
		}
	}
}

func TestEndpoint(t *testing.T) {
	for in, want := range map[string]string{
		"http://127.0.0.1:4318":              "http://127.0.0.1:4318/v1/traces",
		"https://otel.example.com/":          "https://otel.example.com/v1/traces",
		"https://otel.example.com/otlp":      "https://otel.example.com/otlp/v1/traces",
		"https://otel.example.com/v1/traces": "https://otel.example.com/v1/traces",
		"otel:4318":                          "", "": "", "ftp://x": "", "http://": "", "http://u:p@h": "", "http://h?x=1": "",
	} {
		if got, err := Endpoint(in); got != want || (err == nil) != (want != "") {
			t.Errorf("Endpoint(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestParseHeaders(t *testing.T) {
	got, err := ParseHeaders(" api-key = a%20b+c=d , x=1,, ")
	if err != nil || len(got) != 2 || got["api-key"] != "a b+c=d" || got["x"] != "1" {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"nothing", "=x", "a=%zz"} {
		if _, err := ParseHeaders(bad); err == nil || strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// collector decodes what it gets as the OpenTelemetry collector does.
type collector struct {
	*httptest.Server
	mu     sync.Mutex
	spans  []ptrace.Span
	about  map[string]any
	header http.Header
	bad    []error
}

func collect(t *testing.T, answer func(n int) int) *collector {
	c := &collector{}
	n := 0
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		c.mu.Lock()
		defer c.mu.Unlock()
		n++
		if code := answer(n); code != http.StatusOK {
			w.WriteHeader(code)
			return
		}
		traces, decoding := new(ptrace.JSONUnmarshaler).UnmarshalTraces(body)
		if err = errors.Join(err, decoding); err != nil {
			c.bad = append(c.bad, err)
			return
		}
		c.header = r.Header
		for _, rs := range traces.ResourceSpans().All() {
			c.about = rs.Resource().Attributes().AsRaw()
			for _, ss := range rs.ScopeSpans().All() {
				for _, s := range ss.Spans().All() {
					c.spans = append(c.spans, s)
				}
			}
		}
		fmt.Fprint(w, "{}")
	}))
	t.Cleanup(c.Close)
	return c
}

func always(code int) func(int) int { return func(int) int { return code } }

func TestSpansReachACollector(t *testing.T) {
	c := collect(t, always(http.StatusOK))
	tracer, err := New(Options{Endpoint: c.URL, Headers: map[string]string{"api-key": "k"}, Service: "stavily-sensor-agent", Version: "1.2", Instance: "web-01"})
	if err != nil {
		t.Fatal(err)
	}
	root := tracer.Start(Context{}, "sample", Internal)
	root.Set("plugin", "disk").Set("empty", "").SetInt("events", 2).SetInt("zero", 0)
	child := tracer.Start(Parse(root.Context().String()), "emit", Producer)
	child.Fail("broken \xff " + strings.Repeat("x", 2*maxText)).End()
	child.End() // once
	root.End()
	tracer.Flush(t.Context())
	if len(c.spans) != 2 || c.bad != nil {
		t.Fatalf("%d spans, %v", len(c.spans), c.bad)
	}
	gotChild, gotRoot := c.spans[0], c.spans[1]
	if gotRoot.ParentSpanID().IsEmpty() != true || gotChild.ParentSpanID() != gotRoot.SpanID() || gotChild.TraceID() != gotRoot.TraceID() || gotRoot.TraceID().IsEmpty() {
		t.Errorf("root %v %v, child of %v %v", gotRoot.TraceID(), gotRoot.SpanID(), gotChild.TraceID(), gotChild.ParentSpanID())
	}
	if got, want := fmt.Sprint(gotRoot.Attributes().AsRaw()), fmt.Sprint(map[string]any{"plugin": "disk", "events": int64(2), "zero": int64(0)}); got != want {
		t.Errorf("attributes %s, want %s", got, want)
	}
	if gotRoot.Name() != "sample" || gotRoot.Kind() != ptrace.SpanKindInternal || gotChild.Kind() != ptrace.SpanKindProducer || gotRoot.Status().Code() != ptrace.StatusCodeUnset ||
		gotChild.Status().Code() != ptrace.StatusCodeError || len(gotChild.Status().Message()) > maxText+8 {
		t.Errorf("root %v %v %v, child %v %v", gotRoot.Name(), gotRoot.Kind(), gotRoot.Status().Code(), gotChild.Kind(), gotChild.Status().Message())
	}
	if begin := gotRoot.StartTimestamp().AsTime(); time.Since(begin) > time.Minute || gotRoot.EndTimestamp() < gotRoot.StartTimestamp() {
		t.Errorf("from %v to %v", begin, gotRoot.EndTimestamp().AsTime())
	}
	if c.about["service.name"] != "stavily-sensor-agent" || c.about["service.version"] != "1.2" || c.about["service.instance.id"] != "web-01" || c.header.Get("api-key") != "k" {
		t.Errorf("resource %v, headers %v", c.about, c.header)
	}
}

func TestWhoeverStartsATraceDecides(t *testing.T) {
	c := collect(t, always(http.StatusOK))
	off, err := New(Options{Endpoint: c.URL, Sampler: AlwaysOff})
	if err != nil {
		t.Fatal(err)
	}
	s := off.Start(Context{}, "not recorded", Internal)
	if got := s.Carry(""); !strings.HasSuffix(got, "-00") {
		t.Errorf("%q goes on", got)
	}
	s.End()
	off.Start(Parse(unsampled), "not recorded", Internal).End()
	off.Start(Parse(sampled), "recorded", Internal).End()
	off.Flush(t.Context())
	on, err := New(Options{Endpoint: c.URL})
	if err != nil {
		t.Fatal(err)
	}
	on.Start(Parse(unsampled), "not recorded", Internal).End()
	on.Flush(t.Context())
	if len(c.spans) != 1 || c.spans[0].Name() != "recorded" {
		t.Errorf("%d spans", len(c.spans))
	}
}

// A collector that has moved gets nothing, and is told of.
func TestRedirectsAreNotFollowed(t *testing.T) {
	c := collect(t, always(http.StatusOK))
	for _, code := range []int{http.StatusMovedPermanently, http.StatusPermanentRedirect} {
		moved := httptest.NewServer(http.RedirectHandler(c.URL, code))
		t.Cleanup(moved.Close)
		outcomes := ""
		var state error
		tracer, err := New(Options{
			Endpoint: moved.URL, Headers: map[string]string{"api-key": "k"},
			Count: func(outcome string, n int) { outcomes += fmt.Sprint(outcome, n) }, State: func(err error) { state = err },
		})
		if err != nil {
			t.Fatal(err)
		}
		tracer.Start(Context{}, "x", Internal).End()
		tracer.Flush(t.Context())
		if outcomes != "dropped1" || state == nil || !strings.Contains(state.Error(), fmt.Sprint(code)) || c.header != nil || c.bad != nil {
			t.Errorf("%d: spans are %s, %v; the other host got %v, %v", code, outcomes, state, c.header, c.bad)
		}
	}
}

// transport answers without a network, for clocks that are not real.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answering(code func() int) *http.Client {
	return &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		n := code()
		if n == 0 {
			return nil, errors.New("connection refused")
		}
		return &http.Response{StatusCode: n, Status: fmt.Sprint(n), Body: io.NopCloser(strings.NewReader("{}"))}, nil
	})}
}

func TestACollectorThatIsAway(t *testing.T) {
	for name, c := range map[string]struct {
		code      func(tries int) int
		exported  int
		tries     int
		lastState bool // it is well
	}{
		"comes back":     {func(n int) int { return map[bool]int{true: 503, false: 200}[n < 4] }, 1, 4, true},
		"not there":      {func(int) int { return 0 }, 0, 6, false},
		"refuses":        {func(int) int { return 400 }, 0, 1, false},
		"is overwhelmed": {func(int) int { return 429 }, 0, 6, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			tries, counted := 0, map[string]int{}
			var state error
			tracer, err := New(Options{
				Endpoint: "http://127.0.0.1:1", Client: answering(func() int { tries++; return c.code(tries) }),
				Count: func(outcome string, n int) { counted[outcome] += n }, State: func(err error) { state = err },
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- tracer.Run(ctx) }()
			tracer.Start(Context{}, "x", Internal).End()
			time.Sleep(5 * time.Minute)
			cancel()
			if err := <-done; err != nil || tries != c.tries || counted[Exported] != c.exported || counted[Dropped] != 1-c.exported || (state == nil) != c.lastState {
				t.Errorf("%s: %d tries, %v, state %v, %v", name, tries, counted, state, err)
			}
		})
	}
}

func TestWhatIsKeptIsBounded(t *testing.T) {
	sent, dropped := 0, 0
	var sizes []int
	tracer, err := New(Options{
		Endpoint: "http://127.0.0.1:1", Client: answering(func() int { sizes = append(sizes, 1); return 200 }),
		Count: func(outcome string, n int) {
			if outcome == Dropped {
				dropped += n
			} else {
				sent += n
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for range maxQueue + 7 {
		tracer.Start(Context{}, "x", Internal).End()
	}
	tracer.Flush(t.Context())
	if sent != maxQueue || dropped != 7 || len(sizes) != maxQueue/maxBatch {
		t.Errorf("sent %d in %d requests, dropped %d", sent, len(sizes), dropped)
	}
}

// What is on its way counts until it is there.
func TestWhatIsTriedAgainIsKeptOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var well atomic.Bool
		var mu sync.Mutex // guards outcomes
		outcomes := map[string]int{}
		counted := func(outcome string) int {
			mu.Lock()
			defer mu.Unlock()
			return outcomes[outcome]
		}
		tracer, err := New(Options{
			Endpoint: "http://127.0.0.1:1", Client: answering(func() int { return map[bool]int{false: 503, true: 200}[well.Load()] }),
			Count: func(outcome string, n int) {
				mu.Lock()
				defer mu.Unlock()
				outcomes[outcome] += n
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- tracer.Run(ctx) }()
		full := func() {
			for range maxQueue {
				tracer.Start(Context{}, "x", Internal).End()
			}
		}
		full()
		time.Sleep(2 * time.Second) // it is being tried
		full()
		if counted(Dropped) != maxQueue {
			t.Errorf("%d spans dropped beside %d that are kept", counted(Dropped), maxQueue)
		}
		well.Store(true)
		time.Sleep(time.Minute)
		synctest.Wait()
		if counted(Exported) != maxQueue || tracer.queue != nil {
			t.Errorf("%d, and %d are left", counted(Exported), len(tracer.queue))
		}
		full()
		time.Sleep(time.Minute)
		synctest.Wait()
		if counted(Exported) != 2*maxQueue {
			t.Errorf("then %d", counted(Exported))
		}
		cancel()
		<-done
	})
}

func TestTheEndSendsWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent, well := 0, false
		tracer, err := New(Options{
			Endpoint: "http://127.0.0.1:1", Client: answering(func() int { return map[bool]int{false: 503, true: 200}[well] }),
			Count: func(outcome string, n int) { sent += n },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- tracer.Run(ctx) }()
		tracer.Start(Context{}, "x", Internal).End()
		time.Sleep(2 * time.Second) // it is being tried
		cancel()
		<-done
		tracer.Start(Context{}, "y", Internal).End()
		well = true
		tracer.Flush(context.WithoutCancel(ctx))
		if sent != 2 {
			t.Errorf("%d spans sent", sent)
		}
	})
}

func work(tracer *Tracer, came string) string {
	s := tracer.Start(Parse(came), "work", Internal)
	s.Set("plugin", "p").SetInt("n", 3)
	out := s.Carry("")
	s.Fail("no").End()
	return out
}

func TestOffIsFree(t *testing.T) {
	if n := testing.AllocsPerRun(1000, func() { work(nil, "") }); n != 0 {
		t.Errorf("%v allocations while tracing is off", n)
	}
	if got := (*Tracer)(nil).Start(Context{}, "x", Internal).Carry(sampled); got != sampled {
		t.Errorf("a trace does not pass through: %q", got)
	}
}

func BenchmarkOff(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		work(nil, "")
	}
}

func BenchmarkOn(b *testing.B) {
	tracer, err := New(Options{Endpoint: "http://127.0.0.1:1"})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		work(tracer, sampled)
		tracer.forget(1)
	}
}
