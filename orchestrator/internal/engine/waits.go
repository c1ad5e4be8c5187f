package engine

import (
	"sync"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// waits are the steps that wait for an event, a cache of the store: looking there at each
// event would cost more than the event. It is dropped in the transaction that changes them,
// while no other runs, so a list in it is never older than what is committed.
type waits struct {
	mu    sync.Mutex // guards lists
	lists map[api.OrgID][]waitingStep
}

type waitingStep struct {
	store.Wait
	takes func(eventType string) bool
}

func (w *waits) of(org api.OrgID) ([]waitingStep, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list, ok := w.lists[org]
	return list, ok
}

func (w *waits) set(org api.OrgID, list []waitingStep) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lists == nil {
		w.lists = map[api.OrgID][]waitingStep{}
	}
	w.lists[org] = list
}

func (w *waits) drop(org api.OrgID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.lists, org)
}

func (t *tx) await(w store.Wait) error {
	t.rewaits()
	return t.PutWait(w)
}

func (t *tx) stopWaiting(w store.Wait) error {
	t.rewaits()
	return t.DropWait(w)
}

// rewaits notes that this transaction changes what waits: until it is committed or undone
// nothing of it may get into the cache.
func (t *tx) rewaits() {
	t.waitsChange = true
	t.engine.waits.drop(t.org)
}

func (t *tx) waitingSteps() ([]waitingStep, error) {
	if list, ok := t.engine.waits.of(t.org); ok {
		return list, nil
	}
	stored, err := t.Waits()
	if err != nil {
		return nil, err
	}
	list := make([]waitingStep, len(stored))
	for i, w := range stored {
		list[i] = waitingStep{w, workflow.Matcher(w.Pattern)}
	}
	if !t.waitsChange {
		t.engine.waits.set(t.org, list)
	}
	return list, nil
}

// offer shows an event to every step that waits for its type. Runs that the event itself
// starts are not among them.
func (t *tx) offer(ev workflow.Event) error {
	list, err := t.waitingSteps()
	if err != nil {
		return err
	}
	for _, w := range list {
		if !w.takes(ev.Type) {
			continue
		}
		if err := t.advance(w.Run, workflow.EventCame{Step: w.Step, Event: ev}); err != nil {
			return err
		}
	}
	return nil
}
