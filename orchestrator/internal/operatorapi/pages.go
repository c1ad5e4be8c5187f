package operatorapi

import (
	"context"
	"strconv"
	"time"

	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// maxLooks bounds how many records one page looks at: a filter that lets little through
// gives short pages instead of one that takes long.
const maxLooks = 2000

// filterBatch is how many records are read at once at least where a filter drops some.
const filterBatch = 200

// pager makes one page of a list of records, each of which is shown as a view.
type pager[Record, View any] struct {
	// read reads records after the one that cursor names, from the first where it is empty.
	// Fewer than n are the last.
	read func(r store.Reader, cursor string, n int) ([]Record, error)
	key  func(Record) string // the cursor that names a record
	view func(Record) View
	keep func(View) bool   // nil: all
	end  func(Record) bool // nil: none; this record and all after it are not wanted
}

// page answers with the page that the parameters limit and cursor ask for. Without a limit
// it has absent records at most.
func (p pager[Record, View]) page(ctx context.Context, o operators, c *route.Call, absent int64) (any, error) {
	limit, err := whole(c, "limit", absent, 1, maxLimit)
	if err != nil {
		return nil, err
	}
	views, next, batch := []View{}, "", int(limit)+1
	if p.keep != nil {
		batch = max(batch, filterBatch)
	}
	err = o.read(ctx, c, func(r store.Reader) error {
		cursor := c.Query.Get("cursor")
		for looked := 0; looked < maxLooks; {
			records, err := p.read(r, cursor, batch)
			if err != nil {
				return err
			}
			for _, record := range records {
				if p.end != nil && p.end(record) {
					return nil
				}
				if len(views) == int(limit) {
					next = cursor
					return nil
				}
				cursor = p.key(record)
				looked++
				if v := p.view(record); p.keep == nil || p.keep(v) {
					views = append(views, v)
				}
			}
			if len(records) < batch {
				return nil
			}
		}
		next = cursor
		return nil
	})
	return route.Answer{Value: views, Next: next}, err
}

// window reads a whole list at once and gives the part of it after cursor. The list is in
// the order of its keys.
func window[Record any](read func(store.Reader) ([]Record, error), key func(Record) string) func(store.Reader, string, int) ([]Record, error) {
	var all []Record
	return func(r store.Reader, cursor string, n int) (out []Record, err error) {
		if all == nil {
			if all, err = read(r); err != nil {
				return nil, err
			}
		}
		for _, record := range all {
			if len(out) == n {
				break
			}
			if key(record) > cursor {
				out = append(out, record)
			}
		}
		return out, nil
	}
}

// everything is the limit of lists that come whole unless pages are asked for.
const everything = 1 << 30

// number reads a cursor that is a number.
func number(cursor string) (int64, error) {
	if cursor == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(cursor, 10, 64)
	if err != nil || n < 0 {
		return 0, api.Errorf(api.CodeInvalid, "Query parameter cursor=%.40q: must be one that the header Link of an earlier page has, or the id of an item of a stream.", cursor)
	}
	return n, nil
}

// instant reads a query parameter that is a time; the zero time when there is none.
func instant(c *route.Call, name string) (time.Time, error) {
	text := c.Query.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, api.Errorf(api.CodeInvalid, "Query parameter %s=%.40q: must be a time as in RFC 3339, for example 2026-01-02T15:04:05Z.", name, text)
	}
	return t, nil
}
