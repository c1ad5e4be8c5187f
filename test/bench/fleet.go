package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/internal/simagents"
	"github.com/stavily/agents/shared/pkg/api"
)

// What a connected agent may cost the server: docs/performance.md.
const (
	mostPerAgent = 60 // kB
	mostIdleCPU  = 10 // per cent of one core
)

// asConfigured is the rhythm of an agent with default settings.
var asConfigured = simagents.Rhythm{Heartbeat: 30 * time.Second, PollWait: 290 * time.Second}

// connected measures what agents that only wait cost the server.
func connected(ctx context.Context, b *bench) ([]Figure, error) {
	specs := make([]simagents.Spec, b.fleet)
	for n := range specs {
		specs[n] = simagents.Spec{ID: api.AgentID(fmt.Sprintf("idle-%d", n)), Type: api.Action, Host: fmt.Sprintf("host-%d", n), Tags: []string{"role:web"}}
	}
	server := b.Process(cluster.ServerName).Pid()
	before, err := memory(server, "smaps_rollup")
	if err != nil {
		return nil, err
	}
	var after map[string]float64
	var cpu float64
	err = b.alive(ctx, specs, asConfigured, func(ctx context.Context) error {
		if err := sleep(ctx, b.settle); err != nil {
			return err
		}
		began := cpuSeconds(server)
		if err := sleep(ctx, b.idle); err != nil {
			return err
		}
		cpu = (cpuSeconds(server) - began) / b.idle.Seconds()
		after, err = memory(server, "smaps_rollup")
		return err
	})
	if err != nil {
		return nil, err
	}
	each := (after["Rss"] - before["Rss"]) * 1000 / float64(len(specs))
	return []Figure{
		{"server RSS without agents", before["Rss"], "MB", 0, 0},
		{fmt.Sprintf("server RSS with %d agents", len(specs)), after["Rss"], "MB", 0, 0},
		{"for each agent", each, "kB", mostPerAgent, 0},
		{"server CPU, of one core", cpu * 100, "%", mostIdleCPU, 0},
	}, nil
}

// simulated is where simulated agents enrol.
func (b *bench) simulated() simagents.Server {
	return simagents.Server{DataDir: b.DataDir(), URL: b.URL()}
}

// alive enrols agents and lets them live while f runs, and reports what failed first.
func (b *bench) alive(ctx context.Context, specs []simagents.Spec, r simagents.Rhythm, f func(context.Context) error) error {
	group, ctx := errgroup.WithContext(ctx)
	ctx, end := context.WithCancel(ctx)
	group.Go(func() error {
		defer end()
		agents, err := simagents.Enrol(ctx, b.simulated(), specs, func(a *simagents.Agent) {
			group.Go(func() error { return a.Idle(ctx, r) })
		})
		if err != nil {
			return err
		}
		defer simagents.Close(agents)
		return f(ctx)
	})
	return group.Wait()
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
