package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/store/sqlstore"
	"github.com/stavily/agents/shared/pkg/api"
)

// unknownAfter is how long after a COMMIT whose answer was lost it is asked what became of
// it: longer than idleLimit, when the database gives up the transaction of a lost server.
const unknownAfter = time.Minute

const takeTurn = "stavily_turn"

// turnText waits for the turn of organisation $1, counts it, and notes for server $2 that it
// was the last to have it, should that be committed.
const turnText = `WITH turn AS (
	INSERT INTO turns (org, server, n) VALUES ($1, '', 1) ON CONFLICT (org, server) DO UPDATE SET n = turns.n + 1, at = now() RETURNING n
), mark AS (
	INSERT INTO turns (org, server, n) SELECT $1, $2, n FROM turn ON CONFLICT (org, server) DO UPDATE SET n = excluded.n, at = now()
) SELECT n FROM turn`

// turns are the transactions of one organisation. One runs at a time.
type turns struct {
	store *Store
	org   api.OrgID
	last  int64 // number of the last one that this server committed; 0: none
}

// turn is one of them.
type turn struct {
	connection
	of     *turns
	cancel context.CancelFunc
	n      int64
}

var _ sqlstore.Connection = (*turn)(nil)

func (t *turns) take() (sqlstore.Connection, error) {
	ctx, cancel := context.WithTimeout(t.store.ctx, callLimit)
	conn, err := t.store.acquire(ctx, time.Now().Add(patience))
	if err != nil {
		cancel()
		return nil, err
	}
	return &turn{connection: connection{ctx: ctx, conn: conn}, of: t, cancel: cancel}, nil
}

func (t *turns) give(c sqlstore.Connection) {
	if conn := c.(*turn).conn; conn != nil {
		conn.Release() // ends one that is still in a transaction
	}
	c.(*turn).cancel()
}

// acquire takes a connection, and tries again until a time.
func (s *Store) acquire(ctx context.Context, until time.Time) (*pgxpool.Conn, error) {
	for {
		conn, err := s.pool.Acquire(ctx)
		if err == nil {
			return conn, nil
		}
		if s.refusal() != nil || ctx.Err() != nil || time.Now().After(until) {
			return nil, s.unavailable(s.ctx, err)
		}
		select {
		case <-s.closing.Done():
		case <-time.After(acquireRetry):
		}
	}
}

// acquireRetry is the pause after a connection was refused.
const acquireRetry = 50 * time.Millisecond

// patience is how long a transaction that has not begun waits for a database that is
// restarted, instead of failing.
const patience = 5 * time.Second

// Begin waits for the turn. Where the connection is lost nothing was begun, and the next one
// is tried.
func (t *turn) Begin() error {
	begin := time.Now()
	for {
		err := t.begin()
		if err == nil || !t.conn.Conn().IsClosed() || time.Since(begin) > patience {
			return err
		}
		t.conn.Release()
		t.conn = nil
		conn, failure := t.of.store.acquire(t.ctx, begin.Add(patience))
		if failure != nil {
			return failure
		}
		t.connection = connection{ctx: t.ctx, conn: conn}
	}
}

func (t *turn) begin() error {
	t.later("BEGIN")
	return t.send(takeTurn, []any{t.of.org, t.of.store.server}, func(r pgx.BatchResults) error {
		return r.QueryRow().Scan(&t.n)
	})
}

// Others reports whether another server had the turn since this one last committed.
func (t *turn) Others() bool { return t.n != t.of.last+1 }

const savepoint = "SAVEPOINT job"

// Savepoint is the first that is queued: before it, all was sent.
func (t *turn) Savepoint() error {
	t.later(savepoint)
	return nil
}

// Release also sees to it that what the function wrote is there before it ends.
func (t *turn) Release() error {
	t.later("RELEASE job")
	return t.flush()
}

func (t *turn) RollbackTo() error {
	unsent := t.queue.Len() > 0 && t.queue.QueuedQueries[0].SQL == savepoint
	t.queue = pgx.Batch{}
	if unsent { // and with it all that followed: the database knows of no savepoint
		return nil
	}
	t.later("ROLLBACK TO job")
	t.later("RELEASE job")
	return t.flush()
}

// Failure is what broke the function, and forgets it.
func (t *turn) Failure() error {
	err := t.broken
	t.broken = nil
	return err
}

// Commit makes the turn durable.
func (t *turn) Commit() error {
	if err := t.flush(); err != nil {
		return errors.Join(err, t.Rollback())
	}
	began := time.Now()
	tag, err := t.conn.Exec(t.ctx, "COMMIT")
	var refused *pgconn.PgError
	switch {
	case err == nil && tag.String() == "COMMIT":
		t.of.last = t.n
		return nil
	case err == nil:
		return errors.New("the database rolled a transaction back")
	case errors.As(err, &refused) && refused.Severity == "ERROR":
		return errors.Join(t.meaning(err), t.Rollback())
	}
	return t.recover(began, t.meaning(err))
}

// recover finds out what became of a COMMIT whose answer was lost.
func (t *turn) recover(began time.Time, lost error) error {
	ctx, cancel := context.WithDeadline(t.of.store.ctx, began.Add(unknownAfter))
	defer cancel()
	for {
		committed, err := t.committed(ctx)
		switch {
		case err == nil && committed:
			t.of.last = t.n
			return nil
		case err == nil:
			return fmt.Errorf("%w: nothing was changed: %w", store.ErrUnavailable, lost)
		case ctx.Err() != nil:
			return fmt.Errorf("%w: %w", store.ErrUnknownOutcome, errors.Join(lost, err))
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// committed waits until the transaction has ended, by waiting for the turn that it holds,
// and reads whether its number is there.
func (t *turn) committed(ctx context.Context) (bool, error) {
	var n int64
	err := pgx.BeginFunc(ctx, t.of.store.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO turns (org, server, n) VALUES ($1, '', 0) ON CONFLICT (org, server) DO UPDATE SET n = turns.n`, quote(string(t.of.org)))
		if err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT coalesce(max(n), 0) FROM turns WHERE org = $1 AND server = $2`, quote(string(t.of.org)), t.of.store.server).Scan(&n)
	})
	return n == t.n, err
}
