package simagents

import (
	"context"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stavily/agents/shared/pkg/api"
)

// Persist lives as [Agent.Idle] does, also while the server is away: heartbeats keep their
// interval, and whoever polls pauses as an agent's loops do.
func (a *Agent) Persist(ctx context.Context, r Rhythm) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rand.N(r.Heartbeat)):
		}
		return repeat(ctx, func() error {
			_, err := a.Heartbeat(ctx, a.heartbeat())
			return err
		}, func(error) time.Duration { return r.Heartbeat - rand.N(r.Heartbeat/10) })
	})
	var backoff api.Backoff
	group.Go(func() error {
		return repeat(ctx, func() error { return a.follow(ctx, r.PollWait) }, func(err error) time.Duration { return backoff.Next(api.RetryAfter(err)) })
	})
	return group.Wait()
}

// repeat makes a call again after a pause, for as long as its errors may go away.
func repeat(ctx context.Context, call func() error, pause func(error) time.Duration) error {
	for {
		err := call()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !api.Retryable(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause(err)):
		}
	}
}
