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
