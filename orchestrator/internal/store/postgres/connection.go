package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/store/sqlstore"
)

// connection runs statements. What needs no answer is sent together with the next that does:
// each answer costs a journey to the database.
type connection struct {
	ctx    context.Context // of the transaction
	conn   *pgxpool.Conn   // nil: none was to be had
	queue  pgx.Batch
	broken error // what ended the transaction or the function
}

var _ sqlstore.Session = (*connection)(nil)

// later queues a statement.
func (c *connection) later(sql string, args ...any) { c.queue.Queue(sql, quoted(args)...) }

// Write queues a statement.
func (c *connection) Write(st sqlstore.Statement, args ...any) error {
	if c.broken != nil {
		return c.broken
	}
	c.later(name(st), args...)
	return nil
}

// Change runs a statement and says how many rows it changed.
func (c *connection) Change(st sqlstore.Statement, args ...any) (n int64, err error) {
	err = c.send(name(st), args, func(r pgx.BatchResults) error {
		tag, err := r.Exec()
		n = tag.RowsAffected()
		return err
	})
	return n, err
}

// Query calls row for each row of a query, and stops at its first error.
func (c *connection) Query(st sqlstore.Statement, row func(sqlstore.Scanner) error, args ...any) error {
	var stopped error
	err := c.send(name(st), args, func(r pgx.BatchResults) error {
		rows, err := r.Query()
		if err != nil {
			return err
		}
		defer rows.Close()
		for stopped == nil && rows.Next() {
			stopped = row(unquoting(rows.Scan))
		}
		rows.Close()
		return rows.Err()
	})
	if err != nil {
		return err
	}
	return stopped
}

// flush sends what is queued.
func (c *connection) flush() error {
	if c.queue.Len() == 0 {
		return c.broken
	}
	return c.send("", nil, nil)
}

// send sends what is queued and then a statement, whose answer is read by last.
func (c *connection) send(sql string, args []any, last func(pgx.BatchResults) error) error {
	if c.broken != nil {
		return c.broken
	}
	before := c.queue.Len()
	if sql != "" {
		c.later(sql, args...)
	}
	batch := c.queue
	c.queue = pgx.Batch{}
	results := c.conn.SendBatch(c.ctx, &batch)
	var err error
	for n := 0; n < before && err == nil; n++ {
		_, err = results.Exec()
	}
	if err == nil && last != nil {
		err = last(results)
	}
	if closing := results.Close(); err == nil {
		err = closing
	}
	if err != nil {
		c.broken = c.meaning(err)
	}
	return c.broken
}

// meaning says what an error of the database is to the callers of the store.
func (c *connection) meaning(err error) error {
	const diskFull = "53100"
	var e *pgconn.PgError
	switch {
	case errors.As(err, &e) && e.Code == diskFull:
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	case c.ctx.Err() != nil:
		return errors.Join(context.Cause(c.ctx), err)
	case c.conn.Conn().IsClosed():
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return err
}

// Rollback ends the transaction. Where the connection is lost the database has done so, or
// does.
func (c *connection) Rollback() error {
	c.broken, c.queue = nil, pgx.Batch{}
	if c.conn == nil || c.conn.Conn().IsClosed() || c.conn.Conn().PgConn().TxStatus() == 'I' {
		return nil
	}
	if _, err := c.conn.Exec(c.ctx, "ROLLBACK"); err != nil && !c.conn.Conn().IsClosed() {
		return err
	}
	return nil
}
