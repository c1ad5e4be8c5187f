package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/store/sqlstore"
	"github.com/stavily/agents/shared/pkg/api"
)

const (
	// connections of a server at most, unless the URL says pool_max_conns: reads are short,
	// and PostgreSQL has 100 for all of its clients.
	connections = 16

	// idleLimit is how long a server may hold the turn and send nothing: far longer than a
	// function takes, and short enough that others can wait.
	idleLimit = 10 * time.Second

	// callLimit is how long one transaction may take in all, waiting for its turn included.
	callLimit = 30 * time.Second
)

// Store is a store.Store in a database of PostgreSQL.
type Store struct {
	ctx    context.Context // of what must be completed
	pool   *pgxpool.Pool
	server string // names this process to the others
	watch  sqlstore.Watch
	close  func() error // once

	closing context.Context // done once nothing may begin any more

	mu      sync.Mutex // guards writers
	writers map[api.OrgID]*sqlstore.Writer
}

var _ store.Shared = (*Store)(nil)

// Open connects to a database and brings its schema up to date. ctx bounds the opening only.
func Open(ctx context.Context, url string) (*Store, error) {
	return OpenWatched(ctx, url, sqlstore.Watch{})
}

// OpenWatched is [Open] of a store that tells of slow statements. One that needs no answer goes
// with the next that does, whose time is that of both.
func OpenWatched(ctx context.Context, url string, watch sqlstore.Watch) (*Store, error) {
	s, err := open(ctx, url, watch)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err) // pgx leaves passwords out
	}
	return s, nil
}

func open(ctx context.Context, url string, watch sqlstore.Watch) (*Store, error) {
	config, err := poolConfig(url)
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, config.ConnConfig); err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	s := &Store{ctx: context.WithoutCancel(ctx), pool: pool, watch: watch, server: rand.Text(), writers: map[api.OrgID]*sqlstore.Writer{}}
	closing, stop := context.WithCancel(s.ctx)
	s.closing = closing
	s.close = sync.OnceValue(func() error { return s.shut(stop) })
	return s, nil
}

// poolConfig reads a URL and adds what every connection needs and the URL does not say.
func poolConfig(url string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	if err := refuseClearText(url, config.ConnConfig); err != nil {
		return nil, err
	}
	if !poolSize.MatchString(url) {
		config.MaxConns = connections
	}
	for name, value := range map[string]string{
		"application_name":                    "stavily",
		"idle_in_transaction_session_timeout": fmt.Sprint(idleLimit.Milliseconds()),
	} {
		if _, given := config.ConnConfig.RuntimeParams[name]; !given {
			config.ConnConfig.RuntimeParams[name] = value
		}
	}
	config.ConnConfig.RuntimeParams["synchronous_commit"] = "on" // what was answered survives a power cut
	config.ConnConfig.RuntimeParams["default_transaction_isolation"] = "read committed"
	config.ConnConfig.ConnectTimeout = callLimit
	config.AfterConnect = prepareAll
	return config, nil
}

// refuseClearText refuses a way through a network without encryption, unless the URL says so
// itself: the default of PostgreSQL's clients is to do without where the server has none.
func refuseClearText(url string, config *pgx.ConnConfig) error {
	if saysTLS.MatchString(url) || os.Getenv("PGSSLMODE") != "" {
		return nil
	}
	clear := config.TLSConfig == nil && remote(config.Host)
	for _, way := range config.Fallbacks {
		clear = clear || way.TLSConfig == nil && remote(way.Host)
	}
	if clear {
		return fmt.Errorf("the URL of the database at %s says no sslmode: add sslmode=verify-full (with sslrootcert=FILE for a CA of your own), or sslmode=disable where nobody else is on the network", config.Host)
	}
	return nil
}

func remote(host string) bool {
	ip := net.ParseIP(host)
	return !strings.HasPrefix(host, "/") && host != "localhost" && (ip == nil || !ip.IsLoopback())
}

func prepareAll(ctx context.Context, c *pgx.Conn) error {
	for n, text := range statements {
		if _, err := c.Prepare(ctx, name(sqlstore.Statement(n)), text); err != nil {
			return fmt.Errorf("prepare %s: %w", text, err)
		}
	}
	_, err := c.Prepare(ctx, takeTurn, turnText)
	return err
}

// Org gives the part of one organisation.
func (s *Store) Org(org api.OrgID) store.Scope { return scope{s, org} }

// Orgs lists the organisations that anything was ever written for.
func (s *Store) Orgs(ctx context.Context) (orgs []api.OrgID, err error) {
	err = s.view(ctx, func(c *connection) error {
		orgs, err = sqlstore.Orgs(c)
		return err
	})
	return orgs, err
}

// Close waits for the functions that run; none begins any more.
func (s *Store) Close() error { return s.close() }

func (s *Store) shut(stop func()) error {
	stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.writers {
		w.Close()
	}
	err := s.abdicate()
	s.pool.Close() // waits for those in use
	return err
}

// refusal is why nothing may begin any more, or nil.
func (s *Store) refusal() error {
	select {
	case <-s.closing.Done():
		return store.ErrClosed
	default:
		return nil
	}
}

// scope is one organisation's part of a store.
type scope struct {
	store *Store
	org   api.OrgID
}

func (s scope) View(ctx context.Context, fn func(store.Reader) error) error {
	return s.store.view(ctx, func(c *connection) error { return sqlstore.Read(c, s.store.watch, s.org, fn) })
}

func (s scope) Update(ctx context.Context, fn func(store.Tx) error) error {
	w, err := s.store.writer(s.org)
	if err != nil {
		return err
	}
	return sqlstore.Update(ctx, w, s.org, fn)
}

// writer is the one of an organisation; it lives as long as the store.
func (s *Store) writer(org api.OrgID) (*sqlstore.Writer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refusal(); err != nil {
		return nil, err
	}
	w := s.writers[org]
	if w == nil {
		t := &turns{store: s, org: org}
		w = sqlstore.StartWriter(t.take, t.give, s.watch)
		s.writers[org] = w
	}
	return w, nil
}

func (s *Store) view(ctx context.Context, fn func(*connection) error) error {
	if err := errors.Join(ctx.Err(), s.refusal()); err != nil {
		return err
	}
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return s.unavailable(ctx, err)
	}
	c := &connection{ctx: ctx, conn: conn}
	defer conn.Release() // ends one that is still in a transaction
	c.later("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
	if err := fn(c); err != nil {
		return errors.Join(err, c.Rollback())
	}
	return c.Rollback()
}

// unavailable says what it means that there is no connection.
func (s *Store) unavailable(ctx context.Context, err error) error {
	if closed := s.refusal(); closed != nil {
		return closed
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}
