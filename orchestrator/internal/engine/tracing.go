package engine

import (
	"time"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
	"github.com/stavily/agents/shared/pkg/trace"
)

// The trace of an event goes through here in the traceparent of its document, of the run's
// that it starts, and of their instructions. Spans of a transition are sent once that is
// durable: one that is rolled back was none.

// takingIn begins the span of each event of a batch that came with a trace, or begins one
// where tracing is on, and has the event carry it on. It returns what ends them.
func (e *Engine) takingIn(id pki.Identity, events []api.Event) func(api.EventBatchResponse, error) {
	spans := make([]*trace.Span, 0, len(events))
	for i := range events {
		ev := &events[i]
		span := e.trace.Start(trace.Parse(ev.TraceParent), "event.intake", trace.Server).
			Set(trace.KeyEvent, string(ev.ID)).Set(trace.KeyEventType, ev.Type).
			Set(trace.KeyAgent, string(id.Agent)).Set(trace.KeyOrg, string(id.Org))
		ev.TraceParent = span.Carry(ev.TraceParent)
		if span != nil {
			spans = append(spans, span)
		}
	}
	return func(answer api.EventBatchResponse, err error) {
		for i, span := range spans {
			if i < len(answer.Events) { // those of which the commit is known
				span.Set(trace.KeyStatus, answer.Events[i].Status)
			} else if err != nil {
				span.Fail(err.Error())
			}
			span.End()
		}
	}
}

// decided is a moment of a transition: what was decided because of parent. It returns the
// traceparent that goes on.
func (t *tx) decided(parent, name string, org api.OrgID, set func(*trace.Span)) string {
	span := t.engine.trace.Start(trace.Parse(parent), name, trace.Internal)
	if span != nil {
		set(span.Set(trace.KeyOrg, string(org)))
		t.spans = append(t.spans, span)
	}
	return span.Carry(parent)
}

// runDecided is that a workflow runs because of an event.
func (t *tx) runDecided(parent, workflow string, run api.RunID) string {
	return t.decided(parent, "workflow.decide", t.org, func(s *trace.Span) {
		s.Set(trace.KeyWorkflow, workflow).Set(trace.KeyRun, string(run))
	})
}

// instructed is that a step of a run became an instruction.
func (t *tx) instructed(parent string, spec instruction.Spec) string {
	return t.decided(parent, "instruction.create", t.org, func(s *trace.Span) {
		s.Set(trace.KeyInstruction, string(spec.ID)).Set(trace.KeyWorkflow, spec.Workflow).Set(trace.KeyRun, string(spec.RunID)).
			Set(trace.KeyStep, spec.Step).Set(trace.KeyPlugin, string(spec.Plugin))
	})
}

// resulted records the result of an attempt, and how long its instruction took in all.
func (t *tx) resulted(i instruction.Instruction, begin time.Time) {
	parent := trace.Parse(i.TraceParent)
	if t.engine.trace == nil || !parent.Valid() {
		return
	}
	t.spans = append(t.spans, t.engine.trace.StartAt(parent, "instruction.result", trace.Server, begin).
		Set(trace.KeyInstruction, string(i.ID)).Set(trace.KeyRun, string(i.RunID)).Set(trace.KeyAgent, string(i.Agent)).
		Set(trace.KeyStatus, string(i.Status)).SetInt("stavily.attempt", int64(i.Attempt)).
		SetInt("stavily.since_created_ms", t.now.Sub(i.CreatedAt).Milliseconds()))
}
