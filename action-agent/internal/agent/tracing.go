package agent

import (
	"context"
	"time"

	"github.com/stavily/agents/shared/pkg/agent"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/trace"
)

// below begins a span below an instruction.
func (w *worker) below(i api.Instruction, name string, kind trace.Kind, begin time.Time) *trace.Span {
	return w.rt.Trace.StartAt(trace.Parse(i.TraceParent), name, kind, begin).
		Set(trace.KeyInstruction, string(i.ID)).SetInt("stavily.attempt", int64(i.Attempt)).Set(trace.KeyPlugin, string(i.PluginID))
}

func (w *worker) tracedClaim(ctx context.Context, i api.Instruction, received time.Time) (secrets string, l *lease, err error) {
	span := w.below(i, "instruction.claim", trace.Client, time.Now())
	secrets, l, err = w.claim(ctx, i, received)
	if err != nil {
		span.Fail(err.Error())
	}
	span.End()
	return secrets, l, err
}

// tracedRun runs the plugin in a span, which the plugin finds in TRACEPARENT. Where tracing
// is off here, that is what came with the instruction.
func (w *worker) tracedRun(ctx context.Context, a *attempt) api.Result {
	i, task := a.i, a.task
	span := w.below(i, "plugin.run", trace.Internal, time.Now())
	below := *task.Instruction
	below.TraceParent = span.Carry(i.TraceParent)
	task.Instruction = &below
	result := w.run(ctx, a, task)
	if a.mayStart() != nil {
		return result // nothing ran
	}
	span.Set(trace.KeyRun, string(i.Context.RunID)).Set(trace.KeyStep, i.Context.Step).Set(trace.KeyStatus, string(result.Status))
	if result.ExitCode != nil {
		span.SetInt("process.exit_code", int64(*result.ExitCode))
	}
	if result.Plugin != nil {
		span.Set("stavily.plugin_version", result.Plugin.Version)
	}
	if result.Status != api.Completed {
		span.Fail(result.ErrorMessage)
	}
	span.End()
	return result
}

// traceReport records the call that brought a result, once it was taken.
func (w *worker) traceReport(e agent.JournalEntry, begin time.Time, err error) {
	if w.rt.Trace == nil || err != nil || e.Instruction == nil || e.Instruction.TraceParent == "" {
		return
	}
	w.below(*e.Instruction, "result.report", trace.Client, begin).Set(trace.KeyStatus, string(e.Result.Status)).End()
}
