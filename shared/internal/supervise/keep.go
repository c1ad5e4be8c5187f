package supervise

import (
	"context"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// Phase is where a supervised plugin stands.
type Phase string

// The phases, in the words of api.MonitorInfo.
const (
	Starting Phase = "starting"
	Running  Phase = "running"
	Waiting  Phase = "backoff"
)

// State is what Keep tells about the plugin that it keeps.
type State struct {
	Phase    Phase
	Reason   string    // of the latest end; empty before the first
	Restarts int       // ends so far
	Until    time.Time // of phase backoff: when the next start is
}

// Policy tunes Keep. The zero value is ready.
type Policy struct {
	Initial time.Duration // ceiling of the first pause; 0: one second
	Max     time.Duration // ceiling of the longest; 0: DefaultMaxPause
	Healthy time.Duration // up for this long, and the next pause is short again; 0: DefaultHealthy
	OnState func(State)   // told of every change, from Keep's goroutine; may be nil
}

const (
	// DefaultMaxPause bounds how long a repaired plugin waits to be noticed.
	DefaultMaxPause = 5 * time.Minute
	// DefaultHealthy is longer than any plugin takes to fail at what it fails at.
	DefaultHealthy = time.Minute
)

// Keep calls run, which starts a plugin and returns when it ended, again and again
// until ctx ends. run calls up once the plugin works, from its own goroutine. The
// pauses between two runs are random below a ceiling that doubles (api.Backoff), so
// that plugins that failed together do not come back together; Keep never gives up,
// since what a plugin lacks may come back at any time.
func Keep(ctx context.Context, p Policy, run func(ctx context.Context, up func()) error) {
	if p.Max == 0 {
		p.Max = DefaultMaxPause
	}
	if p.Healthy == 0 {
		p.Healthy = DefaultHealthy
	}
	backoff := api.Backoff{Initial: p.Initial, Max: p.Max}
	var s State
	tell := func(phase Phase, until time.Time) {
		s.Phase, s.Until = phase, until
		if p.OnState != nil {
			p.OnState(s)
		}
	}
	for ctx.Err() == nil {
		tell(Starting, time.Time{})
		var upSince time.Time
		err := run(ctx, func() {
			upSince = time.Now()
			tell(Running, time.Time{})
		})
		if ctx.Err() != nil {
			return
		}
		if !upSince.IsZero() && time.Since(upSince) >= p.Healthy {
			backoff.Reset()
		}
		s.Restarts++
		s.Reason = "ended"
		if err != nil {
			s.Reason = err.Error()
		}
		pause := backoff.Next(0)
		tell(Waiting, time.Now().Add(pause))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}
