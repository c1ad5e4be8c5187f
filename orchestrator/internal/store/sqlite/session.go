package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/stavily/agents/orchestrator/internal/store"
)

// statement names an SQL text that every session prepares when it is opened. All are
// package variables made with prepare.
type statement int

var texts []string

func prepare(text string) statement {
	texts = append(texts, text)
	return statement(len(texts) - 1)
}

var (
	begin          = prepare(`BEGIN`)
	beginImmediate = prepare(`BEGIN IMMEDIATE`)
	commit         = prepare(`COMMIT`)
	rollback       = prepare(`ROLLBACK`)
	savepoint      = prepare(`SAVEPOINT job`)
	release        = prepare(`RELEASE job`)
	rollbackTo     = prepare(`ROLLBACK TO job`)
)

// session is one connection with its prepared statements. It is used by one goroutine
// at a time. Its calls take no context: a statement that was begun is completed.
type session struct {
	conn   *sql.Conn
	stmts  []*sql.Stmt
	broken error // what ended the transaction; see fail
}

func (s *session) prepare(ctx context.Context, settings []string) error {
	for _, setting := range settings {
		if _, err := s.conn.ExecContext(ctx, setting); err != nil {
			return fmt.Errorf("%s: %w", setting, err)
		}
	}
	for _, text := range texts {
		stmt, err := s.conn.PrepareContext(ctx, text)
		if err != nil {
			return fmt.Errorf("prepare %s: %w", text, err)
		}
		s.stmts = append(s.stmts, stmt)
	}
	return nil
}

// close gives the connection back to its database, which closes it. database/sql does
// not close statements that were prepared on a connection of their own, and SQLite keeps
// the files open as long as there is one.
func (s *session) close() error {
	var err error
	for _, stmt := range s.stmts {
		err = errors.Join(err, stmt.Close())
	}
	return errors.Join(err, s.conn.Close())
}

// exec runs a statement that returns no rows. A key that is taken is ErrExists.
func (s *session) exec(st statement, args ...any) error {
	_, err := s.change(st, args...)
	return err
}

// change is exec that returns how many rows it changed.
func (s *session) change(st statement, args ...any) (int64, error) {
	if s.broken != nil {
		return 0, s.broken
	}
	result, err := s.stmts[st].Exec(args...)
	if err != nil {
		return 0, s.fail(err)
	}
	n, err := result.RowsAffected()
	if err != nil {
		return 0, s.fail(err)
	}
	return n, nil
}

// scanner reads the columns of a row.
type scanner func(columns ...any) error

// rows calls row for each row of a query, and stops at its first error.
func (s *session) rows(st statement, row func(scanner) error, args ...any) error {
	if s.broken != nil {
		return s.broken
	}
	rows, err := s.stmts[st].Query(args...)
	if err != nil {
		return s.fail(err)
	}
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return s.fail(err)
	}
	return nil
}

// value reads one column of the first row, and reports whether there is a row.
func (s *session) value(st statement, column any, args ...any) (found bool, err error) {
	err = s.rows(st, func(scan scanner) error {
		found = true
		return scan(column)
	}, args...)
	return found, err
}

// fail says what an error of SQLite means. Only after a key that was taken is the
// transaction as it was. After any other error SQLite may have rolled it back whole
// (https://www.sqlite.org/lang_transaction.html, "Response To Errors"), and what came
// then would be committed one by one: so nothing may come.
func (s *session) fail(err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) {
		switch e.Code() {
		case sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE:
			return fmt.Errorf("%w: %w", store.ErrExists, err)
		case sqlite3.SQLITE_FULL:
			err = fmt.Errorf("%w: %w", store.ErrFull, err)
		}
	}
	s.broken = err
	return err
}

// rollback ends the transaction, if there still is one, and makes the session usable.
func (s *session) rollback() error {
	s.broken = nil
	_, err := s.stmts[rollback].Exec()
	var e *sqlite.Error
	if errors.As(err, &e) && e.Code() == sqlite3.SQLITE_ERROR {
		return nil // "no transaction is active": SQLite was first
	}
	return err
}
