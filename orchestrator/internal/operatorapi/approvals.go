package operatorapi

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

func (o operators) approvalList(ctx context.Context, c *route.Call) (any, error) {
	views := []Approval{}
	err := o.read(ctx, c, func(r store.Reader) error {
		all, err := r.Approvals()
		if err != nil {
			return err
		}
		for _, a := range all {
			var asked workflow.Asked
			if err := json.Unmarshal(a.Asked, &asked); err != nil {
				return fmt.Errorf("approval %s of run %s: %w", a.Step, a.Run, err)
			}
			views = append(views, Approval{
				Run: a.Run, Step: a.Step, Workflow: a.Workflow, Version: a.Version, EventID: a.EventID, Group: a.Group, Count: a.Count,
				Since: api.At(a.Since), Until: api.At(a.Until), Digest: asked.Digest, Steps: asked.Steps,
			})
		}
		return nil
	})
	return views, err
}

func (o operators) approvalJudge(ctx context.Context, c *route.Call) (any, error) {
	var r JudgeRequest
	if err := c.Decode(&r); err != nil {
		return nil, err
	}
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	by, err := person(c, r.By)
	if err != nil {
		return nil, err
	}
	run, err := o.engine.Judge(ctx, id, api.RunID(c.PathValue("id")), workflow.Verdict{
		Step: c.PathValue("step"), Digest: r.Digest, By: by, Approve: r.Approve, Reason: r.Reason,
	})
	return viewRun(run), missing(c, err)
}
