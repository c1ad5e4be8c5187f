package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/stavily/agents/orchestrator/internal/store/sqlstore"
)

// Importer takes the tables of another engine, all or none.
type Importer struct {
	store *Store
	tx    pgx.Tx
}

// Import begins to fill a database, which must be empty: two states cannot be made one.
func Import(ctx context.Context, url string) (*Importer, error) {
	s, err := Open(ctx, url)
	if err != nil {
		return nil, err
	}
	orgs, err := s.Orgs(ctx)
	if err == nil && len(orgs) > 0 {
		err = fmt.Errorf("the database is not empty (it has organisation %s): take another, or drop its schema", orgs[0])
	}
	var tx pgx.Tx
	if err == nil {
		tx, err = s.pool.Begin(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	// A table is read as long as it takes.
	_, err = tx.Exec(ctx, `SET LOCAL idle_in_transaction_session_timeout = 0`)
	i := &Importer{s, tx}
	if err != nil {
		return nil, errors.Join(err, i.Close(ctx))
	}
	return i, nil
}

// Table copies one and returns how many rows it has.
func (i *Importer) Table(ctx context.Context, name string, columns []string, rows sqlstore.Rows) (int64, error) {
	n, err := i.tx.CopyFrom(ctx, pgx.Identifier{name}, columns, pgx.CopyFromFunc(func() ([]any, error) {
		row, err := rows()
		return quoted(row), err
	}))
	if err != nil {
		return n, fmt.Errorf("copy table %s: %w", name, err)
	}
	var there int64
	err = i.tx.QueryRow(ctx, `SELECT count(*) FROM `+pgx.Identifier{name}.Sanitize()).Scan(&there)
	if err == nil && there != n {
		err = fmt.Errorf("table %s has %d rows after %d were copied", name, there, n)
	}
	return n, err
}

// Commit makes what was copied durable.
func (i *Importer) Commit(ctx context.Context) error { return i.tx.Commit(ctx) }

// Close undoes what was not committed.
func (i *Importer) Close(ctx context.Context) error {
	err := i.tx.Rollback(ctx)
	if errors.Is(err, pgx.ErrTxClosed) {
		err = nil
	}
	return errors.Join(err, i.store.Close())
}
