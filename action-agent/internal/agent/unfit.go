package agent

import (
	"errors"

	"github.com/stavily/agents/shared/pkg/agent"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// unfit reports whether the orchestrator does not take what was sent for what is in it, or a proxy
// in between for its size. That says nothing of the attempt: with less in it the same may be taken.
func unfit(err error) bool {
	if api.TooLargeBetween(err) {
		return true
	}
	switch api.CodeOf(err) {
	case api.CodeInvalid, api.CodeMalformed, api.CodeTooLarge:
		return !api.Retryable(err) // malformed is also what arrived too slowly
	}
	return false
}

// journalled records a result, with as much of it as the journal takes.
func (w *worker) journalled(i api.Instruction, r api.Result) error {
	err := w.journal.Ended(i.ID, i.Attempt, r)
	if errors.Is(err, agent.ErrTooLarge) {
		r = withoutLog(r, err)
		err = w.journal.Ended(i.ID, i.Attempt, r)
	}
	if errors.Is(err, agent.ErrTooLarge) {
		err = w.journal.Ended(i.ID, i.Attempt, w.withoutData(i.ID, r, err))
	}
	return err
}

// bare is a result without data and log, which says so, and why.
func (w *worker) bare(id api.InstructionID, r api.Result, why error) api.Result {
	return w.withoutData(id, withoutLog(r, why), why)
}

// withoutLog has a remark for the lines, under the number of the last: the orchestrator may know some.
func withoutLog(r api.Result, why error) api.Result {
	n := len(r.ExecutionLog)
	if n == 0 {
		return r
	}
	if r.LogFrom > 0 {
		r.LogFrom += n - 1
	}
	r.ExecutionLog = []string{plugin.LogText(leftOut(n) + ": " + why.Error())}
	return r
}

// withoutData has a marker for the data, which is kept on this host.
func (w *worker) withoutData(id api.InstructionID, r api.Result, why error) api.Result {
	if len(r.Result) > 0 {
		r.Result = w.rt.KeepWhole(string(id)+"-refused", r.Result, plugin.LogText(why.Error()))
	}
	return r
}
