// Package trace records what happened to one event on its way through sensor,
// orchestrator and action agent, and sends it to an OpenTelemetry collector.
//
// It owns three things: the W3C trace context that travels in events and instructions
// ([Context]), spans ([Tracer.Start], [Span.End]), and their way out: OTLP over HTTP in
// JSON, to <endpoint>/v1/traces. It has no global state, no baggage and no metrics, and
// it instruments nothing by itself.
//
//	Start ─▶ Span ─ End ─▶ queue (1024) ─▶ Run: gather 1 s ─▶ POST ─▶ taken
//	                         │ full: dropped                    └ again with growing pauses,
//	                         ▼ counted                            one minute at most, then dropped
//
// # Invariants
//
//   - A nil *Tracer is tracing that is off: every method of it, and of the nil *Span that
//     it starts, does nothing and allocates nothing.
//   - Nothing that is traced waits for the collector, or fails because of it. What is kept
//     for it is bounded: 1024 spans, some 1 MB.
//   - The first that starts a trace decides whether it is recorded; all others obey the flag
//     that arrives with the context. A context that is no valid one is as good as none.
//   - While nothing is traced, Run sleeps without a timer.
//
// A Tracer may be used concurrently; a Span belongs to one goroutine at a time.
//
// Spans that are lost are counted through [Options].Count, and whether the collector takes
// them is told through [Options].State. Why this is not the OpenTelemetry SDK says
// docs/adr/0008-own-tracing.md; what the spans are, docs/tracing.md.
package trace
