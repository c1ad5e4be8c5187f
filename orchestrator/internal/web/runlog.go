package web

import (
	"context"
	"strconv"

	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

const (
	shownLines = 100 // of the log on the page of a run
	logLines   = 400 // on a page of the log
)

type logPage struct {
	frame
	Run   store.Run
	Lines []store.Log
	Next  string // where the next page is; empty: these are the last
	First bool
}

func (*logPage) template() string { return "log.html" }

// runLog shows the whole log of a run, page by page from its beginning.
func (s *Site) runLog(ctx context.Context, c *route.Call) (view, error) {
	id := api.RunID(c.PathValue("id"))
	after, err := strconv.ParseInt("0"+c.Query.Get("after"), 10, 64)
	if err != nil {
		return nil, api.Errorf(api.CodeInvalid, "Query parameter after=%.40q: must be a whole number.", c.Query.Get("after"))
	}
	p := &logPage{frame: frame{Title: "Log of run " + short(id), Section: "runs"}, First: after == 0}
	return p, s.read(ctx, c, func(r store.Reader) (err error) {
		if p.Run, err = r.Run(id); err != nil {
			return err
		}
		p.Lines, err = r.Logs(store.LogQuery{Run: id, After: after, Limit: logLines + 1})
		if len(p.Lines) > logLines {
			p.Lines = p.Lines[:logLines]
			p.Next = "/runs/" + string(id) + "/log?after=" + strconv.FormatInt(p.Lines[logLines-1].Cursor, 10)
		}
		return err
	})
}

// lastLines are the newest lines of a run's log in their order, and whether there are more.
func lastLines(r store.Reader, id api.RunID) (lines []store.Log, more bool, err error) {
	lines, err = r.Logs(store.LogQuery{Run: id, Newest: true, Limit: shownLines + 1})
	if len(lines) > shownLines {
		return lines[1:], true, err
	}
	return lines, false, err
}
