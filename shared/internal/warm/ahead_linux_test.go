package warm

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/internal/supervise"
	"github.com/stavily/agents/shared/pkg/api"
)

// What waits for its command has not begun: its time is not running.
func TestTheTimeOfARunBeginsWithItsCommand(t *testing.T) {
	l := newLab(t, handler)
	l.warmUp()
	limit := sandbox.Limits{Time: 600 * time.Millisecond}
	waits := func() error { time.Sleep(3 * limit.Time / 2); return nil }
	if got, err := l.warm(t.Context(), run{parameters: "{}", limits: limit, ready: waits}); err != nil || got.Status != api.Completed {
		t.Errorf("one that waited for longer than its limit: %+v, %v", got, err)
	}
	if got, err := l.warm(t.Context(), run{parameters: script("time.sleep(30)", "").parameters, limits: limit, ready: waits}); err != nil || got.Status != api.TimedOut {
		t.Errorf("one that takes longer than its limit: %+v, %v", got, err)
	}
}

// What is lost before it was asked anything may be started again, cold.
func TestARunThatIsLostBeforeItsCommand(t *testing.T) {
	l := newLab(t, handler)
	l.warmUp()
	pid := l.pid()
	killed := func() error {
		err := syscall.Kill(pid, syscall.SIGKILL)
		l.eventually("it is gone", func() bool { return !sandbox.IsChild(pid, os.Getpid()) })
		time.Sleep(300 * time.Millisecond) // and that is known
		return err
	}
	if got, err := l.warm(t.Context(), run{ready: killed}); !errors.Is(err, supervise.ErrUnasked) {
		t.Errorf("%+v, %v", got, err)
	}
}

type closed struct{ times int }

func (c *closed) Close() error { c.times++; return nil }

// What is kept for a run that does not come is closed, at the latest with the zygote.
func TestWhatIsKeptForARun(t *testing.T) {
	l := newLab(t, handler)
	l.warmUp()
	first, second, third := &closed{}, &closed{}, &closed{}
	seat := l.pool.Seat(&l.plan)
	seat.Keep(first)
	seat.Keep(second)
	if got := seat.Kept(); got != second || first.times != 1 || seat.Kept() != nil {
		t.Errorf("took %v, and the one before was closed %d times", got, first.times)
	}
	seat.Keep(third)
	seat.Free()
	l.pool.Drop(l.plan.Plugin, "")
	l.eventually("it is closed", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.gone) == 1
	})
	if third.times != 1 || second.times != 0 {
		t.Errorf("closed %d times, and %d times what was taken", third.times, second.times)
	}
}
