package kit

import (
	"context"
	"fmt"
	"time"

	"github.com/stavily/agents/shared/pkg/agent"
)

// streamTime is how long a sensor is watched that runs for ever.
const streamTime = 3 * time.Second

// stream tries a sensor that is a program which runs for ever and reports by itself.
func (t *trial) stream(ctx context.Context) {
	t.card.skip("a script is only run", "handshake", "schema", "commands")
	h := &heard{}
	c, end := t.card.begin("runs")
	ends := make(chan agent.Exit, 1)
	task := h.listen(t.bench.task())
	task.Stray = nil // its output is its log
	task.Ended = func(e agent.Exit) { ends <- e }
	asked, cancel := context.WithCancel(ctx)
	defer cancel()
	over := make(chan error, 1)
	go func() { over <- t.bench.Stream(asked, task) }()
	select {
	case err := <-over:
		c.fail("%s", h.why(fmt.Errorf("it ended, and a monitor runs for ever: %w", err)))
		end("ends by itself")
		t.card.skip("it ends by itself", "TERM")
		return
	case <-time.After(streamTime):
	case <-ctx.Done():
	}
	c.note("what it holds while it runs is not measured")
	end("runs for %s: %s", short(streamTime), h.emitted())
	c, end = t.card.begin("TERM")
	sent := time.Now()
	cancel()
	<-over
	select {
	case exit := <-ends:
		end("%s", ended(c, exit, time.Since(sent)))
	default:
		c.fail("it was not started at all")
		end("not tried")
	}
}
