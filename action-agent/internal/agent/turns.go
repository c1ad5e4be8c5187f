package agent

import (
	"context"
	"sync"

	"github.com/stavily/agents/shared/pkg/api"
)

// turns lets the attempts of an instruction be at work on this agent one after the other. Between
// agents the lease does; but a plugin goes on while its agent stands still, and when the agent goes
// on too, the next attempt may come to it before it has heard that the lease of the last has run
// out.
type turns struct {
	mu   sync.Mutex                  // guards last
	last map[api.InstructionID]*turn // the highest of each instruction that has any
}

// turn is that of the highest attempt of an instruction that has come.
type turn struct {
	attempt int
	stop    context.CancelCauseFunc
	over    chan struct{} // closed once it has nothing left to do
}

// take gives an attempt its turn: those of its instruction with a lower number are stopped, and it
// waits until nothing is left of them; and of one with its own number, which is the same attempt
// under another lease. One that comes after a higher number need not wait: it has no lease any more.
// The context that is returned ends with errFenced when a higher one comes. The caller calls leave
// when all is done.
func (t *turns) take(ctx context.Context, i api.Instruction) (_ context.Context, leave func()) {
	ctx, stop := context.WithCancelCause(ctx)
	mine := &turn{attempt: i.Attempt, stop: stop, over: make(chan struct{})}
	t.mu.Lock()
	before := t.last[i.ID]
	if before != nil && before.attempt > i.Attempt {
		before = nil
	} else {
		t.last[i.ID] = mine
	}
	t.mu.Unlock()
	if before != nil {
		if before.attempt < i.Attempt {
			before.stop(errFenced)
		}
		select {
		case <-before.over:
		case <-ctx.Done(): // what ends this one while it waits ends the one that it waits for
			before.stop(context.Cause(ctx))
			<-before.over
		}
	}
	return ctx, func() {
		t.mu.Lock()
		if t.last[i.ID] == mine {
			delete(t.last, i.ID)
		}
		t.mu.Unlock()
		stop(nil)
		close(mine.over)
	}
}
