package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/store/sqlstore"
	"github.com/stavily/agents/orchestrator/internal/store/storetest"
	"github.com/stavily/agents/shared/pkg/api"
)

func TestMain(m *testing.M) {
	if child := os.Getenv(childEnv); child != "" {
		os.Exit(runChild(child, os.Getenv(dirEnv)))
	}
	goleak.VerifyTestMain(m)
}

func openIn(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(t.Context(), filepath.Join(dir, "stavily.db"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// with opens a store for the length of a test.
func with(t testing.TB) *Store {
	s := openIn(t, t.TempDir())
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T, dir string) store.Store { return openIn(t, dir) })
}

func TestSettings(t *testing.T) {
	s := with(t)
	for name, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "busy_timeout": "5000", "journal_size_limit": "67108864"} {
		for _, c := range s.sessions {
			var got string
			if err := c.conn.QueryRowContext(t.Context(), "PRAGMA "+name).Scan(&got); err != nil || got != want {
				t.Errorf("%s = %q, %v; want %q", name, got, err, want)
			}
		}
	}
}

// Odd paths reach the file that they name, and all files are their owner's.
func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b%41#c")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "stavily.db"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s := openIn(t, dir)
	if err := s.Org("o").Update(t.Context(), storetest.Note("x")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"stavily.db", "stavily.db-wal", "stavily.db-shm"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode(); runtime.GOOS != "windows" && mode != 0o600 {
			t.Errorf("%s has mode %v", name, mode)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "stavily.db-wal")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close the WAL is there (%v): a connection is still open", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	newer := t.TempDir()
	s := openIn(t, newer)
	if _, err := s.db.ExecContext(t.Context(), `INSERT INTO schema_version VALUES (99, 'later', 'now')`); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "stavily.db"), []byte(strings.Repeat("not a database. ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		newer:                            "a newer stavily has written it",
		foreign:                          "not a database",
		filepath.Join(t.TempDir(), "no"): "no such file",
	} {
		s, err := Open(t.Context(), filepath.Join(dir, "stavily.db"))
		if err == nil || !strings.Contains(err.Error(), want) && runtime.GOOS != "windows" {
			t.Errorf("Open = %v, %v; want an error with %q", s, err, want)
		}
	}
}

// behindOne runs the functions in one group, in their order, behind one that does
// nothing, and returns their errors.
func behindOne(t *testing.T, s *Store, fns ...func(store.Tx) error) []error {
	t.Helper()
	errs := make([]error, len(fns))
	began, finish := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		_ = s.Org("o").Update(t.Context(), func(store.Tx) error { close(began); <-finish; return nil }) // may share another's failure
	})
	<-began
	for n, fn := range fns {
		all.Go(func() { errs[n] = s.Org("o").Update(t.Context(), fn) })
		synctest.Wait() // until it waits
	}
	close(finish)
	all.Wait()
	return errs
}

// A full group is one transaction: none is durable before all are.
func TestGroupSharesACommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := with(t)
		fns := make([]func(store.Tx) error, sqlstore.MaxGroup-1)
		for n := range fns {
			fns[n] = func(tx store.Tx) error {
				if got := len(storetest.Notes(t, s)); got != 0 {
					t.Errorf("%d are durable while the group runs", got)
				}
				return storetest.Note("x")(tx)
			}
		}
		if err := errors.Join(behindOne(t, s, fns...)...); err != nil {
			t.Error(err)
		}
		if got := len(storetest.Notes(t, s)); got != len(fns) {
			t.Errorf("%d of %d are durable", got, len(fns))
		}
	})
}

// statementOf finds the statement that begins with a text.
func statementOf(t *testing.T, begin string) sqlstore.Statement {
	t.Helper()
	n := slices.IndexFunc(sqlstore.Texts(), func(text string) bool { return strings.HasPrefix(text, begin) })
	if n < 0 {
		t.Fatalf("no statement begins with %s", begin)
	}
	return sqlstore.Statement(n)
}

// A function that breaks a statement has no effect, even if it hides the error. Those
// beside it have theirs.
func TestBrokenStatement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := with(t)
		errs := behindOne(t, s, storetest.Note("before"), func(tx store.Tx) error {
			first := s.writing.Write(statementOf(t, `INSERT INTO audit`), "o", nil, "{}")
			second := s.writing.Write(statementOf(t, `INSERT INTO orgs`), "p")
			if first == nil || !errors.Is(second, first) {
				t.Errorf("writes = %v, %v; want the second refused for the first", first, second)
			}
			return nil
		}, storetest.Note("behind"))
		if got := fmt.Sprint(storetest.Notes(t, s)); errs[0] != nil || errs[1] == nil || errs[2] != nil || got != "[before behind]" {
			t.Errorf("errors %v, the store has %s", errs, got)
		}
	})
}

// A full disk costs the group its transaction, but not those behind it, and the store
// goes on.
func TestFullInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := with(t)
		limit := func(pages string) {
			t.Helper()
			if _, err := s.writing.conn.ExecContext(t.Context(), "PRAGMA max_page_count = "+pages); err != nil {
				t.Fatal(err)
			}
		}
		limit("1") // at least what is in use
		large := strings.Repeat("x", 1<<20)
		errs := behindOne(t, s, storetest.Note("before"), storetest.Note(large), storetest.Note("behind"))
		if !errors.Is(errs[0], store.ErrFull) || !errors.Is(errs[1], store.ErrFull) || errs[2] != nil {
			t.Errorf("errors %v; want ErrFull for the first two", errs)
		}
		limit("1000000")
		if err := s.Org("o").Update(t.Context(), storetest.Note("after")); err != nil {
			t.Error(err)
		}
		if got := fmt.Sprint(storetest.Notes(t, s)); got != "[behind after]" {
			t.Errorf("the store has %.80s", got)
		}
	})
}

// An error in which SQLite undoes the whole transaction is everybody's.
func TestLostTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := with(t)
		undo := func(store.Tx) error { return s.writing.exec(rollback) }
		if errs := behindOne(t, s, storetest.Note("lost"), undo); errs[0] == nil || errs[1] == nil {
			t.Errorf("errors %v; want one for each, as nothing of them remains", errs)
		}
		if err := s.Org("o").Update(t.Context(), storetest.Note("next")); err != nil {
			t.Error(err)
		}
		if got := fmt.Sprint(storetest.Notes(t, s)); got != "[next]" {
			t.Errorf("the store has %s", got)
		}
	})
}

func TestFunctionThatExits(t *testing.T) {
	s := with(t)
	err := s.Org("o").Update(t.Context(), func(tx store.Tx) error {
		runtime.Goexit()
		return nil
	})
	if !errors.Is(err, sqlstore.ErrExited) {
		t.Errorf("Update = %v, want %v", err, sqlstore.ErrExited)
	}
	if err := s.Org("o").Update(t.Context(), storetest.Note("x")); !errors.Is(err, sqlstore.ErrExited) {
		t.Errorf("the next one = %v, want %v", err, sqlstore.ErrExited)
	}
}

func BenchmarkUpdate(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			s := with(b)
			work := make(chan struct{})
			var all sync.WaitGroup
			for range callers {
				all.Go(func() {
					for range work {
						if err := s.Org("o").Update(b.Context(), storetest.Note("x")); err != nil {
							b.Error(err)
						}
					}
				})
			}
			for b.Loop() {
				work <- struct{}{}
			}
			close(work)
			all.Wait()
		})
	}
}

func BenchmarkEvents(b *testing.B) {
	const rows = 100
	s := with(b)
	n := 0
	for b.Loop() {
		err := s.Org("o").Update(b.Context(), func(tx store.Tx) error {
			for range rows {
				n++
				if err := tx.AddEvent(store.Event{Event: api.Event{ID: api.EventID(fmt.Sprint(n)), Type: "disk.space.high"}, Agent: "a"}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
}

// A poll reads what waits at its places in their order, and not all that is open anywhere.
func TestPollsReadTheirPlaceOnly(t *testing.T) {
	s := openIn(t, t.TempDir())
	defer s.Close()
	n := slices.IndexFunc(sqlstore.Texts(), func(text string) bool { return strings.Contains(text, "priority, id, plugin, target FROM") })
	if n < 0 {
		t.Fatal("there is no statement by which polls look: name the new one here")
	}
	rows, err := s.writing.conn.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+sqlstore.Texts()[n], "org", 0, "host a")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var plan []string
	for rows.Next() {
		var id, parent, unused int
		var step string
		if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
			t.Fatal(err)
		}
		plan = append(plan, step)
	}
	if err := rows.Err(); err != nil || len(plan) != 1 || !strings.Contains(plan[0], "USING INDEX instructions_pending (org=? AND place=?)") {
		t.Errorf("plan %q, %v: want the index of pending instructions by place and no sorting", plan, err)
	}
}
