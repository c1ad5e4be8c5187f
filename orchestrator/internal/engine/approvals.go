package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// ask puts an approval on the list of those that are needed. Its time ends with an alarm of
// the step.
func (t *tx) ask(run store.Run, ask workflow.Ask) error {
	asked, err := json.Marshal(ask.Asked)
	if err != nil {
		return fmt.Errorf("approval %s of run %s: %w", ask.Step, run.ID, err)
	}
	return t.PutApproval(store.Approval{
		Run: run.ID, Step: ask.Step, Workflow: run.Workflow, Version: run.Version, EventID: run.EventID,
		Group: ask.Group, Count: ask.Count, Since: t.now, Until: t.now.Add(ask.Within), Asked: asked,
	})
}

// personPattern is what a name of somebody who decides may be.
var personPattern = regexp.MustCompile(`^[\pL\pN][\pL\pN ._@+-]{0,99}$`)

// Judge takes what somebody says to a step that waits for an approval. Who they are the caller
// has found out. [store.ErrNotFound] says that there is no such run.
func (e *Engine) Judge(ctx context.Context, org api.OrgID, id api.RunID, v workflow.Verdict) (run store.Run, err error) {
	if !personPattern.MatchString(v.By) {
		return run, api.Errorf(api.CodeInvalid, "%.80q is not a name; say who decides in at most 100 letters, digits and . _ @ + -.", v.By)
	}
	if len(v.Reason) > maxText {
		return run, api.Errorf(api.CodeInvalid, "The reason has %d bytes and may have %d.", len(v.Reason), maxText)
	}
	err = e.update(ctx, org, func(t *tx) error {
		if run, err = t.Run(id); err != nil {
			return err
		}
		d, err := t.definition(run)
		if err != nil {
			return err
		}
		was, err := savedOf(run)
		if err != nil {
			return err
		}
		by, err := t.User(v.By)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if v.Groups = nil; !by.Disabled {
			v.Groups = by.Groups
		}
		if why := was.State.MayJudge(d, v); why != "" {
			return api.Errorf(api.CodeConflict, "%s", why)
		}
		action := "approval.deny"
		if v.Approve {
			action = "approval.approve"
		}
		err = errors.Join(t.advance(id, v), t.audit(t.actor, action, string(id)+" "+v.Step, fmt.Sprintf("by %s, of %s %s", v.By, v.Digest, v.Reason)))
		if err != nil {
			return err
		}
		run, err = t.Run(id)
		return err
	})
	return run, err
}
