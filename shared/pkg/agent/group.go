package agent

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// Component is one part of a running agent. Run blocks until the part is done or
// ctx is cancelled; it returns nil after a cancellation that it obeyed.
type Component struct {
	Name string
	Run  func(ctx context.Context) error
}

// drainLimit is how long the group waits for its members after the first one
// ended. systemd kills a unit 90 s after SIGTERM; plugins get 10 s of grace.
const drainLimit = 60 * time.Second

var errDrain = errors.New("did not stop in time")

// runGroup runs all components until ctx is cancelled or one of them returns,
// cancels the rest with that as the cause, and waits for them. A panic becomes the
// error of its component. The first error is returned; nil when all was asked for.
func runGroup(ctx context.Context, components []Component) error {
	type ending struct {
		name string
		err  error
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan ending, len(components))
	for _, c := range components {
		go func() { ended <- ending{c.Name, runOne(ctx, c)} }()
	}
	var first error
	var limit <-chan time.Time
	stopping := ctx.Done()
	for left := len(components); left > 0; {
		select {
		case e := <-ended:
			left--
			if e.err != nil && !errors.Is(e.err, context.Canceled) {
				e.err = fmt.Errorf("%s: %w", e.name, e.err)
				first = errors.Join(first, e.err)
			}
			cancel(e.err)
		case <-stopping:
			stopping, limit = nil, time.After(drainLimit)
		case <-limit:
			return errors.Join(first, fmt.Errorf("%d parts of the agent: %w", left, errDrain))
		}
	}
	return first
}

func runOne(ctx context.Context, c Component) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return c.Run(ctx)
}
