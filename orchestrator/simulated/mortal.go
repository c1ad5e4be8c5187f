package simulated

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// Moment is one around a commit.
type Moment int

// The moments at which a server may be told to die.
const (
	Before Moment = iota // nothing of the transaction is on the disk
	After                // all of it is, and nobody was told
)

// mortal is a store whose process can die around each commit.
type mortal struct {
	store.Store
	ask  func(Moment) (die bool)
	mu   sync.Mutex // held during a commit
	dead atomic.Bool
}

// kill ends the process between two commits.
func (m *mortal) kill(snapshot func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead.Store(true)
	snapshot()
}

// dies asks whether the process ends at this moment. It needs mu.
func (m *mortal) dies(at Moment) bool {
	if !m.dead.Load() && m.ask != nil && m.ask(at) {
		m.dead.Store(true)
	}
	return m.dead.Load()
}

func (m *mortal) Org(id api.OrgID) store.Scope { return mortalScope{m.Store.Org(id), m} }

func (m *mortal) Orgs(ctx context.Context) ([]api.OrgID, error) {
	if m.dead.Load() {
		return nil, store.ErrClosed
	}
	return m.Store.Orgs(ctx)
}

type mortalScope struct {
	store.Scope
	m *mortal
}

func (s mortalScope) Update(ctx context.Context, fn func(store.Tx) error) error {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.m.dies(Before) {
		return store.ErrClosed
	}
	err := s.Scope.Update(ctx, fn)
	if s.m.dies(After) {
		return store.ErrClosed
	}
	return err
}

func (s mortalScope) View(ctx context.Context, fn func(store.Reader) error) error {
	if s.m.dead.Load() {
		return store.ErrClosed
	}
	return s.Scope.View(ctx, fn)
}
