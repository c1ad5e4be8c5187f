package web

import (
	"context"
	"net/url"

	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// pageSize is how many rows a list shows: two screens.
const pageSize = 50

// runStatuses are those that the list can be narrowed to.
var runStatuses = []string{"running", "queued", "completed", "failed", "cancelled", "escalated"}

type runsPage struct {
	frame
	Workflow, Status string
	Statuses         []string
	Workflows        []string
	Runs             []store.Run
	Older            string // where the next page is; empty: nowhere
	First            bool   // page
}

func (*runsPage) template() string { return "runs.html" }

// runs lists the runs, the newest first.
func (s *Site) runs(ctx context.Context, c *route.Call) (view, error) {
	p := &runsPage{
		frame: frame{Title: "Runs", Section: "runs"}, Workflow: c.Query.Get("workflow"), Status: c.Query.Get("status"),
		Statuses: runStatuses, First: c.Query.Get("before") == "",
	}
	return p, s.read(ctx, c, func(r store.Reader) (err error) {
		if p.Workflows, err = workflowNames(r); err != nil {
			return err
		}
		p.Runs, err = r.Runs(store.RunQuery{Workflow: p.Workflow, Status: p.Status, Before: api.RunID(c.Query.Get("before")), Limit: pageSize + 1})
		if len(p.Runs) > pageSize {
			p.Runs = p.Runs[:pageSize]
			p.Older = with(c.Query, "/runs", "before", string(p.Runs[pageSize-1].ID))
		}
		return err
	})
}

// with is where a page is with one of its query parameters set.
func with(query url.Values, path, name, value string) string {
	next := url.Values{}
	for key, values := range query {
		next[key] = values
	}
	next.Set(name, value)
	return path + "?" + next.Encode()
}

func workflowNames(r store.Reader) (names []string, err error) {
	all, err := r.Workflows()
	for _, w := range all {
		names = append(names, w.Name)
	}
	return names, err
}
