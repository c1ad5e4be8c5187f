package sandbox

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// What a Tree that lives below another process needs to know of it, from the kernel.

// TreeUsage adds up a process and all that descends from it.
func TreeUsage(pid int) (bytes int64, processes int) {
	u := new(census).usage(pid)
	return u.resident, u.processes
}

// IsChild reports whether pid is a child of parent.
func IsChild(pid, parent int) bool {
	s, ok := statOf(pid)
	return ok && s.parent == parent
}

// EndOthers kills the children of parent that known does not hold, with their
// descendants, again and again until there is none, and parent has reaped them. Those
// in parent's own session are counted, not killed: it forked them itself, since no
// process can join a session.
func EndOthers(parent int, known map[int]bool) (own int, err error) {
	deadline := time.Now().Add(deathLimit)
	for {
		own = 0
		others := slices.DeleteFunc(childrenOf(parent), func(pid int) bool {
			s, ok := statOf(pid)
			mine := !known[pid] && ok && s.session == parent
			if mine {
				own++
			}
			return known[pid] || mine
		})
		if len(others) == 0 {
			return own, nil
		}
		if time.Now().After(deadline) {
			return own, fmt.Errorf("%d processes that a plugin left behind do not die: they hang in the kernel", len(others))
		}
		for _, pid := range others {
			killBelow(pid)
			killChild(pid, parent)
		}
		time.Sleep(killPause)
	}
}

// RLimit is a resource limit of setrlimit(2).
type RLimit struct {
	Resource   int
	Soft, Hard uint64
}

// OfExecution are the resource limits that a process forked from another one of the
// same plugin sets for itself: those that are counted anew, or that the other has more
// of. The rest it inherits.
func (l Limits) OfExecution() []RLimit {
	var out []RLimit
	for _, r := range l.rlimits() {
		if r.Resource == unix.RLIMIT_CPU || r.Resource == unix.RLIMIT_AS {
			out = append(out, RLimit{r.Resource, r.Value.Cur, r.Value.Max})
		}
	}
	return out
}

// Resident is the resident size of one process in bytes, 0 when it is gone.
func Resident(pid int) int64 {
	rss, _ := new(census).resident(pid)
	return rss
}
