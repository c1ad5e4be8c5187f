package telemetry

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Registry makes metrics under one namespace. Declare each beside the code that
// moves it, once: a name declared twice panics, as it is a mistake of the program.
type Registry struct {
	namespace string
	registry  *prometheus.Registry
}

// NewRegistry makes a registry that has Go's and the process's own metrics
// (go_*, process_*), which keep their names.
func NewRegistry(namespace string) *Registry {
	r := &Registry{namespace, prometheus.NewRegistry()}
	r.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Counter declares a counter; by convention its name ends in _total.
func (r *Registry) Counter(name, help string) prometheus.Counter {
	return r.factory().NewCounter(prometheus.CounterOpts{Namespace: r.namespace, Name: name, Help: help})
}

// CounterVec declares a counter for each combination of the labels' values, of
// which there must be few: each is a time series for ever.
func (r *Registry) CounterVec(name, help string, labels ...string) *prometheus.CounterVec {
	return r.factory().NewCounterVec(prometheus.CounterOpts{Namespace: r.namespace, Name: name, Help: help}, labels)
}

// Gauge declares a gauge.
func (r *Registry) Gauge(name, help string) prometheus.Gauge {
	return r.factory().NewGauge(prometheus.GaugeOpts{Namespace: r.namespace, Name: name, Help: help})
}

// GaugeVec is to Gauge what CounterVec is to Counter.
func (r *Registry) GaugeVec(name, help string, labels ...string) *prometheus.GaugeVec {
	return r.factory().NewGaugeVec(prometheus.GaugeOpts{Namespace: r.namespace, Name: name, Help: help}, labels)
}

// GaugeFunc declares a gauge that value is asked for at every scrape, from any
// goroutine.
func (r *Registry) GaugeFunc(name, help string, value func() float64) {
	r.factory().NewGaugeFunc(prometheus.GaugeOpts{Namespace: r.namespace, Name: name, Help: help}, value)
}

// HistogramVec declares a histogram with the given upper bounds; by convention its
// name ends in the unit, _seconds or _bytes. labels may be empty.
func (r *Registry) HistogramVec(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return r.factory().NewHistogramVec(prometheus.HistogramOpts{Namespace: r.namespace, Name: name, Help: help, Buckets: buckets}, labels)
}

func (r *Registry) factory() promauto.Factory { return promauto.With(r.registry) }

const (
	// A scrape gathers everything at once, so a few at a time are all that helps;
	// Prometheus itself gives up after ten seconds unless told otherwise.
	maxScrapes   = 4
	scrapeExpiry = 10 * time.Second
)

// Handler serves the metrics in the Prometheus text format.
func (r *Registry) Handler() http.Handler {
	return promhttp.HandlerFor(r.registry, promhttp.HandlerOpts{Registry: r.registry, MaxRequestsInFlight: maxScrapes, Timeout: scrapeExpiry})
}
