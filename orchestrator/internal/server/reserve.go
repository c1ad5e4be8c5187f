package server

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Bounds of the memory that waits for the garbage collector. By default it lets a heap
// double, which suits a small one: collecting is rare. Ten thousand agents that wait are
// some hundred megabytes of which little becomes garbage, and to double that would buy
// nothing.
const (
	reserve     = 48 << 20 // bytes between two collections
	mostGrowth  = 200      // per cent of what is in use
	leastGrowth = 20
	reserveLook = 10 * time.Second
)

// keepReserve lets the heap grow by the reserve between collections, within the bounds.
func keepReserve(ctx context.Context) error {
	before := debug.SetGCPercent(mostGrowth)
	defer debug.SetGCPercent(before)
	tick := time.NewTicker(reserveLook)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	for {
		metrics.Read(sample)
		debug.SetGCPercent(growth(sample[0].Value.Uint64() + sample[1].Value.Uint64()))
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// growth is how much a heap may grow, in per cent of the bytes that are in use.
func growth(inUse uint64) int {
	return int(min(max(reserve*100/max(inUse, 1), leastGrowth), mostGrowth))
}
