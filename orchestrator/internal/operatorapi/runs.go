package operatorapi

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// runList lists runs, newest first. Ids of runs sort by the time at which they were made.
func (o operators) runList(ctx context.Context, c *route.Call) (any, error) {
	from, err := instant(c, "since")
	if err != nil {
		return nil, err
	}
	until, err := instant(c, "until")
	if err != nil {
		return nil, err
	}
	query := store.RunQuery{Workflow: c.Query.Get("workflow"), Status: c.Query.Get("status")}
	p := pager[store.Run, Run]{
		read: func(r store.Reader, cursor string, n int) ([]store.Run, error) {
			query.Before, query.Limit = api.RunID(cursor), n
			if cursor == "" && !until.IsZero() {
				query.Before = engine.FirstID(until)
			}
			return r.Runs(query)
		},
		key: func(r store.Run) string { return string(r.ID) }, view: viewRun,
		end: func(r store.Run) bool { return r.CreatedAt.Before(from) },
	}
	if event := api.EventID(c.Query.Get("event")); event != "" {
		p.read = window(func(r store.Reader) ([]store.Run, error) { return runsOf(r, event) }, p.key)
		p.keep = func(r Run) bool {
			return (query.Workflow == "" || r.Workflow == query.Workflow) && (query.Status == "" || r.Status == query.Status) && (until.IsZero() || r.CreatedAt.Before(until))
		}
		p.end = func(store.Run) bool { return false }
	}
	return p.page(ctx, o, c, defaultLimit)
}

// runsOf lists the runs that the events with an id started, by id.
func runsOf(r store.Reader, event api.EventID) ([]store.Run, error) {
	evaluations, err := r.Evaluations(event)
	runs := []store.Run{}
	for _, e := range evaluations {
		if e.Run == "" {
			continue
		}
		run, failure := r.Run(e.Run)
		err = errors.Join(err, failure)
		runs = append(runs, run)
	}
	slices.SortFunc(runs, func(a, b store.Run) int { return cmp.Compare(a.ID, b.ID) })
	return runs, err
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

func (o operators) runRetry(ctx context.Context, c *route.Call) (any, error) {
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	run, err := o.engine.RetryRun(ctx, id, api.RunID(c.PathValue("id")), c.Principal.Name)
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
	place, err := number(c.Place())
	if err != nil {
		return nil, err
	}
	seen := int(place)
	return follow(o, id, o.engine.RunsChanged, func(r store.Reader) (fresh []route.Item, last bool, err error) {
		if run, err = r.Run(run.ID); err != nil {
			return nil, false, err
		}
		history, err := r.History(run.ID)
		for _, h := range history {
			if h.Seq > seen {
				seen = h.Seq
				fresh = append(fresh, route.Item{Place: strconv.Itoa(h.Seq), Value: viewHistory(h)})
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
	after, err := number(c.Place())
	if err != nil {
		return nil, err
	}
	return follow(o, id, o.engine.RunsChanged, func(r store.Reader) (lines []route.Item, last bool, err error) {
		if run, err = r.Run(run.ID); err != nil {
			return nil, false, err
		}
		rows, err := r.Logs(store.LogQuery{Run: run.ID, After: after, Limit: followPage})
		for _, row := range rows {
			after = row.Cursor
			lines = append(lines, route.Item{Place: strconv.FormatInt(row.Cursor, 10), Value: viewLog(row)})
		}
		return lines, len(rows) < followPage && (!goOn || !run.FinishedAt.IsZero()), err
	}), nil
}
