package route

import (
	"sync"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// flight counts requests in flight by row and caller. It holds an entry only while
// a request runs, so it is as large as the number of connections at most.
type flight struct {
	mu    sync.Mutex // guards count
	count map[flightKey]int
}

type flightKey struct {
	row    ID
	caller string
}

func newFlight() *flight { return &flight{count: map[flightKey]int{}} }

// enter takes a place and returns the function that gives it back.
func (f *flight) enter(row Row, caller string) (leave func(), err error) {
	key := flightKey{row.ID, caller}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count[key] >= row.InFlight {
		busy := api.Errorf(api.CodeRateLimited, "More than %d requests of this caller to this route run at the same time; wait for an answer before the next.", row.InFlight)
		busy.RetryAfter = time.Second
		return nil, busy
	}
	f.count[key]++
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.count[key]--; f.count[key] == 0 {
			delete(f.count, key)
		}
	}, nil
}
