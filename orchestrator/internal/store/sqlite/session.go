package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/store/sqlstore"
)

// The statements of transactions stand behind the shared ones.
const (
	begin = iota
	beginImmediate
	commit
	rollback
	savepoint
	release
	rollbackTo
)

var control = []string{`BEGIN`, `BEGIN IMMEDIATE`, `COMMIT`, `ROLLBACK`, `SAVEPOINT job`, `RELEASE job`, `ROLLBACK TO job`}

// session is one connection with its prepared statements. Those are the driver's own: the
// connection is this session's alone, and what database/sql does for many who share some costs
// as much as a small statement.
type session struct {
	path    string // of the file
	conn    *sql.Conn
	ctx     context.Context // never ends: a statement that was begun is completed
	stmts   []statement     // of sqlstore.Texts
	control []statement
	args    []driver.NamedValue // of the statement that begins
	broken  error               // what ended the transaction; see fail
}

// statement is what the driver prepares.
type statement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

var _ sqlstore.Connection = (*session)(nil)

func (s *session) prepare(ctx context.Context, settings []string) (err error) {
	s.ctx = context.WithoutCancel(ctx)
	for _, setting := range settings {
		if _, err := s.conn.ExecContext(ctx, setting); err != nil {
			return fmt.Errorf("%s: %w", setting, err)
		}
	}
	if s.stmts, err = s.prepareAll(ctx, sqlstore.Texts()); err != nil {
		return err
	}
	s.control, err = s.prepareAll(ctx, control)
	return err
}

// prepareAll also returns those that it prepared before one that failed.
func (s *session) prepareAll(ctx context.Context, texts []string) (stmts []statement, err error) {
	err = s.conn.Raw(func(conn any) error {
		for _, text := range texts {
			stmt, err := conn.(driver.ConnPrepareContext).PrepareContext(ctx, text)
			if err != nil {
				return fmt.Errorf("prepare %s: %w", text, err)
			}
			stmts = append(stmts, stmt.(statement))
		}
		return nil
	})
	return stmts, err
}

// close gives the connection back to its database, which closes it. It does not close
// statements, and SQLite keeps the files open as long as there is one.
func (s *session) close() error {
	var err error
	for _, stmt := range append(s.stmts, s.control...) {
		err = errors.Join(err, stmt.Close())
	}
	return errors.Join(err, s.conn.Close())
}

// Write runs a statement at once.
func (s *session) Write(st sqlstore.Statement, args ...any) error {
	_, err := s.Change(st, args...)
	return err
}

// Change runs a statement and says how many rows it changed.
func (s *session) Change(st sqlstore.Statement, args ...any) (int64, error) {
	return s.run(s.stmts[st], args...)
}

func (s *session) exec(control int) error {
	_, err := s.run(s.control[control])
	return err
}

func (s *session) run(stmt statement, args ...any) (int64, error) {
	if s.broken != nil {
		return 0, s.broken
	}
	values, err := s.values(args)
	if err != nil {
		return 0, s.fail(err)
	}
	result, err := stmt.ExecContext(s.ctx, values)
	if err != nil {
		return 0, s.fail(err)
	}
	n, err := result.RowsAffected()
	if err != nil {
		return 0, s.fail(err)
	}
	return n, nil
}

// Query calls row for each row of a query, and stops at its first error.
func (s *session) Query(st sqlstore.Statement, row func(sqlstore.Scanner) error, args ...any) error {
	if s.broken != nil {
		return s.broken
	}
	values, err := s.values(args)
	if err != nil {
		return s.fail(err)
	}
	rows, err := s.stmts[st].QueryContext(s.ctx, values)
	if err != nil {
		return s.fail(err)
	}
	stopped, err := each(rows, row)
	err = errors.Join(err, rows.Close())
	if stopped != nil {
		return errors.Join(stopped, err)
	}
	if err != nil {
		return s.fail(err)
	}
	return nil
}

// fail says what an error of SQLite means. After any SQLite may have rolled the transaction
// back whole (https://www.sqlite.org/lang_transaction.html, "Response To Errors"), and what
// came then would be committed one by one: so nothing may come.
func (s *session) fail(err error) error {
	if full(err) {
		err = fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	err = damaged(s.path, err)
	s.broken = err
	return err
}

// full reports whether an error of SQLite is for want of space. For its files besides the
// database it says that it cannot give the one that is shared memory its size.
func full(err error) bool {
	c := code(err)
	return c == sqlite3.SQLITE_FULL || c == sqlite3.SQLITE_IOERR_SHMSIZE
}

// code is that of an error of SQLite; 0 of another.
func code(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}

// Failure is what broke the transaction, if something did, and forgets it.
func (s *session) Failure() error {
	err := s.broken
	s.broken = nil
	return err
}

// Others is false: nobody else writes.
func (s *session) Others() bool { return false }

// Tell has nobody to tell.
func (s *session) Tell([]byte) error { return nil }

// Begin takes the lock for writing at once.
func (s *session) Begin() error     { return s.exec(beginImmediate) }
func (s *session) Savepoint() error { return s.exec(savepoint) }
func (s *session) Release() error   { return s.exec(release) }

// RollbackTo undoes what came after the savepoint, and forgets that.
func (s *session) RollbackTo() error {
	return errors.Join(s.exec(rollbackTo), s.exec(release))
}

// Commit makes the transaction durable. After a failure for want of space SQLite has rolled
// back; after any other it cannot be known what a restart would find: also for want of space
// in shared memory, which grows when the commit is in the WAL already.
func (s *session) Commit() error {
	err := s.exec(commit)
	if err == nil {
		return nil
	}
	undone := s.Rollback()
	if code(err) == sqlite3.SQLITE_FULL && undone == nil {
		return err
	}
	return fmt.Errorf("%w: %v", store.ErrUnknownOutcome, errors.Join(err, undone)) // and not ErrFull, which says that nothing was changed
}

// Rollback ends the transaction, if there still is one, and makes the session usable.
func (s *session) Rollback() error {
	s.broken = nil
	_, err := s.control[rollback].ExecContext(s.ctx, nil)
	if code(err) == sqlite3.SQLITE_ERROR {
		return nil // "no transaction is active": SQLite was first
	}
	return err
}
