package postgres

import (
	"fmt"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/stavily/agents/internal/pgtest"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openURL(t testing.TB, url string) *Store {
	t.Helper()
	s, err := Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// with opens a store for the length of a test.
func with(t testing.TB, url string) *Store {
	t.Helper()
	s := openURL(t, url)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func note(detail string) func(store.Tx) error {
	return func(tx store.Tx) error { return tx.AddAudit(store.Audit{Detail: detail}) }
}

// notes are the details of all audit records of organisation o.
func notes(t testing.TB, s *Store) []string {
	t.Helper()
	var out []string
	err := s.Org("o").View(t.Context(), func(r store.Reader) error {
		for after := int64(0); ; {
			page, err := r.Audit(after, 1000)
			if err != nil || len(page) == 0 {
				return err
			}
			for _, a := range page {
				out, after = append(out, a.Detail), a.Seq
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestConformance(t *testing.T) {
	cluster := pgtest.Start(t)
	var mu sync.Mutex
	urls := map[string]string{} // by directory
	storetest.Run(t, func(t *testing.T, dir string) store.Store {
		mu.Lock()
		defer mu.Unlock()
		if urls[dir] == "" {
			urls[dir] = cluster.NewSchema(t)
		}
		return openURL(t, urls[dir])
	})
}

func BenchmarkUpdate(b *testing.B) {
	s := with(b, pgtest.Start(b).NewSchema(b))
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			work := make(chan struct{})
			var all sync.WaitGroup
			for range callers {
				all.Go(func() {
					for range work {
						if err := s.Org("o").Update(b.Context(), note("x")); err != nil {
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
