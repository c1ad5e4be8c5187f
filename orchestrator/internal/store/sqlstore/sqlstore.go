package sqlstore

import (
	"context"

	"github.com/stavily/agents/internal/failpoint"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// Statement names an SQL text that every session knows how to run. All are package
// variables made with prepare, so that [Texts] has them before an engine opens.
type Statement int

var texts []string

func prepare(text string) Statement {
	texts = append(texts, text)
	return Statement(len(texts) - 1)
}

// Texts are the texts of all statements, by Statement. Their parameters are ?1, ?2, …
func Texts() []string { return texts }

// Scanner reads the columns of a row.
type Scanner func(columns ...any) error

// Session runs statements on one connection. It is used by one goroutine at a time. Its
// calls take no context: a statement that was begun is completed.
type Session interface {
	// Write runs a statement whose count does not matter. An engine may put it off until the
	// next call, and then its error comes there, at the latest when the function ends.
	Write(Statement, ...any) error
	// Change runs a statement and says how many rows it changed.
	Change(Statement, ...any) (int64, error)
	// Query calls row for each row, and stops at its first error.
	Query(st Statement, row func(Scanner) error, args ...any) error
}

// Rows gives the next row of a table, and nil after the last.
type Rows func() ([]any, error)

// value reads one column of the first row, and reports whether there is a row.
func value(s Session, st Statement, column any, args ...any) (found bool, err error) {
	err = s.Query(st, func(scan Scanner) error {
		found = true
		return scan(column)
	}, args...)
	return found, err
}

// Read runs fn on what a session sees of an organisation.
func Read(s Session, w Watch, org api.OrgID, fn func(store.Reader) error) error {
	if err := failpoint.Hit("view.before"); err != nil {
		return err
	}
	return fn(reader{w.session(s), org})
}

// Update runs fn in a transaction of a writer.
func Update(ctx context.Context, w *Writer, org api.OrgID, fn func(store.Tx) error) error {
	return w.update(ctx, org, func(c Connection, others bool) error {
		return fn(&tx{reader: reader{c, org}, orgs: w.orgs, next: w.numbers, digests: w.digests, recent: w.recent, others: others, tell: c.Tell, awaited: w.awaited})
	})
}

var allOrgs = prepare(`SELECT org FROM orgs ORDER BY org`)

// Orgs lists the organisations that anything was ever written for.
func Orgs(s Session) ([]api.OrgID, error) {
	var orgs []api.OrgID
	err := s.Query(allOrgs, func(scan Scanner) error {
		var org api.OrgID
		err := scan(&org)
		orgs = append(orgs, org)
		return err
	})
	return orgs, err
}
