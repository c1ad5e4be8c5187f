package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

const (
	channel = "stavily"

	// maxNotice is a little below what NOTIFY carries (8000 bytes).
	maxNotice = 7500

	// listenCheck is how often a connection that nothing is heard on is tried, and how long
	// that may take.
	listenCheck = 5 * time.Second

	// listenRetry is the pause after the connection of a follower was lost.
	listenRetry = 200 * time.Millisecond
)

// notice is what goes through NOTIFY.
type notice struct {
	Server string    `json:"s"`
	Org    api.OrgID `json:"o"`
	Text   string    `json:"t,omitempty"` // "": it was too long
}

// Tell queues a notice for the other servers, who get it with the commit.
func (t *turn) Tell(text []byte) error {
	n := notice{t.of.store.server, t.of.org, string(text)}
	payload, err := json.Marshal(n)
	if err == nil && len(payload) > maxNotice {
		n.Text = ""
		payload, err = json.Marshal(n)
	}
	if err == nil {
		t.later("SELECT pg_notify('"+channel+"', $1)", string(payload))
	}
	return err
}

// Follow calls f for what other servers tell, until ctx is done or the store is closed.
func (s *Store) Follow(ctx context.Context, f func(store.Notice)) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()
	for ctx.Err() == nil {
		s.follow(ctx, f)
		select {
		case <-time.After(listenRetry):
		case <-ctx.Done():
		}
	}
}

// follow listens on a connection of its own until that is lost.
func (s *Store) follow(ctx context.Context, f func(store.Notice)) {
	conn, err := pgx.ConnectConfig(ctx, s.pool.Config().ConnConfig)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // it is lost, or not needed
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return
	}
	f(store.Notice{}) // what was told before was not heard
	defer f(store.Notice{Deaf: true})
	for {
		heard, err := s.hear(ctx, conn)
		if err != nil {
			return
		}
		if heard == nil {
			continue
		}
		var n notice
		switch err := json.Unmarshal([]byte(heard.Payload), &n); {
		case err != nil: // a newer server's; look at everything
			f(store.Notice{})
		case n.Server != s.server:
			f(store.Notice{Org: n.Org, Text: []byte(n.Text)})
		}
	}
}

// hear waits for a notification. Without one it asks whether the connection is alive.
func (s *Store) hear(ctx context.Context, conn *pgx.Conn) (*pgconn.Notification, error) {
	wait, cancel := context.WithTimeout(ctx, listenCheck)
	defer cancel()
	heard, err := conn.WaitForNotification(wait)
	if err == nil || wait.Err() == nil || ctx.Err() != nil {
		return heard, err
	}
	answer, cancel := context.WithTimeout(ctx, listenCheck)
	defer cancel()
	return nil, conn.Ping(answer)
}

// Lead reports whether this server leads for the next store.LeaseLife by the
// clock of the database, and asks for it.
func (s *Store) Lead(ctx context.Context) (bool, error) {
	tag, err := s.pool.Exec(ctx, `INSERT INTO leases (name, holder, until) VALUES ('leader', $1, clock_timestamp() + $2)
		ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
		WHERE leases.holder = excluded.holder OR leases.until < clock_timestamp()`, s.server, store.LeaseLife)
	if err != nil {
		return false, s.unavailable(ctx, err)
	}
	return tag.RowsAffected() == 1, nil
}

// abdicate lets another server lead at once.
func (s *Store) abdicate() error {
	ctx, cancel := context.WithTimeout(s.ctx, idleLimit)
	defer cancel()
	_, err := s.pool.Exec(ctx, `DELETE FROM leases WHERE holder = $1`, s.server)
	if err != nil && ctx.Err() == nil {
		return nil // it runs out by itself
	}
	return err
}

// lockLimit is how long a server may stand still with a lock.
const lockLimit = time.Minute

// Lock waits until no other server has the lock of that name.
func (s *Store) Lock(ctx context.Context, name string) (unlock func(), err error) {
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return nil, s.unavailable(ctx, err)
	}
	for _, step := range []struct {
		sql  string
		args []any
	}{
		{"SELECT set_config('idle_in_transaction_session_timeout', $1, true)", []any{fmt.Sprint(lockLimit.Milliseconds())}},
		{"SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || $1, 0))", []any{"." + name}},
	} {
		if _, err := tx.Exec(ctx, step.sql, step.args...); err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), tx.Rollback(s.ctx))
		}
	}
	return func() { _ = tx.Rollback(s.ctx) }, nil // a connection that is lost has no lock
}

// Remember keeps the first value that any server gives under a name, and returns it.
func (s *Store) Remember(ctx context.Context, name, value string) (had string, err error) {
	_, err = s.pool.Exec(ctx, `INSERT INTO remembered (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING`, name, value)
	if err == nil {
		err = s.pool.QueryRow(ctx, `SELECT value FROM remembered WHERE name = $1`, name).Scan(&had)
	}
	if err != nil {
		return "", fmt.Errorf("remember %s: %w", name, err)
	}
	return had, nil
}
