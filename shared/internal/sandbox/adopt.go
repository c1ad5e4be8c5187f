package sandbox

import (
	"context"
	"time"
)

// Tree is a process with all that descends from it, which something else than Start
// brought into being: an execution that a zygote forked.
type Tree interface {
	// Await blocks until the first process ended. It always comes to that after Kill.
	Await()
	// Usage is what the tree takes now: resident bytes and processes.
	Usage() (resident int64, processes int)
	// Terminate asks the tree to end and reports whether it could ask.
	Terminate() bool
	// Kill ends all of the tree, also what outlived its first process; ended is closed
	// when Await has returned. The error is for what does not die.
	Kill(ended <-chan struct{}) error
	// Reap tells how the first process ended: Code, Signal, CPU and MaxRSS.
	Reap() (Exit, error)
}

// Adopt watches over a tree as if Start had started it: limits, grace and the end of
// ctx mean the same, and the Process answers the same.
func Adopt(ctx context.Context, pid int, t Tree, l Limits, grace time.Duration) *Process {
	if grace == 0 {
		grace = DefaultGrace
	}
	return watchOver(ctx, pid, adopted{t}, &Spec{Limits: l, Grace: grace})
}

// adopted makes a family of a Tree.
type adopted struct{ Tree }

func (a adopted) await() { a.Await() }

func (a adopted) usage() usage {
	resident, processes := a.Usage()
	return usage{resident: resident, processes: processes}
}

func (a adopted) terminate() bool { return a.Terminate() }

func (a adopted) kill(ended <-chan struct{}) error { return a.Kill(ended) }

func (a adopted) reap(<-chan struct{}) ending {
	exit, err := a.Reap()
	return ending{exit: exit, err: err}
}
