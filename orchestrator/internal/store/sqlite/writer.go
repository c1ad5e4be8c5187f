package sqlite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/stavily/agents/orchestrator/internal/store"
)

// maxGroup bounds how many functions share a commit, and so how long the first of them
// waits for the others: at some 50 µs each, about as long as a slow disk's fsync.
const maxGroup = 256

// writer runs all functions that write, one after the other, in one goroutine.
type writer struct {
	session *session
	jobs    chan *job // not buffered: who waits here can still give up
	stop    func()
	stopped chan struct{} // closed by stop
	ended   chan struct{} // closed when the goroutine has ended
	fatal   atomic.Pointer[error]
}

// job is one call of update.
type job struct {
	gaveUp   func() error // the error of the caller's context
	fn       func(*session) error
	err      error
	panicked any
	answered chan struct{} // closed once err and panicked are set for good
}

func startWriter(s *session) *writer {
	w := &writer{session: s, jobs: make(chan *job), stopped: make(chan struct{}), ended: make(chan struct{})}
	w.stop = sync.OnceFunc(func() { close(w.stopped) })
	go w.run()
	return w
}

// close waits for the group that runs.
func (w *writer) close() {
	w.stop()
	<-w.ended
}

// refusal is why nothing may begin any more, or nil.
func (w *writer) refusal() error {
	if err := w.fatal.Load(); err != nil {
		return *err
	}
	select {
	case <-w.stopped:
		return store.ErrClosed
	default:
		return nil
	}
}

// update runs fn in a transaction and returns when that is durable or undone.
func (w *writer) update(ctx context.Context, fn func(*session) error) error {
	j := &job{gaveUp: ctx.Err, fn: fn, answered: make(chan struct{})}
	select {
	case w.jobs <- j:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-w.ended:
		return w.refusal()
	}
	select {
	case <-j.answered:
	case <-w.ended: // either just after the answer, or without one
		select {
		case <-j.answered:
		default:
			return w.refusal()
		}
	}
	if j.panicked != nil {
		panic(j.panicked)
	}
	return j.err
}

// run commits groups until stop, or until the outcome of one is unknown.
func (w *writer) run() {
	defer func() {
		if w.refusal() == nil { // runtime.Goexit: a function called t.FailNow, say
			w.fatal.Store(&errExited)
		}
		close(w.ended)
	}()
	for w.refusal() == nil {
		select {
		case j := <-w.jobs:
			w.group(j)
		case <-w.stopped:
		}
	}
}

var errExited = errors.New("a function given to Update ended the store's goroutine")

// group runs the first job and those that wait behind it in one transaction.
func (w *writer) group(first *job) {
	var members []*job
	err := w.session.exec(beginImmediate)
	for j := first; j != nil; j = w.waiting(len(members)) {
		members = append(members, j)
		if err == nil {
			err = w.attempt(j)
		}
		if err != nil {
			break
		}
	}
	if err == nil {
		err = w.commit()
	} else {
		err = errors.Join(err, w.session.rollback())
	}
	for _, j := range members {
		if err != nil {
			j.err, j.panicked = err, nil
		}
		close(j.answered)
	}
}

// waiting is the next job if there is one now and the group has room.
func (w *writer) waiting(members int) *job {
	if members >= maxGroup {
		return nil
	}
	select {
	case j := <-w.jobs:
		return j
	default:
		return nil
	}
}

// attempt runs a job in a savepoint. It returns an error only if that costs the others
// their transaction.
func (w *writer) attempt(j *job) error {
	if j.err = j.gaveUp(); j.err != nil {
		return nil
	}
	if err := w.session.exec(savepoint); err != nil {
		return err
	}
	j.call(w.session)
	if w.session.broken != nil {
		j.err, w.session.broken = w.session.broken, nil
	}
	if j.err == nil && j.panicked == nil {
		return w.session.exec(release)
	}
	if w.session.exec(rollbackTo) != nil || w.session.exec(release) != nil {
		return fmt.Errorf("all who shared the transaction lost it: %w", cmp.Or(j.err, w.session.broken))
	}
	return nil
}

// call runs the function. Its panic is the caller's, with the stack of here.
func (j *job) call(s *session) {
	defer func() {
		if v := recover(); v != nil {
			j.panicked = fmt.Sprintf("%v\n\nin a function given to Update:\n%s", v, debug.Stack())
		}
	}()
	j.err = j.fn(s)
}

// commit makes the group durable. After a failure for want of space SQLite has rolled
// back; after any other it cannot be known what a restart would find.
func (w *writer) commit() error {
	err := w.session.exec(commit)
	if err == nil {
		return nil
	}
	undone := w.session.rollback()
	if errors.Is(err, store.ErrFull) && undone == nil {
		return err
	}
	err = fmt.Errorf("%w: %w", store.ErrUnknownOutcome, errors.Join(err, undone))
	w.fatal.Store(&err)
	return err
}
