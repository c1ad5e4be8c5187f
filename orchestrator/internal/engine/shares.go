package engine

import (
	"context"
	"sync"

	"github.com/stavily/agents/shared/pkg/api"
)

// share is how many transitions of one organisation the store is asked for at once: half of
// those that share a commit, so that another organisation's next one is in the commit that
// runs or the one after it, however many wait in this one.
const share = 128

// shares lets no organisation take the whole writer. They live as long as the engine: there
// are as many as organisations.
type shares struct {
	mu sync.Mutex // guards of
	of map[api.OrgID]chan struct{}
}

// enter waits for a place of the organisation and returns the function that gives it back.
func (s *shares) enter(ctx context.Context, org api.OrgID) (leave func(), err error) {
	s.mu.Lock()
	if s.of == nil {
		s.of = map[api.OrgID]chan struct{}{}
	}
	places := s.of[org]
	if places == nil {
		places = make(chan struct{}, share)
		s.of[org] = places
	}
	s.mu.Unlock()
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
