package sandbox

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Tree is a process with all that descends from it, which something else than Start
// brought into being: an execution that a zygote forked.
type Tree interface {
	// Begin hears that the first process, which only stood by, gets something to do. An error
	// keeps it from that.
	Begin() error
	// Await blocks until the first process ended. It always comes to that after Kill.
	Await()
	// Terminate asks the tree to end and reports whether it could ask.
	Terminate() bool
	// Kill ends all of the tree, also what outlived its first process; ended is closed
	// when Await has returned. The error is for what does not die.
	Kill(ended <-chan struct{}) error
	// Reap tells how the first process ended: Code, Signal, Reason, CPU and MaxRSS.
	Reap() (Exit, error)
}

// Adopt watches over a tree, whose first process is pid and stands by: it only waits until
// Begin, or is killed. From then on limits and grace mean what they do where Start has started
// it, and the Process answers the same. Of the Spec count Limits but for Time, Grace and the
// paths of Temp and Home, by which this process finds them.
func Adopt(pid int, t Tree, s Spec) *Process {
	if s.Grace == 0 {
		s.Grace = DefaultGrace
	}
	p := newProcess(pid)
	p.begin, p.begins = t.Begin, make(chan beginning, 1)
	go p.standBy(&adopted{Tree: t, pid: pid}, &Spec{Limits: s.Limits, Grace: s.Grace, Temp: s.Temp, Home: s.Home})
	return p
}

// adopted makes a family of a Tree.
type adopted struct {
	Tree
	pid    int
	census census
}

func (a *adopted) await()                           { a.Await() }
func (a *adopted) pids() []int                      { return Family(a.pid) }
func (a *adopted) usage() usage                     { return a.census.usage(a.pid) }
func (a *adopted) terminate() bool                  { return a.Terminate() }
func (a *adopted) kill(ended <-chan struct{}) error { return a.Kill(ended) }

func (a *adopted) reap(<-chan struct{}) ending {
	exit, err := a.Reap()
	return ending{exit: exit, err: err}
}

// What a Tree that lives below another process needs to know of it, from the kernel.

// Family lists a process and all that descends from it.
func Family(pid int) []int { return append(new(census).below(pid), pid) }

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
func (s Spec) OfExecution() []RLimit {
	l := s.Limits
	l.FileSize = s.fileSize()
	var out []RLimit
	for _, r := range l.rlimits() {
		switch r.Resource {
		case unix.RLIMIT_CPU, unix.RLIMIT_AS, unix.RLIMIT_FSIZE:
			out = append(out, RLimit{r.Resource, r.Value.Cur, r.Value.Max})
		}
	}
	return out
}

// CPUTime is what one process has had of the processors, 0 when it is gone, from
// proc_pid_stat(5).
func CPUTime(pid int) time.Duration {
	text := new(census).read("/proc/" + strconv.Itoa(pid) + "/stat")
	f := bytes.Fields(text[max(bytes.LastIndexByte(text, ')'), 0):])
	if len(f) < 14 {
		return 0
	}
	user, ok1 := parseInt(f[12]) // the 14th field, with the 2nd as the first here
	system, ok2 := parseInt(f[13])
	if !ok1 || !ok2 {
		return 0
	}
	return time.Duration(user+system) * time.Second / userHZ
}

// userHZ is the unit of times in /proc, the same on every system that Go runs on.
const userHZ = 100

// Resident is the resident size of one process in bytes, 0 when it is gone.
func Resident(pid int) int64 {
	rss, _ := new(census).resident(pid)
	return rss
}
