package engine

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// newLease makes a fencing token: 130 random bits, so that it cannot be guessed.
func newLease() string { return strings.ToLower(rand.Text()) }

// own finds an instruction whose newest attempt is the agent's. Any other does not
// exist for it.
func own(r store.Reader, id pki.Identity, iid api.InstructionID) (instruction.Instruction, error) {
	i, err := r.Instruction(iid)
	if errors.Is(err, store.ErrNotFound) || err == nil && i.Agent != id.Agent {
		return i, api.Errorf(api.CodeNotFound, "There is no instruction %.80q for agent %s.", iid, id.Agent)
	}
	return i, err
}

// step takes one transition of an instruction, stores it and feeds its effects on: to
// the run it belongs to, to polls that wait, to the reaper.
func (t *tx) step(i instruction.Instruction, in instruction.Input) (instruction.Instruction, error) {
	next, effects, refusal := instruction.Step(i, in)
	if refusal != nil {
		return i, refusal
	}
	if err := t.PutInstruction(next); err != nil {
		return i, err
	}
	t.due = earlier(t.due, next.Due())
	if next.Status != i.Status {
		t.count(t.engine.counts.instructions.WithLabelValues(string(next.Status)).Inc)
	}
	if next.Result != nil && i.Result == nil {
		t.count(func() { t.engine.usages.add(agentKey{t.org, next.Agent}, next, t.now) })
	}
	if next.Status == api.Executing && i.Status != api.Executing {
		if err := t.advance(next.RunID, workflow.StepStarted{Step: next.Step, Try: next.Try}); err != nil {
			return i, err
		}
	}
	for _, effect := range effects {
		switch effect.(type) {
		case instruction.Wake:
			t.waiting = append(t.waiting, workOf(next.Spec))
		case instruction.Ended:
			if err := t.advance(next.RunID, ending(next)); err != nil {
				return i, err
			}
		case instruction.Late:
			if err := t.late(next); err != nil {
				return i, err
			}
		}
	}
	return next, nil
}

// ending is what a run is told of an instruction that ended.
func ending(i instruction.Instruction) workflow.StepEnded {
	in := workflow.StepEnded{Step: i.Step, Try: i.Try, Status: i.Status, Error: i.Message}
	if i.Result != nil {
		in.Result = i.Result.Result
		in.Error = i.Result.ErrorMessage
	}
	return in
}

// wire is an instruction as it is offered.
func wire(i instruction.Instruction, now time.Time) api.Instruction {
	setup := i.Setup
	setup.Version = i.Version
	return api.Instruction{
		ID:                  i.ID,
		AgentID:             i.Agent,
		PluginID:            i.Plugin,
		InstructionType:     cmp.Or(i.Type, api.TypeExecute),
		PluginConfiguration: setup,
		InputData:           i.Input,
		Context:             api.InstructionContext{Workflow: i.Workflow, RunID: i.RunID, Step: i.Step, EventID: i.EventID},
		TimeoutSeconds:      wholeSeconds(i.Timeout),
		Priority:            i.Priority,
		CorrelationID:       string(i.RunID),
		Attempt:             i.Attempt,
		Lease:               i.Lease,
		LeaseExpiresAt:      api.At(i.LeaseUntil),
		ExpiresAt:           api.At(i.ExpiresAt),
		LeaseSeconds:        wholeSeconds(i.LeaseUntil.Sub(now)),
		ExpiresInSeconds:    wholeSeconds(i.ExpiresAt.Sub(now)),
		SandboxMinimum:      i.Target.Sandbox,
		TraceParent:         i.TraceParent,
		Secrets:             i.SecretNames(),
	}
}

// wholeSeconds rounds up, so that a short duration does not become "none".
func wholeSeconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// Progress claims the start of an instruction or reports on one that runs.
func (e *Engine) Progress(ctx context.Context, id pki.Identity, iid api.InstructionID, p api.Progress) (api.ProgressResponse, error) {
	if p.Status != api.Executing {
		return api.ProgressResponse{}, api.Errorf(api.CodeInvalid, "status %.40q: progress has the status executing; what ended is a result.", p.Status)
	}
	if len(p.ExecutionLog) > api.MaxLogLines {
		return api.ProgressResponse{}, api.Errorf(api.CodeTooLarge, "The execution log has %d lines and may have %d; send fewer at a time.", len(p.ExecutionLog), api.MaxLogLines)
	}
	var answer api.ProgressResponse
	var refused error // that is told once its reason is on record
	err := e.update(ctx, id.Org, func(t *tx) error {
		i, err := own(t, id, iid)
		if err != nil {
			return err
		}
		input := progressInput(i, id, p, t.now, e.ttl)
		sealed, why, err := t.secretsFor(i, id, p, input)
		if err != nil {
			return err
		}
		if why != "" {
			refused = api.Errorf(api.CodeConflict, "Do not run instruction %s: %s.", iid, why)
			_, err = t.step(i, instruction.Refuse{Why: why, Now: t.now})
			return err
		}
		lines := notBefore(i.Lines, p.LogFrom, p.ExecutionLog)
		i, err = t.step(i, input)
		if err != nil {
			return err
		}
		answer = api.ProgressResponse{
			Success: true, InstructionID: i.ID, UpdatedFields: []string{"status", "execution_log", "lease_expires_at"},
			LeaseExpiresAt: api.At(i.LeaseUntil), LeaseSeconds: wholeSeconds(i.LeaseUntil.Sub(t.now)), Cancel: i.CancelRequested, Secrets: sealed,
		}
		return t.addLogs(i, lines)
	})
	return answer, errors.Join(err, refused)
}

// progressInput tells a report from a claim. What executes is reported on, unless by
// another start of the agent; a claim that is repeated, because its answer was lost,
// renews the lease like any report. All else is a claim, and a plain client's first
// report of what it was offered is one too.
func progressInput(i instruction.Instruction, id pki.Identity, p api.Progress, now time.Time, ttl time.Duration) instruction.Input {
	if i.Status == api.Executing && (p.BootID == "" || p.BootID == i.BootID) {
		return instruction.Report{Agent: id.Agent, Attempt: p.Attempt, Lease: p.Lease, Percent: p.Percent, Lines: lastOf(p.LogFrom, p.ExecutionLog), Now: now, TTL: ttl}
	}
	return instruction.Claim{Agent: id.Agent, Attempt: p.Attempt, Lease: p.Lease, BootID: p.BootID, Lines: lastOf(p.LogFrom, p.ExecutionLog), Now: now, TTL: ttl}
}

// Result records how an attempt ended and takes the run it belongs to on. The same
// result again is acknowledged and changes nothing.
func (e *Engine) Result(ctx context.Context, id pki.Identity, iid api.InstructionID, r api.Result) (api.ResultResponse, error) {
	if !r.Status.Terminal() {
		return api.ResultResponse{}, api.Errorf(api.CodeInvalid, "status %.40q: a result is final; while it runs, send progress.", r.Status)
	}
	if len(r.Result) > api.MaxResultBytes || len(r.ExecutionLog) > api.MaxLogLines {
		return api.ResultResponse{}, api.Errorf(api.CodeTooLarge, "The result has %d bytes and %d log lines and may have %d and %d; cut it.", len(r.Result), len(r.ExecutionLog), api.MaxResultBytes, api.MaxLogLines)
	}
	if len(r.Network) > api.MaxTraffic {
		return api.ResultResponse{}, api.Errorf(api.CodeTooLarge, "The result tells of %d network destinations and may of %d; cut it.", len(r.Network), api.MaxTraffic)
	}
	begin := time.Now() // of its span, which is no matter of the engine's clock
	err := e.update(ctx, id.Org, func(t *tx) error {
		i, err := own(t, id, iid)
		if err != nil {
			return err
		}
		lines := notBefore(i.Lines, r.LogFrom, r.ExecutionLog)
		r.ExecutionLog, r.LogFrom = nil, 0 // kept as log rows, once
		next, err := t.step(i, instruction.Finish{Agent: id.Agent, Attempt: r.Attempt, Lease: r.Lease, Result: r, Now: t.now})
		if err != nil || i.Result != nil { // it was known: so are its lines
			return err
		}
		if err := t.heldToMinimum(id, i, r); err != nil {
			return err
		}
		t.resulted(next, begin)
		return t.addLogs(next, lines)
	})
	if err != nil {
		return api.ResultResponse{}, err
	}
	return api.ResultResponse{Acknowledged: true}, nil
}

// lastOf is the number of the last of lines, of which the first has number from, counted from 1; 0
// where from is 0, for lines without numbers.
func lastOf[L any](from int, lines []L) int {
	if from == 0 {
		return 0
	}
	return from + len(lines) - 1
}

// notBefore are the lines that are not among the first known ones, as far as their numbers tell.
func notBefore[L any](known, from int, lines []L) []L {
	if from == 0 {
		return lines
	}
	return lines[min(max(known-from+1, 0), len(lines)):]
}

// addLogs keeps the execution log of an instruction.
func (t *tx) addLogs(i instruction.Instruction, lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	rows := make([]store.Log, len(lines))
	for n, line := range lines {
		rows[n] = store.Log{At: t.now, ReceivedAt: t.now, Agent: i.Agent, Instruction: i.ID, Run: i.RunID, Level: "info", Plugin: i.Plugin, Message: cut(line)}
	}
	t.runs = true
	return t.AddLogs(rows)
}
