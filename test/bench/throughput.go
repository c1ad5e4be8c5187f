package main

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/internal/simagents"
	"github.com/stavily/agents/shared/pkg/api"
)

const oneStep = `name: one-step
triggers:
  - event: bench.tick
actions:
  - id: go
    plugin: simulated
    with: {path: "${{ event.data.mount }}"}
`

const leastRuns = 1000 // a second: docs/performance.md

const (
	hosts     = 20  // with a sensor and an action agent each
	batch     = 25  // events that a sensor hands in at once
	seldom    = 800 // GOGC of the simulated agents: forty share a heap of some megabytes, as real ones do not
	maxBehind = 500 // runs that have begun and not ended: as many as hosts work on at once, and more
)

// throughput measures how many runs of one step go from event to result in a second, when
// there are always some to do.
func throughput(ctx context.Context, b *bench) ([]Figure, error) {
	if err := b.apply(ctx, oneStep); err != nil {
		return nil, err
	}
	var specs []simagents.Spec
	for n := range hosts {
		host := fmt.Sprintf("host-%d", n)
		specs = append(specs,
			simagents.Spec{ID: api.AgentID("s-" + host), Type: api.Sensor, Host: host},
			simagents.Spec{ID: api.AgentID("a-" + host), Type: api.Action, Host: host})
	}
	agents, err := simagents.Enrol(ctx, b.simulated(), specs, nil)
	if err != nil {
		return nil, err
	}
	defer simagents.Close(agents)
	defer debug.SetGCPercent(debug.SetGCPercent(seldom))
	server := b.Process(cluster.ServerName).Pid()
	var begun, ended atomic.Int64
	var took time.Duration
	var runs int64
	var cpu float64
	group, ctx := errgroup.WithContext(ctx)
	ctx, stop := context.WithCancel(ctx)
	for _, a := range agents {
		if a.Type == api.Action {
			group.Go(func() error { return a.Work(ctx, asConfigured.PollWait, func() { ended.Add(1) }) })
			continue
		}
		group.Go(func() error { return feed(ctx, a.Sensor(), &begun, &ended) })
	}
	group.Go(func() error {
		defer stop()
		if err := sleep(ctx, b.warmUp); err != nil {
			return err
		}
		from, used, begin := ended.Load(), cpuSeconds(server), time.Now()
		if err := sleep(ctx, b.intake); err != nil {
			return err
		}
		runs, took, cpu = ended.Load()-from, time.Since(begin), cpuSeconds(server)-used
		return nil
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return []Figure{
		{"runs of one step", float64(runs) / took.Seconds(), "runs/s", 0, leastRuns},
		{"server CPU for a run", cpu / float64(runs) * 1000, "ms", 0, 0},
	}, nil
}

// feed hands in events as long as not too many runs go on.
func feed(ctx context.Context, s *simagents.Sensor, begun, ended *atomic.Int64) error {
	for ctx.Err() == nil {
		if begun.Load()-ended.Load() > maxBehind {
			if sleep(ctx, 5*time.Millisecond) != nil {
				return nil
			}
			continue
		}
		begun.Add(batch)
		if err := s.Push(ctx, "bench.tick", batch); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}
