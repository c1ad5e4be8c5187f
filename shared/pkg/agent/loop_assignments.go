package agent

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// followAssignments keeps what is installed as the orchestrator wants it: it waits for
// changes of the assigned set, takes them, and looks at everything again every
// plugins.update_interval. What did not arrive is tried again with growing pauses.
//
// An orchestrator that is older than this agent does not serve the call; then nothing
// is assigned, and nothing is removed.
func (rt *Runtime) followAssignments(ctx context.Context) error {
	away, again := rt.Backoff(), rt.Backoff()
	known, due := "", time.Now().Add(rt.Config().Plugins.UpdateInterval.Duration())
	for ctx.Err() == nil {
		cfg := rt.Config()
		every, poll := cfg.Plugins.UpdateInterval.Duration(), cfg.PollWait()
		patience := every + poll + 3*cfg.API.Timeout.Duration()
		if soonest := time.Now().Add(every); due.After(soonest) { // the interval was made shorter
			due = soonest
		}
		rt.Health.Beat("assignments", patience)
		set, changed, err := rt.awaitAssignments(ctx, known, min(poll, max(time.Until(due), 0)))
		if err != nil {
			rt.waitForAssignments(ctx, err, away, every)
			continue
		}
		rt.noteContact(nil)
		away.Reset()
		if changed {
			if err := rt.followMonitors(ctx, set.MonitorsVersion); err != nil {
				rt.waitForAssignments(ctx, err, away, every)
				continue // the set is told again
			}
			known = set.Version
			rt.assigned.take(set)
		}
		if known == "" || !changed && time.Now().Before(due) {
			pause(ctx, briefly) // a server that does not hold the call
			continue
		}
		due = time.Now().Add(every)
		if rt.assigned.follow(ctx) {
			due = time.Now().Add(min(every, again.Next(0)))
		} else {
			again.Reset()
		}
	}
	return nil
}

// briefly keeps the loop from asking all the time, whatever the server does.
const briefly = time.Second

func (rt *Runtime) waitForAssignments(ctx context.Context, err error, away *api.Backoff, every time.Duration) {
	var stranger *api.UnreachableError
	if errors.Is(err, api.ErrNotServed) || errors.As(err, &stranger) && stranger.HTTPStatus == http.StatusNotFound {
		pause(ctx, every) // another implementation may say it in its own words
		return
	}
	rt.noteContact(err)
	pause(ctx, max(briefly, away.Next(api.RetryAfter(err))))
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
