package sandbox

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// tree is a plugin's process group, and what was seen to descend from its first
// process. There are no subreapers here: who leaves the group (setsid) and loses its
// parent before a watchdog looked is not found; [Posture] says so.
type tree struct {
	pid    int
	start  unix.Timeval    // of that process
	status unix.WaitStatus // of await, which must reap here
	usageR unix.Rusage
	err    error

	seen map[int]unix.Timeval // pid → start of those outside of the group; the owner's
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
	_ = unix.Kill(-t.pid, unix.SIGTERM) // nobody there is no matter
	return true
}

// killPause lets killed processes die before the next look.
const killPause = 2 * time.Millisecond

// kill ends the process group, and what was seen to come from it.
func (t *tree) kill(ended <-chan struct{}) error {
	t.members(0) // while it still has parents
	deadline := time.Now().Add(deathLimit)
	for ; ; time.Sleep(killPause) {
		left := unix.Kill(-t.pid, unix.SIGKILL) == nil
		for _, p := range t.members(0) {
			if p.group != t.pid {
				// Between the look and the signal the number could be reused; the
				// kernel gives numbers in turn, so that takes 99,000 forks.
				left = unix.Kill(p.pid, unix.SIGKILL) == nil || left
			}
		}
		switch {
		case !left:
			return t.endAwait(ended, deadline)
		case time.Now().After(deadline):
			return fmt.Errorf("what process %d started does not die: it hangs in the kernel", t.pid)
		}
	}
}

func (t *tree) endAwait(ended <-chan struct{}, deadline time.Time) error {
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
	forget(t.pid)
	children.Lock()
	delete(children.ours, t.pid)
	children.Unlock()
	if t.err != nil {
		return ending{exit: Exit{Code: -1}, err: fmt.Errorf("wait for process %d: %w", t.pid, t.err)}
	}
	return ending{exit: exitOf(t.status, &t.usageR)}
}

// usage adds up the tree.
func (t *tree) usage() usage {
	var u usage
	for _, p := range t.members(censusAge) {
		u.resident += resident(p.pid)
		u.processes++
	}
	return u
}

// members are the living processes of the tree, as far as they can be known.
func (t *tree) members(age time.Duration) []process {
	all := processes(age)
	known := map[int]bool{}
	for grown := true; grown; {
		grown = false
		for _, p := range all {
			start, seen := t.seen[p.pid]
			ours := p.pid == t.pid && p.start == t.start || seen && p.start == start
			if !known[p.pid] && (ours || known[p.parent] || p.group == t.pid) {
				known[p.pid], grown = true, true
			}
		}
	}
	var out []process
	seen := map[int]unix.Timeval{}
	for _, p := range all {
		if known[p.pid] && !p.zombie {
			out = append(out, p)
			seen[p.pid] = p.start
		}
	}
	t.seen = seen
	return out
}
