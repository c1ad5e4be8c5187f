package operatorapi

import (
	"context"
	"math"
	"slices"
	"strconv"

	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// eventQuery is the choice of events that a request makes.
func eventQuery(c *route.Call) store.EventQuery {
	return store.EventQuery{Type: c.Query.Get("type"), Agent: api.AgentID(c.Query.Get("agent"))}
}

func (o operators) eventList(ctx context.Context, c *route.Call) (any, error) {
	from, err := instant(c, "since")
	if err != nil {
		return nil, err
	}
	query, p := eventQuery(c), pager[store.Event, Event]{
		key: func(e store.Event) string { return strconv.FormatInt(e.Cursor, 10) }, view: viewEvent,
		end: func(e store.Event) bool { return e.ReceivedAt.Before(from) },
	}
	p.read = func(r store.Reader, cursor string, n int) ([]store.Event, error) {
		before, err := number(cursor)
		if err != nil {
			return nil, err
		}
		query.Newest, query.Before, query.Limit = true, before, n
		return r.Events(query)
	}
	if severity := api.Severity(c.Query.Get("severity")); severity != "" {
		p.keep = func(e Event) bool { return e.Severity == severity }
	}
	return p.page(ctx, o, c, defaultLimit)
}

// eventFollow streams events as they are stored, after the last few that the query
// parameter tail asks for, or after the one that the client saw last.
func (o operators) eventFollow(ctx context.Context, c *route.Call) (any, error) {
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	tail, err := whole(c, "tail", 0, 0, maxLimit)
	if err != nil {
		return nil, err
	}
	newest, err := number(c.Place())
	if err != nil {
		return nil, err
	}
	var recent []store.Event
	err = o.read(ctx, c, func(r store.Reader) error {
		if newest > 0 {
			return nil
		}
		last, err := r.Events(store.EventQuery{Newest: true, Limit: 1})
		if err != nil || len(last) == 0 {
			return err
		}
		newest = last[0].Cursor
		if tail == 0 {
			return nil
		}
		query := eventQuery(c)
		query.Newest, query.Limit = true, int(tail)
		recent, err = r.Events(query)
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.Reverse(recent)
	query := eventQuery(c)
	query.After, query.Limit = newest, followPage
	return follow(o, id, o.engine.EventsChanged, func(r store.Reader) (views []route.Item, last bool, err error) {
		rows := recent
		if recent = nil; rows == nil {
			rows, err = r.Events(query)
		}
		for _, row := range rows {
			query.After = max(query.After, row.Cursor)
			views = append(views, route.Item{Place: strconv.FormatInt(row.Cursor, 10), Value: viewEvent(row)})
		}
		return views, false, err
	}), nil
}

// auditList lists audit records, oldest first, from after the sequence number that
// the query parameter after names, or the newest first.
func (o operators) auditList(ctx context.Context, c *route.Call) (any, error) {
	after, err := whole(c, "after", 0, 0, math.MaxInt64)
	if err != nil {
		return nil, err
	}
	from, err := instant(c, "since")
	if err != nil {
		return nil, err
	}
	newest := c.Query.Get("newest") == "true"
	actor, action, object := c.Query.Get("actor"), c.Query.Get("action"), c.Query.Get("object")
	return pager[store.Audit, Audit]{
		read: func(r store.Reader, cursor string, n int) ([]store.Audit, error) {
			seen, err := number(cursor)
			if err != nil {
				return nil, err
			}
			if newest {
				return r.AuditBefore(seen, n)
			}
			return r.Audit(max(seen, after), n)
		},
		key: func(a store.Audit) string { return strconv.FormatInt(a.Seq, 10) }, view: viewAudit,
		end: func(a store.Audit) bool { return newest && a.Seq <= after },
		keep: func(a Audit) bool {
			return !a.At.Before(from) && (actor == "" || a.Actor == actor) && (action == "" || a.Action == action) && (object == "" || a.Object == object)
		},
	}.page(ctx, o, c, defaultLimit)
}
