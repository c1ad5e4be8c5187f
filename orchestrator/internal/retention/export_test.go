package retention

import (
	"context"
	"time"
)

// At makes a sweeper believe that it is a certain time, read few records at a time, and tell
// how long it leaves the store to others.
func (s *Sweeper) At(now func() time.Time, page, file int, wait func(time.Duration)) *Sweeper {
	s.now, s.page, s.file = now, page, file
	s.wait = func(_ context.Context, d time.Duration) { wait(d) }
	return s
}

// Steady is what Run asks of the clock.
func (s *Sweeper) Steady(wall time.Time, passed time.Duration) bool { return s.steady(wall, passed) }
