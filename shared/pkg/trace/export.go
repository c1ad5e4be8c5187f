package trace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/stavily/agents/internal/destination"
	"github.com/stavily/agents/internal/limits"
)

// Options of a tracer.
type Options struct {
	Endpoint string            // of the collector: a URL, to which /v1/traces is added
	Headers  map[string]string // of every request, for example an API key
	Sampler  string            // see ParseSampler; empty: always_on
	Service  string            // service.name
	Version  string            // service.version
	Instance string            // service.instance.id; may be empty
	Client   *http.Client      // nil: one of its own

	Count func(outcome string, spans int) // hears what became of spans; may be nil
	State func(err error)                 // hears when the collector takes them, with nil, or not; may be nil
}

// What became of spans.
const (
	Exported = "exported"
	Dropped  = "dropped"
)

// Variables that OpenTelemetry's own programs read too.
const (
	EnvEndpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
	EnvHeaders  = "OTEL_EXPORTER_OTLP_HEADERS"
)

const path = "/v1/traces"

// New makes a tracer. Its [Tracer.Run] sends.
func New(o Options) (*Tracer, error) {
	endpoint, err := Endpoint(o.Endpoint)
	if err != nil {
		return nil, err
	}
	if o.Sampler == "" {
		o.Sampler = AlwaysOn
	}
	sampler, err := ParseSampler(o.Sampler)
	if err != nil {
		return nil, fmt.Errorf("sampler %w", err)
	}
	if o.Client == nil {
		o.Client = &http.Client{Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, MaxIdleConns: 1, IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: sendLimit, ResponseHeaderTimeout: sendLimit,
		}, CheckRedirect: stay}
	}
	if o.Count == nil {
		o.Count = func(string, int) {}
	}
	if o.State == nil {
		o.State = func(error) {}
	}
	t := &Tracer{options: o, endpoint: endpoint, sampler: sampler, now: time.Now, ready: make(chan struct{}, 1)}
	host, _ := os.Hostname() // without one the attribute is left out
	for _, a := range []attribute{{key: "service.name", text: o.Service}, {key: "service.version", text: o.Version}, {key: "service.instance.id", text: o.Instance}, {key: "host.name", text: host}} {
		if a.text != "" {
			t.resource = append(t.resource, a)
		}
	}
	return t, nil
}

// stay follows no redirect, which would carry the headers to a host that nobody named, or
// turn the request into one without spans, whose answer would count for them.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Endpoint is the URL that spans go to, from that of a collector.
func Endpoint(base string) (string, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", fmt.Errorf("%.200q: must be a URL of a collector, for example http://127.0.0.1:4318", base)
	}
	if _, err := destination.URLPort(u); err != nil {
		return "", fmt.Errorf("%.200q: %w", base, err)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("must have no user, query or fragment: what the collector wants to know goes into headers")
	}
	if !strings.HasSuffix(u.Path, path) {
		u.Path = strings.TrimSuffix(u.Path, "/") + path
	}
	return u.String(), nil
}

// ParseHeaders reads name=value pairs between commas, percent-encoded, as EnvHeaders has them.
func ParseHeaders(text string) (map[string]string, error) {
	out := map[string]string{}
	for pair := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, value, found := strings.Cut(pair, "=")
		value, err := url.QueryUnescape(strings.ReplaceAll(strings.TrimSpace(value), "+", "%2B"))
		if name = strings.TrimSpace(name); !found || name == "" || err != nil {
			return nil, errors.New("must be name=value pairs between commas, with other characters percent-encoded")
		}
		out[name] = value
	}
	return out, nil
}

const (
	gather    = time.Second      // spans of one event come together
	sendLimit = 10 * time.Second // of one request
	patience  = time.Minute      // after which spans that nobody takes are dropped
	firstWait = time.Second      // before the second try; doubled each time
	maxBatch  = 256              // spans in one request, some 150 KB
	maxAnswer = 64 << 10
)

// Run sends spans until ctx ends. What is there then is for [Tracer.Flush].
func (t *Tracer) Run(ctx context.Context) error {
	if t == nil {
		<-ctx.Done()
		return nil
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.ready:
		}
		if !sleep(ctx, gather) {
			return nil
		}
		for spans := t.batch(); len(spans) > 0; spans = t.batch() {
			if !t.insist(ctx, spans) { // the end: Flush sends them
				return nil
			}
		}
	}
}

// Flush sends what is left, once, as long as ctx allows.
func (t *Tracer) Flush(ctx context.Context) {
	if t == nil {
		return
	}
	for spans := t.batch(); len(spans) > 0; spans = t.batch() {
		t.settle(len(spans), t.send(ctx, spans))
	}
	t.options.Client.CloseIdleConnections()
}

// insist sends a batch until it is taken, refused for good, or too old. It reports false
// when ctx ended first.
func (t *Tracer) insist(ctx context.Context, spans []*Span) bool {
	deadline, pause := time.Now().Add(patience), firstWait
	for {
		err := t.send(ctx, spans)
		if ctx.Err() != nil && err != nil {
			return false
		}
		if err == nil || errors.Is(err, errRefused) || time.Now().Add(pause).After(deadline) {
			t.settle(len(spans), err)
			return true
		}
		t.options.State(err)
		if !sleep(ctx, pause) {
			return false
		}
		pause *= 2
	}
}

// settle forgets the first n spans and tells what became of them.
func (t *Tracer) settle(n int, err error) {
	t.forget(n)
	t.options.State(err)
	if err != nil {
		t.options.Count(Dropped, n)
		return
	}
	t.options.Count(Exported, n)
}

// errRefused marks an answer that does not change when the request is repeated.
var errRefused = errors.New("the collector refuses spans")

func (t *Tracer) send(ctx context.Context, spans []*Span) error {
	ctx, cancel := context.WithTimeout(ctx, sendLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, t.endpoint, bytes.NewReader(encode(t.resource, spans)))
	if err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	for name, value := range t.options.Headers {
		request.Header.Set(name, value)
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := t.options.Client.Do(request)
	if err != nil {
		return fmt.Errorf("send spans: %w", err)
	}
	defer answer.Body.Close()
	text, _ := limits.ReadAll(answer.Body, maxAnswer) // read for the connection to be used again
	switch {
	case answer.StatusCode/100 == 2:
		return nil
	case answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode == http.StatusBadGateway ||
		answer.StatusCode == http.StatusServiceUnavailable || answer.StatusCode == http.StatusGatewayTimeout:
		return fmt.Errorf("send spans: %s answered %s", t.endpoint, answer.Status)
	}
	return fmt.Errorf("%w: %s answered %s: %.200q", errRefused, t.endpoint, answer.Status, text)
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
