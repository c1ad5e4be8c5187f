package agent

import (
	"context"
	"os"
	"runtime/debug"
	"time"
)

const (
	// settleAfter is when the start is over, with the first heartbeat and the first poll.
	settleAfter = 2 * time.Second

	// settledPercent is how far the heap of an agent may grow over what is in use before it
	// is collected. Most of what an agent allocates are answers that it has forgotten a
	// moment later, and a collection of the 1 to 2 MB that it keeps takes a millisecond.
	settledPercent = 50
)

// settle gives back what only the start needed (sandbox probes, parsed manifests, TLS
// handshakes), and keeps less in reserve from then on. Who sets GOGC knows better.
func settle(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(settleAfter):
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(settledPercent)
	}
	debug.FreeOSMemory()
	unmapProgram()
	<-ctx.Done()
	return nil
}
