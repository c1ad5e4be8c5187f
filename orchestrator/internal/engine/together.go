package engine

import "time"

const (
	// tick is when long waits end: at whole ones of the clock.
	tick = time.Second

	// longWait is how long a wait has to be for a tick less to make no difference.
	longWait = 30 * tick
)

// together shortens a long wait, by less than a tick, so that it ends with others: for an agent that
// only waits it costs more to wake than to do what is to be done then, and those that are answered
// together call and ping together from then on. The kernel does so with timers that need not be
// exact (round_jiffies(9)).
func together(wait time.Duration) time.Duration {
	if wait < longWait {
		return wait
	}
	now := time.Now()
	return now.Add(wait).Truncate(tick).Sub(now)
}
