package agent

import (
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/trace"
)

// beginLook begins the span of a look: what the monitor tells until its end is below it,
// whether the plugin answers with it or calls.
func (m *monitor) beginLook() {
	span := m.rt.Trace.Start(trace.Context{}, "sensor.sample", trace.Internal)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.look, m.told = span, 0
}

// during is the traceparent of the look under way, empty where there is none.
func (m *monitor) during() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.told++
	return m.look.Carry("")
}

// endLook ends the span of a look. One that found nothing is not worth a trace.
func (m *monitor) endLook(err error) {
	m.mu.Lock()
	span, told := m.look, m.told
	m.look = nil
	m.mu.Unlock()
	if told == 0 && err == nil {
		return
	}
	span.Set(trace.KeyMonitor, m.settings.Name).Set(trace.KeyPlugin, string(m.plugin.ID)).SetInt("stavily.events", int64(told))
	if err != nil {
		span.Fail(err.Error())
	}
	span.End()
}

// emitting begins the span in which an event gets onto the disk: below the look that found
// it, or the first of its trace. The event carries it on.
func (o *outbox) emitting(e *api.Event) *trace.Span {
	span := o.rt.Trace.Start(trace.Parse(e.TraceParent), "event.emit", trace.Producer)
	span.Set(trace.KeyEvent, string(e.ID)).Set(trace.KeyEventType, e.Type).Set(trace.KeyMonitor, e.Monitor).Set(trace.KeyPlugin, e.Source)
	e.TraceParent = span.Carry(e.TraceParent)
	return span
}

func endEmit(span *trace.Span, err error) {
	if err != nil {
		span.Fail(err.Error())
	}
	span.End()
}

// delivering records, of each event that was settled by a call that began at begin, how long
// it lay in the spool and how long the call took. Its id says when it was accepted, which
// holds over a restart of the agent too.
func (o *outbox) delivering(events []api.Event, outcomes []api.EventOutcome, begin time.Time) {
	if o.rt.Trace == nil {
		return
	}
	for i, e := range events {
		parent := trace.Parse(e.TraceParent)
		if !parent.Valid() || i >= len(outcomes) {
			continue
		}
		accepted := begin
		if id, err := ulid.Parse(string(e.ID)); err == nil {
			accepted = ulid.Time(id.Time())
		}
		o.rt.Trace.StartAt(parent, "event.spool", trace.Internal, accepted).
			Set(trace.KeyEvent, string(e.ID)).SetInt("stavily.seq", int64(e.Seq)).EndAt(begin)
		call := o.rt.Trace.StartAt(parent, "event.deliver", trace.Client, begin).
			Set(trace.KeyEvent, string(e.ID)).SetInt("stavily.batch", int64(len(events))).Set(trace.KeyStatus, outcomes[i].Status)
		if outcomes[i].Status == api.EventRejected {
			call.Fail(outcomes[i].Reason)
		}
		call.End()
	}
}
