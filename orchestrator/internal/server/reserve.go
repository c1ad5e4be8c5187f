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
// nothing. But to collect them takes 0.7 s of a processor, so it is not to happen every
// few seconds: that is what the least growth is for.
const (
	reserve     = 48 << 20 // bytes between two collections
	mostGrowth  = 200      // per cent of what is in use
	leastGrowth = 20
	reserveLook = 2 * time.Second
)

// A collection takes every processor that nothing of the server needs, also from other
// processes, and for the length of it each of its answers is late: with a thousand agents
// that is 60 ms. So where much becomes garbage the reserve is what comes up in reserveLasts,
// as long as that is not more than mostReserve.
//
// Not while agents come: what they bring to stay would lie scattered among the garbage of their
// handshakes, in twice the memory, from then on. Each is three goroutines.
const (
	reserveLasts = 30        // seconds
	mostReserve  = 320 << 20 // bytes
	mostBusy     = 1000      // per cent of what is in use
	manyCome     = 24        // goroutines more than reserveLook before
)

// keepReserve lets the heap grow by the reserve between collections, within the bounds.
func keepReserve(ctx context.Context) error {
	before := debug.SetGCPercent(mostGrowth)
	defer debug.SetGCPercent(before)
	tick := time.NewTicker(reserveLook)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}, {Name: "/gc/heap/allocs:bytes"}, {Name: "/sched/goroutines:goroutines"}}
	var set int
	var made, come lately
	for {
		metrics.Read(sample)
		rate := made.least(sample[2].Value.Uint64()) / uint64(reserveLook/time.Second) // not for a start, or a page
		if come.least(sample[3].Value.Uint64()) >= manyCome {
			rate = 0
		}
		percent := growth(sample[0].Value.Uint64()+sample[1].Value.Uint64(), rate)
		if percent*10 < set*9 || percent*9 > set*10 { // each setting stops everything for a moment
			set = percent
			debug.SetGCPercent(percent)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// lately is how a number rose in the last two looks.
type lately struct{ at, rose uint64 }

// least takes the number as it is now, and returns by how much it rose in both looks at least.
func (l *lately) least(now uint64) uint64 {
	rose := now - min(l.at, now)
	least := min(rose, l.rose)
	l.at, l.rose = now, rose
	return least
}

// growth is how much a heap may grow, in per cent of the bytes that are in use, where so
// many a second become garbage.
func growth(inUse, rate uint64) int {
	usual := min(max(reserve*100/max(inUse, 1), leastGrowth), mostGrowth)
	busy := min(min(rate*reserveLasts, mostReserve)*100/max(inUse, 1), mostBusy)
	return int(max(usual, busy))
}
