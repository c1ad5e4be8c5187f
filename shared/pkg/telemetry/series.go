package telemetry

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// number is a float64 that many goroutines may change.
type number struct{ bits atomic.Uint64 }

func (n *number) load() float64 { return math.Float64frombits(n.bits.Load()) }

func (n *number) add(v float64) {
	for {
		old := n.bits.Load()
		if n.bits.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}

// Counter only rises.
type Counter struct{ value number }

// Inc adds one.
func (c *Counter) Inc() { c.value.add(1) }

// Add adds v. What is negative or no number is left out: a counter that fell would
// read as a restart of the process.
func (c *Counter) Add(v float64) {
	if v > 0 {
		c.value.add(v)
	}
}

func (c *Counter) appendTo(_ context.Context, b []byte, name, labels string) []byte {
	return appendSample(b, name, labels, c.value.load())
}

// Gauge rises and falls.
type Gauge struct{ value number }

// Set makes v the value.
func (g *Gauge) Set(v float64) { g.value.bits.Store(math.Float64bits(v)) }

// Add adds v, which may be negative.
func (g *Gauge) Add(v float64) { g.value.add(v) }

func (g *Gauge) appendTo(_ context.Context, b []byte, name, labels string) []byte {
	return appendSample(b, name, labels, g.value.load())
}

// Histogram counts values by the bounds that they keep.
type Histogram struct {
	bounds []float64
	counts []atomic.Uint64 // one a bound, and the last for what is above all of them
	sum    number
}

func newHistogram(bounds []float64) *Histogram {
	return &Histogram{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
}

// Observe counts one value.
func (h *Histogram) Observe(v float64) {
	at, _ := slices.BinarySearch(h.bounds, v)
	h.counts[at].Add(1)
	h.sum.add(v)
}

// appendTo writes the count as the sum of what it read of the buckets, so that the two
// agree even when values come in meanwhile.
func (h *Histogram) appendTo(_ context.Context, b []byte, name, labels string) []byte {
	var count uint64
	bucket := name + "_bucket"
	for i, bound := range h.bounds {
		count += h.counts[i].Load()
		b = appendSample(b, bucket, joinLabels(labels, `le="`+strconv.FormatFloat(bound, 'g', -1, 64)+`"`), float64(count))
	}
	count += h.counts[len(h.bounds)].Load()
	b = appendSample(b, bucket, joinLabels(labels, `le="+Inf"`), float64(count))
	b = appendSample(b, name+"_sum", labels, h.sum.load())
	return appendSample(b, name+"_count", labels, float64(count))
}

// maxSeries bounds a metric whose labels come from what people name: 500 are far above
// the plugins and monitors of one host, and cost some 100 KB.
const maxSeries = 500

// overflow is the value of every label of the series that counts what is beyond maxSeries.
const overflow = "other"

// series is one time series that can stand in a Vec.
type series interface {
	Counter | Gauge | Histogram
}

// Vec is one metric with labels: a series for each combination of their values that was
// used, and one for all that came after the first 500.
type Vec[T series] struct {
	labels []string
	make   func() *T

	mu     sync.RWMutex  // guards the field below
	series map[string]*T // by the written labels
}

// The three kinds of metrics with labels.
type (
	CounterVec   = Vec[Counter]
	GaugeVec     = Vec[Gauge]
	HistogramVec = Vec[Histogram]
)

func newVec[T series](labels []string, make func() *T) *Vec[T] {
	return &Vec[T]{labels: labels, make: make, series: map[string]*T{}}
}

// WithLabelValues is the series with these values of the labels, in the order of their
// declaration. Another number of them panics, as it is a mistake of the program.
func (v *Vec[T]) WithLabelValues(values ...string) *T {
	key := v.written(values)
	v.mu.RLock()
	s := v.series[key]
	v.mu.RUnlock()
	if s != nil {
		return s
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if s = v.series[key]; s == nil && len(v.series) >= maxSeries {
		key = v.written(slices.Repeat([]string{overflow}, len(v.labels)))
		s = v.series[key]
	}
	if s == nil {
		s = v.make()
		v.series[key] = s
	}
	return s
}

// Forget drops a series, of what is no longer there.
func (v *Vec[T]) Forget(values ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.series, v.written(values))
}

// written is the labels as they stand between the braces.
func (v *Vec[T]) written(values []string) string {
	if len(values) != len(v.labels) {
		panic(fmt.Sprintf("%d values for the labels %q", len(values), v.labels))
	}
	var b strings.Builder
	for i, value := range values {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(v.labels[i])
		b.WriteString(`="`)
		b.WriteString(labelEscapes.Replace(strings.ToValidUTF8(value, "\uFFFD")))
		b.WriteByte('"')
	}
	return b.String()
}

func (v *Vec[T]) appendTo(ctx context.Context, b []byte, name, _ string) []byte {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for _, labels := range slices.Sorted(maps.Keys(v.series)) {
		b = any(v.series[labels]).(writer).appendTo(ctx, b, name, labels)
	}
	return b
}

// The text format escapes line feeds and backslashes everywhere, quotes in labels only.
var (
	helpEscapes  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	labelEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

func joinLabels(labels, one string) string {
	if labels == "" {
		return one
	}
	return labels + "," + one
}

func appendSample(b []byte, name, labels string, v float64) []byte {
	b = append(b, name...)
	if labels != "" {
		b = append(b, '{')
		b = append(b, labels...)
		b = append(b, '}')
	}
	b = append(b, ' ')
	b = strconv.AppendFloat(b, v, 'g', -1, 64)
	return append(b, '\n')
}
