package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/stavily/agents/internal/cluster"
)

const (
	shortestPause = time.Second // that of R15; -longest is the other end

	// underWay is how long an action takes, so that there is mostly one when a pause begins.
	underWay = time.Second
)

// runPauses runs -count pauses of an agent or the server, across leases, in worlds side by side: most of
// the time of each something stands still.
func runPauses(ctx context.Context, o options) error {
	if err := o.checkWorlds(); err != nil {
		return err
	}
	if o.longest <= shortestPause {
		return fmt.Errorf("-longest %v: must be more than %v", o.longest, shortestPause)
	}
	worlds := make([]sideWorld, min(o.worlds, o.count))
	for n := range worlds {
		lengths := pauseLengths(o.count, o.longest, n, len(worlds))
		worlds[n] = sideWorld{o, scenario{name: "pauses", of: "R15", draw: pausing(lengths), rest: clearFor, takes: underWay}}
		worlds[n].count = len(lengths)
		worlds[n].seed += uint64(n)
	}
	return sideBySide(ctx, worlds, len(worlds), func() {})
}

// checkWorlds: there must be something to run.
func (o options) checkWorlds() error {
	if o.worlds < 1 || o.count < 1 {
		return fmt.Errorf("-worlds %d -count %d: must both be at least 1", o.worlds, o.count)
	}
	return nil
}

// pauseLengths are those of the n-th of so many worlds: of all count, each longer than the one before by
// the same factor, so that all worlds take about as long.
func pauseLengths(count int, longest time.Duration, n, worlds int) (lengths []time.Duration) {
	factor := float64(longest) / float64(shortestPause)
	for i := n; i < count; i += worlds {
		part := 1.0
		if count > 1 {
			part = float64(i) / float64(count-1)
		}
		lengths = append(lengths, time.Duration(float64(shortestPause)*math.Pow(factor, part)))
	}
	return lengths
}

// pausing has one process after the other stand still, for each of the lengths once, in random order.
func pausing(lengths []time.Duration) func(*rand.Rand) []planned {
	whom, n := []string{actionID, cluster.ServerName, sensorID}, 0
	return func(r *rand.Rand) []planned {
		if n == 0 {
			r.Shuffle(len(lengths), func(i, j int) { lengths[i], lengths[j] = lengths[j], lengths[i] })
		}
		n++
		return []planned{{what: faultPause, whom: whom[(n-1)%len(whom)], lasts: lengths[(n-1)%len(lengths)]}}
	}
}
