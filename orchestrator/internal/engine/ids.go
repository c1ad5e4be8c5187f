package engine

import (
	"crypto/rand"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/stavily/agents/shared/pkg/api"
)

// ids makes identifiers that sort by time, also those of one millisecond.
type ids struct {
	mu      sync.Mutex // guards entropy
	entropy *ulid.MonotonicEntropy
}

func newIDs() *ids { return &ids{entropy: ulid.Monotonic(rand.Reader, 0)} }

// FirstID is before the id of every run of that time and later.
func FirstID(at time.Time) api.RunID {
	var id ulid.ULID
	if ms := at.UnixMilli(); ms > 0 {
		_ = id.SetTime(uint64(ms)) // fails in the year 10889
	}
	return api.RunID(id.String())
}

func (i *ids) next(now time.Time) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return ulid.MustNew(ulid.Timestamp(now), i.entropy).String()
}
