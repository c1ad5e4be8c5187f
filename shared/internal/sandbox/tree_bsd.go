//go:build unix && !linux

package sandbox

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// tree is a plugin's process group. What leaves the group (setsid) is not found
// here; [Posture] says so.
type tree struct {
	pid    int
	status unix.WaitStatus // of await, which must reap here
	usageR unix.Rusage
	err    error
}

// await blocks until the first process ended. x/sys has no waitid for this
// platform, so the process is reaped here; its group's number stays taken while
// any member lives.
func (t *tree) await() {
	for {
		_, err := unix.Wait4(t.pid, &t.status, 0, &t.usageR)
		if !errors.Is(err, unix.EINTR) {
			t.err = err
			return
		}
	}
}

// terminate asks the process group to end and reports that it could ask.
func (t *tree) terminate() bool {
	unix.Kill(-t.pid, unix.SIGTERM)
	return true
}

// killPause lets killed processes die before the next look.
const killPause = 2 * time.Millisecond

// kill ends the process group.
func (t *tree) kill(ended <-chan struct{}) error {
	deadline := time.Now().Add(deathLimit)
	for unix.Kill(-t.pid, unix.SIGKILL) == nil && time.Now().Before(deadline) {
		time.Sleep(killPause)
	}
	select {
	case <-ended:
		return nil
	case <-time.After(time.Until(deadline)):
		return fmt.Errorf("process %d does not die: it hangs in the kernel", t.pid)
	}
}

// reap gives the exit status that await took.
func (t *tree) reap(ended <-chan struct{}) ending {
	select {
	case <-ended:
	default:
		return ending{exit: Exit{Code: -1}}
	}
	children.Lock()
	delete(children.ours, t.pid)
	children.Unlock()
	if t.err != nil {
		return ending{exit: Exit{Code: -1}, err: fmt.Errorf("wait for process %d: %w", t.pid, t.err)}
	}
	return ending{exit: exitOf(t.status, &t.usageR)}
}

// usage knows nothing here: the resident size of another process takes a system
// library that a static program cannot call.
func (t *tree) usage() usage { return usage{} }
