package telemetry

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Registry makes metrics under one namespace. Declare each beside the code that
// moves it, once: a name declared twice panics, as it is a mistake of the program.
type Registry struct {
	namespace string

	mu       sync.Mutex // guards the fields below
	families []family   // in the order of their names
}

// family is one metric with all its time series.
type family struct {
	name, help, kind string
	labels           []string
	samples          writer
}

// writer appends the lines of one time series, or of all that a family has.
type writer interface {
	appendTo(ctx context.Context, b []byte, name, labels string) []byte
}

// NewRegistry makes a registry that has Go's and the process's own metrics
// (go_*, process_*), which keep the names that Prometheus's own client gives them.
func NewRegistry(namespace string) *Registry {
	r := &Registry{namespace: namespace}
	r.declareGo()
	r.declareProcess()
	return r
}

// Counter declares a counter; by convention its name ends in _total.
func (r *Registry) Counter(name, help string) *Counter {
	c := new(Counter)
	r.declare(name, help, "counter", nil, c)
	return c
}

// CounterVec declares a counter for each combination of the labels' values, of
// which there must be few: each is a time series for ever.
func (r *Registry) CounterVec(name, help string, labels ...string) *CounterVec {
	v := newVec(labels, func() *Counter { return new(Counter) })
	r.declare(name, help, "counter", labels, v)
	return v
}

// CounterFunc declares a counter that is kept elsewhere; see GaugeFunc.
func (r *Registry) CounterFunc(name, help string, value func() float64) {
	r.declare(name, help, "counter", nil, asked(value))
}

// Gauge declares a gauge.
func (r *Registry) Gauge(name, help string) *Gauge {
	g := new(Gauge)
	r.declare(name, help, "gauge", nil, g)
	return g
}

// GaugeVec is to Gauge what CounterVec is to Counter.
func (r *Registry) GaugeVec(name, help string, labels ...string) *GaugeVec {
	v := newVec(labels, func() *Gauge { return new(Gauge) })
	r.declare(name, help, "gauge", labels, v)
	return v
}

// GaugeFunc declares a gauge that value is asked for at every scrape, from any
// goroutine. While value answers NaN there is no sample: it is not known.
func (r *Registry) GaugeFunc(name, help string, value func() float64) {
	r.declare(name, help, "gauge", nil, asked(value))
}

// GaugesFunc declares a gauge with one label, whose values are asked for at every scrape,
// by the value of the label.
func (r *Registry) GaugesFunc(name, help, label string, values func(context.Context) map[string]float64) {
	r.declare(name, help, "gauge", []string{label}, askedEach{label, values})
}

// HistogramVec declares a histogram with the given ascending upper bounds; by
// convention its name ends in the unit, _seconds or _bytes. labels may be empty.
func (r *Registry) HistogramVec(name, help string, buckets []float64, labels ...string) *HistogramVec {
	if !slices.IsSorted(buckets) {
		panic("metric " + name + ": the buckets do not ascend")
	}
	v := newVec(labels, func() *Histogram { return newHistogram(buckets) })
	r.declare(name, help, "histogram", labels, v)
	return v
}

func (r *Registry) declare(name, help, kind string, labels []string, samples writer) {
	if r.namespace != "" {
		name = r.namespace + "_" + name
	}
	r.add(family{name: name, help: help, kind: kind, labels: labels, samples: samples})
}

var validName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

func (r *Registry) add(f family) {
	for _, name := range append([]string{f.name}, f.labels...) {
		if !validName.MatchString(name) {
			panic(fmt.Sprintf("metric %s: %q is no name that Prometheus takes", f.name, name))
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	at, found := slices.BinarySearchFunc(r.families, f.name, func(f family, name string) int { return strings.Compare(f.name, name) })
	if found {
		panic("metric " + f.name + " is declared twice")
	}
	r.families = slices.Insert(r.families, at, f)
}

// Described is what a metric is, for the documentation to be held against.
type Described struct {
	Name, Kind, Help string
	Labels           []string
}

// Describe lists every declared metric by name.
func (r *Registry) Describe() []Described {
	var out []Described
	for _, f := range r.snapshot() {
		out = append(out, Described{f.name, f.kind, f.help, f.labels})
	}
	return out
}

func (r *Registry) snapshot() []family {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.families)
}

// Handler serves the metrics in the Prometheus text format.
func (r *Registry) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		// A scraper that hung up is told nothing, and asks again by itself.
		_, _ = w.Write(r.render(request.Context()))
	})
}

// render writes what there is. A family without a sample is left out, as a reader can
// do nothing with its head alone.
func (r *Registry) render(ctx context.Context) []byte {
	b := make([]byte, 0, 16<<10)
	for _, f := range r.snapshot() {
		start := len(b)
		b = append(b, "# HELP "+f.name+" "+helpEscapes.Replace(f.help)+"\n# TYPE "+f.name+" "+f.kind+"\n"...)
		head := len(b)
		if b = f.samples.appendTo(ctx, b, f.name, ""); len(b) == head {
			b = b[:start]
		}
	}
	return b
}

// asked is a value that is kept elsewhere.
type asked func() float64

func (a asked) appendTo(_ context.Context, b []byte, name, labels string) []byte {
	v := a()
	if math.IsNaN(v) {
		return b
	}
	return appendSample(b, name, labels, v)
}

// askedEach are values that are kept elsewhere.
type askedEach struct {
	label  string
	values func(context.Context) map[string]float64
}

func (a askedEach) appendTo(ctx context.Context, b []byte, name, _ string) []byte {
	v := newVec([]string{a.label}, func() *Gauge { return new(Gauge) })
	for label, value := range a.values(ctx) {
		v.WithLabelValues(label).Set(value)
	}
	return v.appendTo(ctx, b, name, "")
}
