package warm

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/shared/internal/sandbox"
)

// execution is one process that a zygote forked; a sandbox.Tree.
type execution struct {
	zygote   *zygote
	id       int
	greeting chan int // who took the order, by the kernel's word
	process  int      // its id, as the agent sees it; set before anybody asks
	inside   int      // its id, as the zygote sees it; the zygote's mu guards the first change
	begun    bool     // it is given something to do; the zygote's mu guards it

	over chan struct{} // closed when last is set
	last said

	killed int  // processes that the kernel had killed for memory before
	forced bool // its end was not confirmed, and the zygote was ended for it; only the owner uses it
}

// greet waits for the greeting. Only the kernel's word counts, of who sent it and whose
// child that is.
func (x *execution) greet() error {
	timer := time.NewTimer(helloLimit)
	defer timer.Stop()
	select {
	case pid := <-x.greeting:
		if !sandbox.IsChild(pid, x.zygote.session.Pid()) {
			return fmt.Errorf("it let process %d take an order, which it did not fork", pid)
		}
		x.process = pid
		return nil
	case <-x.zygote.lost:
		return x.zygote.why()
	case <-timer.C:
		return fmt.Errorf("it began no execution within %v", helloLimit)
	}
}

// Begin implements sandbox.Tree.
func (x *execution) Begin() error {
	z := x.zygote
	z.mu.Lock()
	defer z.mu.Unlock()
	x.begun = true
	x.killed = z.group.OOMKills()
	return z.group.fit(z.running())
}

// Await implements sandbox.Tree.
func (x *execution) Await() {
	select {
	case <-x.over:
	case <-x.zygote.lost:
	}
}

// Terminate implements sandbox.Tree.
func (x *execution) Terminate() bool {
	x.zygote.signal(x, unix.SIGTERM)
	return true
}

// confirmLimit is how long a zygote may take to tell the end of an execution that it
// was told to kill. An innocent one takes a millisecond, but of processors that are busy it may
// have none for seconds, and what others run in it ends with it.
const confirmLimit = 5 * time.Second

// Kill implements sandbox.Tree. Without a word of the zygote it ends the zygote, and so
// everything that came from it.
func (x *execution) Kill(ended <-chan struct{}) error {
	z := x.zygote
	select {
	case <-ended:
	default:
		z.signal(x, unix.SIGKILL)
		select {
		case <-ended:
		case <-time.After(confirmLimit):
			x.forced = true
			z.retire(Crashed, errors.New("it did not end an execution that it was told to kill"))
			_, err := z.session.Close(0)
			return err
		}
	}
	select {
	case <-z.lost:
		_, err := z.session.Close(0)
		return err
	default:
		return z.sweep()
	}
}

// Reap implements sandbox.Tree. That the zygote was lost is an error, not the
// execution's doing.
func (x *execution) Reap() (sandbox.Exit, error) {
	select {
	case <-x.over:
	default:
		if x.forced {
			return sandbox.Exit{Code: -1, Signal: unix.SIGKILL}, nil
		}
		return sandbox.Exit{Code: -1}, fmt.Errorf("%w: %w", ErrLost, x.zygote.why())
	}
	status := unix.WaitStatus(x.last.Status)
	exit := sandbox.Exit{Code: -1, CPU: seconds(x.last.User + x.last.System), MaxRSS: max(0, x.last.MaxRSS) << 10}
	switch {
	case status.Exited():
		exit.Code = status.ExitStatus()
	case status.Signaled():
		exit.Signal = status.Signal()
		switch {
		case exit.Signal == unix.SIGXCPU:
			exit.Reason = sandbox.CPULimit
		case exit.Signal == unix.SIGKILL && x.zygote.group.OOMKills() > x.killed:
			exit.Reason = sandbox.MemoryLimit // the kernel's choice among all of the group: mostly who takes most
		}
	}
	return exit, nil
}

// seconds is a time that the zygote gave, within what can be.
func seconds(s float64) time.Duration {
	const most = 365 * 24 * time.Hour
	if !(s > 0) {
		return 0
	}
	return min(most, time.Duration(min(s, most.Seconds())*float64(time.Second)))
}
