package warm

import (
	"bytes"
	"errors"
	"fmt"
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

// One that has died is asked nothing, also where its zygote has not told yet.
func TestAnExecutionThatDiedBeforeItsCommand(t *testing.T) {
	l := newLab(t, handler)
	l.warmUp()
	zygote := l.pid()
	killed := func() error {
		if err := syscall.Kill(zygote, syscall.SIGSTOP); err != nil {
			return err
		}
		execution := l.pool.Executions()[0]
		if err := syscall.Kill(execution, syscall.SIGKILL); err != nil {
			return err
		}
		l.eventually("it is dead", func() bool {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", execution))
			return err == nil && bytes.Contains(stat, []byte(") Z "))
		})
		time.AfterFunc(200*time.Millisecond, func() { syscall.Kill(zygote, syscall.SIGCONT) })
		return nil
	}
	if got, err := l.warm(t.Context(), run{ready: killed}); !errors.Is(err, supervise.ErrUnasked) {
		t.Errorf("%+v, %v", got, err)
	}
	l.want(script("", "1"), "1")
}

// What stands by takes no part in limits, and nothing is left of it where nobody needs it.
func TestExecutionsThatStandBy(t *testing.T) {
	l := newLab(t, handler)
	l.warmUp()
	seat := l.pool.Seat(&l.plan)
	defer seat.Free()
	given, err := os.MkdirTemp(seat.Given(), "e")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(given)
	running := func() int {
		seat.zygote.mu.Lock()
		defer seat.zygote.mu.Unlock()
		return seat.zygote.running()
	}
	var all [3]*supervise.Standby
	for i := range all {
		if all[i], err = seat.Stand(l.plan.Spec, given); err != nil {
			t.Fatal(err)
		}
	}
	l.pool.Drop(l.plan.Plugin, "") // its zygote goes when the seat is free
	if n := len(l.pool.Executions()); n != len(all) {
		t.Errorf("%d are known, want %d", n, len(all))
	}
	a := script("time.sleep(0.1)", "1").action(l, seat.Temp())
	a.Standby, a.Ready = all[1], func() error {
		if n := running(); n != 1 {
			t.Errorf("%d run, want only the one that was taken", n)
		}
		return nil
	}
	if a.Environment, err = seat.Environment(a.Spec.Env); err != nil || running() != 0 {
		t.Fatalf("%v; %d run", err, running())
	}
	if got, err := supervise.RunAction(t.Context(), a); err != nil || string(got.Data) != "1" {
		t.Errorf("%+v, %v", got, err)
	}
	if !all[0].Waits() || all[1].Waits() || running() != 0 {
		t.Errorf("%v, %v, %d run", all[0].Waits(), all[1].Waits(), running())
	}
	for _, s := range all {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	l.eventually("the zygote has only what it forked ahead", func() bool { return len(sandbox.Family(seat.zygote.session.Pid())) == 2 })
}

type closed struct{ times int }

func (c *closed) Close() error { c.times++; return nil }

// What is kept for a run that does not come is closed, at the latest with the zygote.
func TestWhatIsKeptForARun(t *testing.T) {
	l := newLab(t, handler)
	l.warmUp()
	first, second := &closed{}, &closed{}
	seat := l.pool.Seat(&l.plan)
	if !seat.Wants() || seat.Wants() {
		t.Error("none makes it, or two do")
	}
	seat.Keep(nil)
	if !seat.Wants() {
		t.Error("what could not be made is not made again")
	}
	seat.Keep(first)
	if seat.Wants() {
		t.Error("another is to be made beside the one that is there")
	}
	if got := seat.Kept(); got != first || first.times != 0 || seat.Kept() != nil || !seat.Wants() {
		t.Errorf("took %v, which was closed %d times", got, first.times)
	}
	seat.Keep(second)
	seat.Free()
	l.pool.Drop(l.plan.Plugin, "")
	l.eventually("it is closed", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.gone) == 1
	})
	if second.times != 1 || first.times != 0 || seat.Wants() {
		t.Errorf("closed %d times, and %d times what was taken; or one is wanted of a zygote that goes", second.times, first.times)
	}
}
