package operatorapi

import (
	"context"
	"math"
	"slices"

	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// eventQuery is the choice of events that a request makes.
func eventQuery(c *route.Call) store.EventQuery {
	return store.EventQuery{Type: c.Query.Get("type"), Agent: api.AgentID(c.Query.Get("agent"))}
}

func (o operators) eventList(ctx context.Context, c *route.Call) (any, error) {
	limit, err := whole(c, "limit", defaultLimit, 1, maxLimit)
	if err != nil {
		return nil, err
	}
	query := eventQuery(c)
	query.Newest, query.Limit = true, int(limit)
	return list(ctx, o, c, func(r store.Reader) ([]store.Event, error) { return r.Events(query) }, viewEvent)
}

// eventFollow streams events as they are stored, after the last few that the query
// parameter tail asks for.
func (o operators) eventFollow(ctx context.Context, c *route.Call) (any, error) {
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	tail, err := whole(c, "tail", 0, 0, maxLimit)
	if err != nil {
		return nil, err
	}
	var recent []store.Event
	newest := int64(0)
	err = o.read(ctx, c, func(r store.Reader) error {
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
	return follow(o, id, o.engine.EventsChanged, func(r store.Reader) (views []Event, last bool, err error) {
		rows := recent
		if recent = nil; rows == nil {
			rows, err = r.Events(query)
		}
		for _, row := range rows {
			query.After = max(query.After, row.Cursor)
			views = append(views, viewEvent(row))
		}
		return views, false, err
	}), nil
}

// auditList lists audit records, oldest first, from after the sequence number that
// the query parameter after names.
func (o operators) auditList(ctx context.Context, c *route.Call) (any, error) {
	limit, err := whole(c, "limit", defaultLimit, 1, maxLimit)
	if err != nil {
		return nil, err
	}
	after, err := whole(c, "after", 0, 0, math.MaxInt64)
	if err != nil {
		return nil, err
	}
	return list(ctx, o, c, func(r store.Reader) ([]store.Audit, error) { return r.Audit(after, int(limit)) }, viewAudit)
}
