package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stavily/agents/shared/pkg/agent"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// handle takes one offer to its end: journal, claim, journal, run, journal. It calls begun once
// the plugin has answered, and maybe again.
func (w *worker) handle(ctx context.Context, i api.Instruction, received time.Time, begun func()) {
	log := w.rt.Log.With(telemetry.KeyInstruction, i.ID, telemetry.KeyAttempt, i.Attempt, telemetry.KeyPlugin, i.PluginID)
	if w.had(i, log) {
		return
	}
	if err := w.rt.Room(); err != nil {
		log.Warn("not taken: it is offered again when its lease is over", "reason", err.Error())
		w.balance.came(offerNoRoom)
		return
	}
	turn, leave := w.turns.take(ctx, i)
	defer leave()
	if w.had(i, log) { // while this one waited
		return
	}
	a := w.prepare(turn, i, received, begun)
	defer a.leave()
	accepted := w.rt.Audit.Begin(agent.AuditAccepted, append(fieldsOf(i), slog.String("parameters", agent.ParametersDigest(&i)))...)
	if !w.noted(w.journal.Accept(i)) {
		_ = accepted() // the runtime tells
		w.balance.came(offerUnrecorded)
		return // not claimed: it is offered again when its lease is over
	}
	if accepted() != nil {
		w.noted(w.journal.Reported(i.ID, i.Attempt)) // has not run, and may be accepted again
		w.balance.came(offerUnrecorded)
		return
	}
	<-a.examined
	switch {
	case a.err != nil:
		log.Warn("rejected", telemetry.KeyError, a.err)
		w.rt.Audit.Note(agent.AuditDenied, append(fieldsOf(i), slog.String("what", "instruction"), slog.String("reason", a.err.Error()))...)
		w.end(ctx, i, api.Result{Status: api.Rejected, ErrorMessage: a.err.Error()})
	case a.noRoom != nil:
		w.notOurs(ctx, i, a.noRoom, log)
	default:
		w.start(ctx, turn, a, log)
	}
}

// had reports whether an attempt must not be accepted again, and has that told where it may have run.
func (w *worker) had(i api.Instruction, log *slog.Logger) bool {
	if !w.journal.Seen(i.ID, i.Attempt) {
		return false
	}
	log.Warn("offered again what this agent has had: not run a second time")
	w.balance.came(offerRepeated)
	if w.noted(w.journal.Again(i)) {
		w.reportSoon()
	}
	return true
}

// start asks for the right to start what was accepted and prepared, as long as it is its turn, and
// has it run where it is given.
func (w *worker) start(ctx, turn context.Context, a *attempt, log *slog.Logger) {
	i := a.i
	close(a.claiming)
	secrets, l, err := w.tracedClaim(turn, i, a.received)
	if err != nil {
		w.notOurs(ctx, i, err, log)
		return
	}
	if a.late() {
		if a.task, err = w.rt.WithSecrets(a.task, secrets); err != nil {
			log.Warn("not started", telemetry.KeyError, err)
			w.end(ctx, i, api.Result{Status: api.Rejected, ErrorMessage: err.Error()})
			return
		}
	}
	if err := w.recordStart(i); err != nil {
		w.end(ctx, i, notStarted(err.Error()))
		return
	}
	a.lease.Store(l)
	if why := a.tooLate(); why != nil {
		w.end(ctx, i, missed(why))
		return
	}
	a.answer(nil)
	runtime.Gosched() // it comes before what is told of it
	log.Info("started", telemetry.KeyRun, i.Context.RunID, telemetry.KeyStep, i.Context.Step)
	<-a.over
	log.Info("ended", "status", a.result.Status, "duration_ms", a.result.DurationMS)
	w.finished.WithLabelValues(string(i.PluginID), string(a.result.Status)).Inc()
	w.took.WithLabelValues(string(i.PluginID)).Observe(float64(a.result.DurationMS) / 1000)
	w.end(ctx, i, a.result)
}

// notOurs settles an attempt that this agent has no right to start.
func (w *worker) notOurs(ctx context.Context, i api.Instruction, why error, log *slog.Logger) {
	switch {
	case errors.Is(why, errExpired):
		w.end(ctx, i, api.Result{Status: api.Expired, ErrorMessage: why.Error()})
	case ctx.Err() != nil: // the claim may have arrived; the next start tells that nothing ran
		w.balance.came(offerLeft)
	default:
		log.Info("not ours any more", telemetry.KeyError, why)
		w.balance.came(offerReleased)
		w.noted(w.journal.Reported(i.ID, i.Attempt))
	}
}

// recordStart returns once it is durable that the plugin is about to be started.
func (w *worker) recordStart(i api.Instruction) error {
	audited := w.rt.Audit.Begin(agent.AuditRun, startedFields(i)...)
	written, err := w.journal.Starting(i.ID, i.Attempt), audited()
	switch {
	case !w.noted(written):
		return fmt.Errorf("the agent could not write its journal: %w", written)
	case err != nil:
		return fmt.Errorf("the agent could not write its audit log: %w", err)
	}
	return nil
}

// examine checks what the wire says against this host before anything is claimed. The
// version of the plugin that it found stays until release is called.
func (w *worker) examine(i api.Instruction) (t agent.Task, release func(), err error) {
	if err := errors.Join(i.ID.Validate(), i.PluginID.Validate()); err != nil {
		return agent.Task{}, nothing, err
	}
	if agent.Installs(i.InstructionType) {
		return agent.Task{Instruction: &i}, nothing, w.host.CanInstall(&i)
	}
	if !slices.Contains([]string{api.TypeExecute, "manual", "workflow", "scheduled", "api"}, i.InstructionType) {
		return agent.Task{}, nothing, fmt.Errorf("instruction type %.40q is not taken by this version of the agent", i.InstructionType)
	}
	p, release, err := w.host.Acquire(i.PluginID)
	if err != nil {
		return agent.Task{}, nothing, err
	}
	if err := agent.Fits(p, i.PluginConfiguration); err != nil {
		return agent.Task{}, release, err
	}
	if err := w.host.Confines(i.SandboxMinimum); err != nil {
		w.rt.BeatSoon() // the orchestrator believes otherwise
		return agent.Task{}, release, err
	}
	task := agent.Task{Plugin: p, Settings: w.host.SettingsOf(p.ID), Instruction: &i}
	task, err = w.host.Examine(task)
	return task, release, err
}

func nothing() {}

// makeRoom waits for memory to run an instruction's plugin in, before it is claimed: what
// waits has not started, and can expire.
func (w *worker) makeRoom(ctx context.Context, i api.Instruction, task agent.Task, received time.Time) (leave func(), err error) {
	if i.ExpiresInSeconds > 0 {
		var end func()
		ctx, end = context.WithDeadlineCause(ctx, received.Add(time.Duration(i.ExpiresInSeconds)*time.Second), errExpired)
		defer end()
	}
	return w.host.MakeRoom(ctx, task)
}

// claim asks for the right to start until there is an answer or the instruction has
// expired, by this host's monotonic clock. The answer has the instruction's secrets.
func (w *worker) claim(ctx context.Context, i api.Instruction, received time.Time) (secrets string, l *lease, err error) {
	backoff := w.rt.Backoff()
	for {
		if isOver(&i, received) {
			return "", nil, errExpired
		}
		asked := time.Now()
		answer, err := w.rt.API.Progress(ctx, i.ID, api.Progress{Status: api.Executing, Attempt: i.Attempt, Lease: i.Lease, BootID: w.rt.BootID})
		w.rt.NoteContact(err)
		switch {
		case err == nil && isOver(&i, received): // the answer was long on its way: it may have been given in time, but that is over
			return "", nil, errExpired
		case err == nil || !api.Retryable(err):
			return answer.Secrets, leased(&i, answer, asked), err
		}
		select {
		case <-ctx.Done():
			return "", nil, context.Cause(ctx)
		case <-time.After(backoff.Next(api.RetryAfter(err))):
		}
	}
}

// run runs the plugin, or changes what is installed, while the lease is renewed, from when
// there is the right to.
func (w *worker) run(ctx context.Context, a *attempt, task agent.Task) api.Result {
	i := a.i
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l := newLive()
	task.Line = l.line
	task.Progress = func(p plugin.Progress) {
		p.Message = w.rt.Redact(p.Message)
		l.progress(p)
	}
	var renewing sync.WaitGroup
	stop := make(chan struct{})
	renewing.Go(func() {
		select {
		case <-a.answered:
		case <-stop:
		}
		if !isClosed(stop) && a.refusal == nil {
			w.renew(ctx, a, l, stop, cancel)
		}
	})
	var result api.Result
	switch {
	case !agent.Installs(i.InstructionType):
		result = w.host.Execute(ctx, task)
	case task.Ready() == nil:
		result = w.host.Change(ctx, task)
	}
	close(stop)
	renewing.Wait()
	if a.missed != nil {
		return missed(a.missed)
	}
	result.ExecutionLog, result.LogFrom = l.rest()
	stopped := result.Status == api.Cancelled || ctx.Err() != nil && result.ExitCode == nil && result.Status != api.Completed // or kept from starting
	cause := context.Cause(ctx)
	switch {
	case !stopped:
	case errors.Is(cause, errCancelled):
		result.Status = api.Cancelled
	default: // the agent ends, or the attempt is not its own any more
		result.Status = api.Interrupted
		result.ErrorMessage = "the agent stopped while the plugin ran"
		if errors.Is(cause, errFenced) {
			result.ErrorMessage = "stopped: " + cause.Error()
		}
		result.ErrorDetails = agent.StartedDetails(true)
	}
	return result
}

// journalRetry is how soon the journal is tried again when it takes nothing: a full
// disk has room again when somebody made some.
const journalRetry = time.Second

// end journals a result and wakes the report loop. It tries until the journal takes it
// or the agent ends, after which the attempt is reported as interrupted.
func (w *worker) end(ctx context.Context, i api.Instruction, r api.Result) {
	r.Attempt, r.Lease = i.Attempt, i.Lease
	if r.FinishedAt.IsZero() {
		r.StartedAt, r.FinishedAt = api.At(time.Now()), api.At(time.Now())
	}
	recorded := w.rt.Audit.BeginNote(agent.AuditEnded, endedFields(i, r)...)
	defer recorded()
	for !w.noted(w.journalled(i, r)) {
		select {
		case <-ctx.Done():
			w.balance.came(offerLeft)
			return
		case <-time.After(journalRetry):
		}
	}
	w.balance.came(string(r.Status))
	w.reportSoon()
}

// reportSoon wakes the report loop.
func (w *worker) reportSoon() {
	select {
	case w.ended <- struct{}{}:
	default:
	}
}

// fieldsOf are what audit records say of an instruction.
func fieldsOf(i api.Instruction) []slog.Attr {
	return []slog.Attr{
		slog.String("instruction", string(i.ID)), slog.Int("attempt", i.Attempt), slog.String("type", i.InstructionType), slog.String("plugin", string(i.PluginID)),
		slog.String("workflow", i.Context.Workflow), slog.String("run", string(i.Context.RunID)), slog.String("step", i.Context.Step),
	}
}

// startedFields tell also which secrets the plugin is given.
func startedFields(i api.Instruction) []slog.Attr {
	fields := fieldsOf(i)
	if len(i.Secrets) > 0 {
		fields = append(fields, slog.String("secrets", strings.Join(i.Secrets, ", ")))
	}
	return fields
}

func endedFields(i api.Instruction, r api.Result) []slog.Attr {
	fields := append(fieldsOf(i), slog.String("status", string(r.Status)), slog.Int64("duration_ms", r.DurationMS))
	if r.Plugin != nil {
		fields = append(fields, slog.String("version", r.Plugin.Version), slog.String("digest", r.Plugin.Digest))
	}
	if r.ExitCode != nil {
		fields = append(fields, slog.Int("exit_code", *r.ExitCode))
	}
	return append(fields, slog.String("error", r.ErrorMessage))
}

// noted reports whether the journal took a record, and tells people when it did not.
// A journal whose state is unknown ends the agent.
func (w *worker) noted(err error) bool {
	if err == nil {
		w.rt.Health.Clear("journal")
		return true
	}
	if errors.Is(err, agent.ErrBroken) {
		w.rt.Fail(err)
	}
	w.rt.Health.Set("journal", agent.Degraded, true, err.Error(), "free disk space or repair the file system of the base directory; it is tried again by itself")
	w.rt.Log.Error("the journal takes nothing", telemetry.KeyError, err)
	return false
}

func notStarted(why string) api.Result {
	return api.Result{Status: api.Interrupted, ErrorMessage: why, ErrorDetails: agent.StartedDetails(false)}
}
