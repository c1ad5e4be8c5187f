package sim

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/stavily/agents/orchestrator/simulated"
)

// serverLife is one life of the orchestrator's process.
type serverLife struct {
	*simulated.Server
	w      *world
	number int
	dir    string
	ctx    context.Context
	die    context.CancelFunc
	doom   atomic.Int64 // moments around commits until it dies; 0: it lives
}

// startServer starts the server over what is on its disk.
func (w *world) startServer(dir string, number int) {
	l := &serverLife{w: w, number: number, dir: dir}
	l.ctx, l.die = context.WithCancel(w.enough)
	var err error
	l.Server, err = simulated.Open(w.enough, simulated.Options{Dir: dir, Now: w.clock.now, Lease: lease, Log: w.log, Commit: l.commit})
	if err != nil {
		w.fail("start the server", err)
		return
	}
	findings, err := l.Check(l.ctx)
	w.fail("fsck", err)
	w.broken("HistoryEqualsState", findings...)
	w.mu.Lock()
	w.server = l
	w.mu.Unlock()
	w.note("server %d starts", number)
	w.living.Go(func() {
		err := l.Run(l.ctx)
		if l.ctx.Err() == nil {
			w.fail("the server ended", err)
		}
		<-l.ctx.Done()
		w.fail("close the server", l.Close())
	})
}

// commit is asked around every commit.
func (l *serverLife) commit(at simulated.Moment) bool {
	if l.doom.Load() == 0 || l.doom.Add(-1) > 0 {
		return false
	}
	l.w.note("server %d dies at commit (moment %d)", l.number, at)
	l.leave()
	return true
}

// kill ends the process between two commits.
func (l *serverLife) kill() {
	l.Kill(func() {
		if l.ctx.Err() == nil {
			l.w.note("server %d dies", l.number)
			l.leave()
		}
	})
}

// unnoticed is for how long nobody may have looked at the server's clock: a process that ends within
// it after the clock was set forward has not told the next one.
const unnoticed = 5 * time.Second

// leave takes what is on the disk, ends everything that was open, and has the next life
// begin some time later.
func (l *serverLife) leave() {
	w := l.w
	next := w.copyDir(l.dir)
	w.mu.Lock()
	w.server = nil
	w.mu.Unlock()
	clock := w.clock.offset.Load()
	if w.clock.forwardWithin(unnoticed + time.Second) {
		w.history.strays()
	}
	l.die()
	r := w.draw("server down", l.number)
	down := span(r, time.Millisecond, 10*time.Second)
	if chance(r, 0.2) {
		down = span(r, time.Second, 4*lease)
	}
	w.living.Go(func() {
		time.Sleep(down)
		if w.clock.offset.Load() != clock {
			w.history.strays()
		}
		if w.enough.Err() == nil {
			w.startServer(next, l.number+1)
		}
	})
}

// up is the server that answers now, or nil.
func (w *world) up() *serverLife {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.server
}
