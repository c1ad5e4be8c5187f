package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// RetryRun runs the workflow in effect again, from its first step, for what another run that
// has ended was for. That a person asks lets what holds repetition back count for nothing:
// duplicates, throttle, cooldown and attempts. The condition, freezes and the other limits
// hold. Who asks, if by is not empty, counts as who started the run. [store.ErrNotFound] says that there is no such run.
func (e *Engine) RetryRun(ctx context.Context, org api.OrgID, id api.RunID, by string) (run store.Run, err error) {
	err = e.update(ctx, org, func(t *tx) error {
		before, err := t.Run(id)
		if err != nil {
			return err
		}
		if before.FinishedAt.IsZero() {
			return api.Errorf(api.CodeConflict, "Run %s has not ended: it is %s; wait for its end or cancel it first.", id, before.Status)
		}
		p, err := t.program(before.Workflow)
		if errors.Is(err, store.ErrNotFound) {
			return api.Errorf(api.CodeConflict, "Workflow %s, of which run %s is one, is not in effect any more; apply it first.", before.Workflow, id)
		}
		if err != nil {
			return err
		}
		if run, err = t.retry(p, before, by); err != nil {
			return err
		}
		return t.audit(t.actor, "run.retry", string(id), fmt.Sprintf("%s, as run %s", run.Workflow, run.ID))
	})
	return run, err
}

func (t *tx) retry(p program, before store.Run, by string) (store.Run, error) {
	was, err := savedOf(before)
	if err != nil {
		return store.Run{}, err
	}
	ev := was.State.Event
	ev.Now, ev.RetriedBy = t.now, by
	decision := p.Decide(ev)
	past := workflow.Past{Host: hostOf(ev)}
	if err := limitsOf(t, p.Definition, decision, t.now, &past); err != nil {
		return store.Run{}, err
	}
	past.Attempts, past.Escalated = 0, false
	decision = p.HoldRun(decision, past, t.now)
	switch {
	case !decision.Run:
		return store.Run{}, api.Errorf(api.CodeConflict, "Workflow %s does not run for this now: %s.", p.name, decision.Reason)
	case decision.Shadow:
		return store.Run{}, api.Errorf(api.CodeConflict, "Workflow %s runs only in thought (mode: shadow); nothing would be done.", p.name)
	}
	id, err := t.start(p, ev, decision, was.State.Events)
	if err != nil {
		return store.Run{}, err
	}
	if id == "" {
		return store.Run{}, api.Errorf(api.CodeConflict, "Workflow %s cannot start for this event as it is now; the server's log says why.", p.name)
	}
	run, err := t.Run(id)
	if err != nil {
		return run, err
	}
	run.RetryOf = before.ID
	return run, t.PutRun(run)
}
