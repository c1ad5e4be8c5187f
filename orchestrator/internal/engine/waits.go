package engine

import (
	"strings"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
)

// waitingStep is a step that waits for an event, as engine.waits caches them: looking into
// the store at each event would cost more than the event. The cache is dropped in the
// transaction that changes what waits, while no other runs, so what is in it is never older
// than what is committed.
type waitingStep struct {
	store.Wait
	takes func(eventType string) bool
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

// offer shows an event to every step that waits for its type; one of the server's own only to
// those that name such. Runs that the event itself starts are not among them.
func (t *tx) offer(ev workflow.Event) error {
	list, err := t.waitingSteps()
	if err != nil {
		return err
	}
	for _, w := range list {
		if !w.takes(ev.Type) || ev.Own && !strings.HasPrefix(w.Pattern, workflow.OwnTypes) {
			continue
		}
		if err := t.advance(w.Run, workflow.EventCame{Step: w.Step, Event: ev}); err != nil {
			return err
		}
	}
	return nil
}
