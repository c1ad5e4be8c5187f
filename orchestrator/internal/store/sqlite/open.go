package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/store/sqlstore"
	"github.com/stavily/agents/shared/pkg/api"
)

// maxReaders bounds the read connections: reads are short and use the processor, so
// more than it has cores only multiply caches (2 MiB each).
const maxReaders = 8

// writerCache is 8 MiB of pages at most, where SQLite keeps 2: with five hundred runs under way
// the writer read the pages of theirs again and again.
const writerCache = "PRAGMA cache_size = -8192"

// settings of every connection.
var settings = []string{
	"busy_timeout(5000)", // a backup or a person's sqlite3 holds the lock for moments
	"journal_mode(WAL)",
	"synchronous(FULL)",            // fsync at each commit; see the package documentation
	"temp_store(MEMORY)",           // what a savepoint may have to undo is little, and SQLite writes it to a file after 64 KiB
	"journal_size_limit(67108864)", // give a burst's 64 MiB and more of WAL back to the disk
}

// Store is a store.Store in one file.
type Store struct {
	path     string
	db       *sql.DB
	sessions []*session // all there are
	writing  *session   // by the writer
	writer   *sqlstore.Writer
	looks    chan *look     // for the goroutines that read
	reading  sync.WaitGroup // those
	closing  chan struct{}  // ends them
	watch    sqlstore.Watch
	close    func() error // once
}

var _ store.Store = (*Store)(nil)

// Open opens the database at path, makes it if it is not there, and brings its schema
// up to date. ctx bounds the opening only.
func Open(ctx context.Context, path string) (*Store, error) {
	return OpenWatched(ctx, path, sqlstore.Watch{})
}

// OpenWatched is [Open] of a store that tells of slow statements.
func OpenWatched(ctx context.Context, path string, watch sqlstore.Watch) (*Store, error) {
	s, err := open(ctx, path, watch)
	if full(err) {
		err = fmt.Errorf("the disk of %s is full: free some MiB there, for example of old backups or of the archive, and start again: %w", filepath.Dir(path), err)
	}
	if err != nil {
		return nil, damaged(path, fmt.Errorf("open database %s: %w", path, err))
	}
	return s, nil
}

func open(ctx context.Context, path string, watch sqlstore.Watch) (*Store, error) {
	if err := own(path); err != nil {
		return nil, err
	}
	db, err := connect(path)
	if err != nil {
		return nil, err
	}
	s := &Store{path: path, db: db, watch: watch, looks: make(chan *look), closing: make(chan struct{})}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.disconnect())
	}
	s.close = sync.OnceValue(s.shut)
	return s, nil
}

func connect(path string) (*sql.DB, error) {
	dsn, err := dataSource(path)
	if err != nil {
		return nil, err
	}
	return sql.Open("sqlite", dsn)
}

func (s *Store) start(ctx context.Context) error {
	if err := migrate(ctx, s.db); err != nil {
		return err
	}
	for range min(max(runtime.GOMAXPROCS(0), 2), maxReaders) {
		r, err := s.connect(ctx, "PRAGMA query_only = ON")
		if err != nil {
			return err
		}
		s.reading.Add(1)
		go s.read(r)
	}
	w, err := s.connect(ctx, writerCache)
	if err != nil {
		return err
	}
	s.writing = w
	s.writer = sqlstore.StartWriter(func() (sqlstore.Connection, error) { return w, nil }, func(sqlstore.Connection) {}, s.watch)
	return nil
}

func (s *Store) connect(ctx context.Context, settings ...string) (*session, error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	c := &session{path: s.path, conn: conn}
	s.sessions = append(s.sessions, c)
	return c, c.prepare(ctx, settings)
}

func (s *Store) disconnect() error {
	close(s.closing)
	s.reading.Wait()
	var err error
	for _, c := range s.sessions {
		err = errors.Join(err, c.close())
	}
	return errors.Join(err, s.db.Close())
}

// own makes the file for its owner alone; SQLite gives its other files the same mode.
func own(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(0o600), f.Close())
}

// dataSource is the URI of a file (https://www.sqlite.org/uri.html), in which a path may
// contain any character.
func dataSource(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	slashed := filepath.ToSlash(abs)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed // a drive letter
	}
	uri := url.URL{Scheme: "file", Path: slashed, RawQuery: url.Values{"_pragma": settings}.Encode()}
	return uri.String(), nil
}

// Org gives the part of one organisation.
func (s *Store) Org(org api.OrgID) store.Scope { return scope{s, org} }

// Orgs lists the organisations that anything was ever written for.
func (s *Store) Orgs(ctx context.Context) (orgs []api.OrgID, err error) {
	err = s.view(ctx, func(r *session) error {
		orgs, err = sqlstore.Orgs(r)
		return err
	})
	return orgs, err
}

// Close waits for the functions that run; none begins any more.
func (s *Store) Close() error { return s.close() }

func (s *Store) shut() error {
	s.writer.Close()
	return s.disconnect()
}

// scope is one organisation's part of a store.
type scope struct {
	store *Store
	org   api.OrgID
}

func (s scope) View(ctx context.Context, fn func(store.Reader) error) error {
	return s.store.view(ctx, func(r *session) error { return sqlstore.Read(r, s.store.watch, s.org, fn) })
}

func (s scope) Update(ctx context.Context, fn func(store.Tx) error) error {
	return sqlstore.Update(ctx, s.store.writer, s.org, fn)
}
