package agent

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// settleAfter is when the start is over, with the first heartbeat and the first poll.
	settleAfter = 2 * time.Second

	// settledPercent is how far the heap of an agent may grow over what is in use before it
	// is collected. Most of what an agent allocates are answers that it has forgotten a
	// moment later, and a collection of the 1 to 2 MB that it keeps takes a millisecond.
	settledPercent = 50

	// memoryLimit is from where on the runtime collects garbage whatever its reserve: with the
	// 13 MB of the program that are in memory an agent stays below the 50 MB that are promised.
	// It keeps a tenth of that. What comes near is an answer of a megabyte made to be larger
	// when it is decoded, of which one after the other took 55 MB (TestHostileOrchestrator).
	// Who keeps more is left room to work in: see roomFor.
	memoryLimit = 24 << 20 // bytes

	// An agent that works makes garbage all the time. With as little in reserve it would
	// collect it twenty times a second at fifty runs a second, each time with all processors
	// that its plugins do not hold at that moment. So it keeps workReserve while it allocates
	// workRate or more, and gives that back when it has not for quietLooks.
	workReserve = 8 << 20 // bytes
	workRate    = 1 << 20 // bytes a second
	workLook    = 5 * time.Second
	quietLooks  = 6
)

// settle gives back what only the start needed (sandbox probes, parsed manifests, TLS
// handshakes), and keeps less in reserve from then on. Who sets GOGC or GOMEMLIMIT knows better.
func settle(ctx context.Context) error {
	ours := os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == ""
	if ours {
		debug.SetMemoryLimit(memoryLimit)
	}
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(settleAfter):
	}
	if ours {
		debug.SetGCPercent(settledPercent)
	}
	debug.FreeOSMemory()
	unmapProgram()
	if ours {
		keepPace(ctx)
	}
	<-ctx.Done()
	return nil
}

// keepPace collects garbage less often while the agent works.
func keepPace(ctx context.Context) {
	tick := time.NewTicker(workLook)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	p := pace{allocated: sample[0].Value.Uint64()} // what came after the first moments goes, too
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(sample)
		percent, rests := p.look(sample[0].Value.Uint64(), sample[1].Value.Uint64())
		debug.SetMemoryLimit(roomFor(sample[1].Value.Uint64()))
		if percent != 0 {
			debug.SetGCPercent(percent)
		}
		if rests {
			debug.FreeOSMemory()
		}
	}
}

// roomFor is the limit of the runtime's memory with so many bytes of the heap in use: near its
// limit it would do little but collect.
func roomFor(live uint64) int64 { return max(memoryLimit, int64(2*live+workReserve)) }

// pace is what is known of how an agent works: it rests after quietLooks without work.
type pace struct {
	allocated uint64 // bytes, by the last look
	quiet     int    // looks since it worked
}

// look takes what was allocated in all and what is in use, and returns how far the heap may
// grow from now on, in per cent, or 0 where that stays as it is, and whether work is over.
func (p *pace) look(allocated, live uint64) (percent int, rests bool) {
	works := allocated-p.allocated >= workRate*uint64(workLook/time.Second)
	p.allocated = allocated
	if works {
		p.quiet = 0
		return int(max(workReserve*100/max(live, 1), settledPercent)), false
	}
	if p.quiet == quietLooks {
		return 0, false
	}
	if p.quiet++; p.quiet < quietLooks {
		return 0, false
	}
	return settledPercent, true
}
