package trace

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Kind is what a span is to the one that it is below.
type Kind int

// The kinds, with OTLP's numbers.
const (
	Internal Kind = iota + 1
	Server
	Client
	Producer
	Consumer
)

// Sampler says which traces that begin here are recorded.
type Sampler struct{ below uint64 } // of the last 8 bytes of the trace id, as OpenTelemetry's does

// Names of samplers.
const (
	AlwaysOn  = "always_on"
	AlwaysOff = "always_off"
	ratio     = "traceidratio:"
)

// ParseSampler reads always_on, always_off or traceidratio:<0 to 1>.
func ParseSampler(name string) (Sampler, error) {
	switch name {
	case AlwaysOn:
		return Sampler{math.MaxUint64}, nil
	case AlwaysOff:
		return Sampler{}, nil
	}
	text, is := strings.CutPrefix(name, ratio)
	part, err := strconv.ParseFloat(text, 64)
	if !is || err != nil || !(part >= 0 && part <= 1) {
		return Sampler{}, fmt.Errorf("%.80q: must be %s, %s or %s<part>, for example %s0.1", name, AlwaysOn, AlwaysOff, ratio, ratio)
	}
	if part == 1 {
		return Sampler{math.MaxUint64}, nil
	}
	return Sampler{uint64(part * (1 << 63) * 2)}, nil
}

func (s Sampler) takes(trace [16]byte) bool {
	return s.below == math.MaxUint64 || binary.BigEndian.Uint64(trace[8:]) < s.below
}

// Tracer starts spans and keeps those that ended until they are sent. Make it with [New];
// nil is one that is off.
type Tracer struct {
	options  Options
	endpoint string
	sampler  Sampler
	resource []attribute
	now      func() time.Time

	mu    sync.Mutex // guards the fields below
	queue []*Span
	ready chan struct{} // holds a signal when there is something to send
}

// Span is one thing that took some time. nil is one that nobody records.
type Span struct {
	tracer  *Tracer
	context Context
	parent  [8]byte
	name    string
	kind    Kind
	begin   time.Time
	end     time.Time
	fields  []attribute
	failed  bool
	message string
}

type attribute struct {
	key     string
	text    string
	whole   int64
	isWhole bool
}

// Start begins a span below parent, or a trace where that is none.
func (t *Tracer) Start(parent Context, name string, kind Kind) *Span {
	if t == nil {
		return nil
	}
	return t.StartAt(parent, name, kind, t.now())
}

// StartAt is Start for what has begun before.
func (t *Tracer) StartAt(parent Context, name string, kind Kind, begin time.Time) *Span {
	if t == nil {
		return nil
	}
	s := &Span{tracer: t, context: parent, name: name, kind: kind, begin: begin}
	if parent.Valid() {
		s.parent = parent.span
	} else {
		fill(s.context.trace[:])
		s.context.recorded = t.sampler.takes(s.context.trace)
	}
	fill(s.context.span[:])
	return s
}

// Context is what is below the span begins from.
func (s *Span) Context() Context {
	if s == nil {
		return Context{}
	}
	return s.context
}

// Carry is the traceparent that goes on with a piece of work: the span's, or what came
// with it where tracing is off here, so that a trace passes through.
func (s *Span) Carry(came string) string {
	if s == nil {
		return Parse(came).String()
	}
	return s.context.String()
}

// Set adds an attribute. Empty texts are left out.
func (s *Span) Set(key, text string) *Span {
	if s != nil && s.context.recorded && text != "" {
		s.fields = append(s.fields, attribute{key: key, text: text})
	}
	return s
}

// SetInt adds an attribute that is a number.
func (s *Span) SetInt(key string, n int64) *Span {
	if s != nil && s.context.recorded {
		s.fields = append(s.fields, attribute{key: key, whole: n, isWhole: true})
	}
	return s
}

// Fail says that the span ends without success, and why.
func (s *Span) Fail(why string) *Span {
	if s != nil {
		s.failed, s.message = true, why
	}
	return s
}

// End ends the span now and has it sent, once.
func (s *Span) End() {
	if s != nil {
		s.EndAt(s.tracer.now())
	}
}

// EndAt is End for what has ended before.
func (s *Span) EndAt(end time.Time) {
	if s == nil || !s.context.recorded || !s.end.IsZero() {
		return
	}
	s.end = end
	if s.end.Before(s.begin) {
		s.end = s.begin
	}
	s.tracer.keep(s)
}

// maxQueue bounds what waits for the collector, with what is on its way there.
const maxQueue = 1024

func (t *Tracer) keep(s *Span) {
	t.mu.Lock()
	full := len(t.queue) >= maxQueue
	if !full {
		t.queue = append(t.queue, s)
	}
	t.mu.Unlock()
	if full {
		t.options.Count(Dropped, 1)
		return
	}
	select {
	case t.ready <- struct{}{}:
	default:
	}
}

// batch is what goes into the next request. It waits in the queue, and counts there, until
// it is settled.
func (t *Tracer) batch() []*Span {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.queue[:min(len(t.queue), maxBatch)]
}

// forget takes the first n spans out of the queue.
func (t *Tracer) forget(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.queue[:n])
	if t.queue = t.queue[n:]; len(t.queue) == 0 {
		t.queue = nil
	}
}
