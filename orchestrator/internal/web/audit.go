package web

import (
	"context"
	"strconv"

	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

type auditPage struct {
	frame
	Records []store.Audit
	Older   string
	First   bool
}

func (*auditPage) template() string { return "audit.html" }

// audit lists who did what, the newest first.
func (s *Site) audit(ctx context.Context, c *route.Call) (view, error) {
	p := &auditPage{frame: frame{Title: "Audit", Section: "audit"}}
	before, err := strconv.ParseInt("0"+c.Query.Get("before"), 10, 64)
	if err != nil {
		return nil, api.Errorf(api.CodeInvalid, "Query parameter before=%.40q: must be a whole number.", c.Query.Get("before"))
	}
	p.First = before == 0
	return p, s.read(ctx, c, func(r store.Reader) (err error) {
		p.Records, err = r.AuditBefore(before, pageSize+1)
		if len(p.Records) > pageSize {
			p.Records = p.Records[:pageSize]
			p.Older = "/audit?before=" + strconv.FormatInt(p.Records[pageSize-1].Seq, 10)
		}
		return err
	})
}

// auditLine is a record as it is exported.
type auditLine struct {
	Seq    int64    `json:"seq"`
	At     api.Time `json:"at"`
	Actor  string   `json:"actor"`
	Action string   `json:"action"`
	Object string   `json:"object"`
	Detail string   `json:"detail,omitempty"`
	Prev   string   `json:"prev,omitempty"`
	Digest string   `json:"digest"`
}

// auditExport writes all records, a line of JSON each, the oldest first.
func (s *Site) auditExport(_ context.Context, c *route.Call) (any, error) {
	return route.Stream(func(ctx context.Context, emit func(any) error) error {
		after := int64(0)
		for {
			var records []store.Audit
			err := s.read(ctx, c, func(r store.Reader) (err error) {
				records, err = r.Audit(after, 0)
				return err
			})
			if err != nil || len(records) == 0 {
				return err
			}
			for _, a := range records {
				after = a.Seq
				if err := emit(auditLine{a.Seq, api.At(a.At), a.Actor, a.Action, a.Object, a.Detail, a.Prev, a.Digest()}); err != nil {
					return err
				}
			}
		}
	}), nil
}
