package operatorapi

import (
	"cmp"
	"context"

	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

func (o operators) runList(ctx context.Context, c *route.Call) (any, error) {
	limit, err := whole(c, "limit", defaultLimit, 1, maxLimit)
	if err != nil {
		return nil, err
	}
	query := store.RunQuery{Workflow: c.Query.Get("workflow"), Status: c.Query.Get("status"), Limit: int(limit)}
	return list(ctx, o, c, func(r store.Reader) ([]store.Run, error) { return r.Runs(query) }, viewRun)
}

func (o operators) runShow(ctx context.Context, c *route.Call) (any, error) {
	var detail RunDetail
	err := o.read(ctx, c, func(r store.Reader) (err error) {
		detail, err = detailOf(r, api.RunID(c.PathValue("id")))
		return err
	})
	return detail, err
}

// detailOf reads a run with all that happened in it.
func detailOf(r store.Reader, id api.RunID) (RunDetail, error) {
	detail := RunDetail{Steps: []Step{}, History: []History{}}
	run, err := r.Run(id)
	if err != nil {
		return detail, err
	}
	detail.Run = viewRun(run)
	instructions, err := r.RunInstructions(id)
	if err != nil {
		return detail, err
	}
	for _, i := range instructions {
		step := viewStep(i)
		if i.Status == api.Pending {
			why, err := engine.WhyNobody(r, i.Plugin, i.Target)
			if err != nil {
				return detail, err
			}
			step.Message = cmp.Or(why, step.Message)
		}
		detail.Steps = append(detail.Steps, step)
	}
	history, err := r.History(id)
	for _, h := range history {
		detail.History = append(detail.History, viewHistory(h))
	}
	return detail, err
}

func (o operators) runCancel(ctx context.Context, c *route.Call) (any, error) {
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	run, err := o.engine.CancelRun(ctx, id, api.RunID(c.PathValue("id")))
	return viewRun(run), missing(c, err)
}

// run finds the run that the path names, so that a follower of nothing gets a 404.
func (o operators) run(ctx context.Context, c *route.Call) (api.OrgID, store.Run, error) {
	id, err := org(c)
	if err != nil {
		return "", store.Run{}, err
	}
	var run store.Run
	err = o.read(ctx, c, func(r store.Reader) (err error) {
		run, err = r.Run(api.RunID(c.PathValue("id")))
		return err
	})
	return id, run, err
}

// runFollow streams the history of a run until the run has ended.
func (o operators) runFollow(ctx context.Context, c *route.Call) (any, error) {
	id, run, err := o.run(ctx, c)
	if err != nil {
		return nil, err
	}
	seen := 0
	return follow(o, id, o.engine.RunsChanged, func(r store.Reader) (fresh []History, last bool, err error) {
		if run, err = r.Run(run.ID); err != nil {
			return nil, false, err
		}
		history, err := r.History(run.ID)
		for _, h := range history {
			if h.Seq > seen {
				seen = h.Seq
				fresh = append(fresh, viewHistory(h))
			}
		}
		return fresh, !run.FinishedAt.IsZero(), err
	}), nil
}

// runLogs streams the lines that plugins of a run wrote: those that are there, and
// with follow=true those that come until the run has ended.
func (o operators) runLogs(ctx context.Context, c *route.Call) (any, error) {
	id, run, err := o.run(ctx, c)
	if err != nil {
		return nil, err
	}
	goOn := c.Query.Get("follow") == "true"
	var after int64
	return follow(o, id, o.engine.RunsChanged, func(r store.Reader) (lines []Log, last bool, err error) {
		if run, err = r.Run(run.ID); err != nil {
			return nil, false, err
		}
		rows, err := r.Logs(store.LogQuery{Run: run.ID, After: after, Limit: followPage})
		for _, row := range rows {
			after = row.Cursor
			lines = append(lines, viewLog(row))
		}
		return lines, len(rows) < followPage && (!goOn || !run.FinishedAt.IsZero()), err
	}), nil
}
