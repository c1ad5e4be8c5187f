package sqlstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/stavily/agents/internal/failpoint"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// MaxGroup bounds how many functions share a commit, and so how long the first of them
// waits for the others: at some 50 µs each, about as long as a slow disk's fsync.
const MaxGroup = 256

// Connection is a session with transactions. After Rollback it is as good as new.
type Connection interface {
	Session
	Begin() error
	Savepoint() error
	Release() error
	RollbackTo() error // and Release
	// Commit makes the transaction durable. Of its errors only store.ErrUnknownOutcome leaves
	// open whether it did; after any other nothing was changed.
	Commit() error
	Rollback() error
	// Failure is what broke the function that runs, if something did, and forgets it.
	Failure() error
	// Others reports whether another server wrote since this writer's last commit.
	Others() bool
	// Tell tells the other servers, with the commit.
	Tell([]byte) error
}

// Writer runs all functions that write, one after the other, in one goroutine.
type Writer struct {
	take    func() (Connection, error)
	give    func(Connection)
	jobs    chan *job    // not buffered: who waits here can still give up
	wait    atomic.Int64 // how many do
	shared  bool         // by who ran before in this transaction, and waits for its commit
	stop    func()
	stopped chan struct{} // closed by stop
	ended   chan struct{} // closed when the goroutine has ended
	watch   Watch
	fatal   atomic.Pointer[error]
	undone  map[api.OrgID]bool // whose functions lost their transaction since they last ran, and with it what they may have remembered
	orgs    map[api.OrgID]bool
	numbers map[numbered]int64
	digests map[api.OrgID]string
	recent  *recent
}

// job is one call of update.
type job struct {
	org      api.OrgID
	gaveUp   func() error // the error of the caller's context
	fn       func(c Connection, others bool) error
	err      error
	panicked any
	answered chan struct{} // closed once err and panicked are set for good
}

// StartWriter returns a writer that takes a connection for each group and gives it back.
func StartWriter(take func() (Connection, error), give func(Connection), watch Watch) *Writer {
	w := &Writer{take: take, give: give, watch: watch, undone: map[api.OrgID]bool{}, orgs: map[api.OrgID]bool{}, numbers: map[numbered]int64{}, digests: map[api.OrgID]string{}, recent: newRecent(), jobs: make(chan *job), stopped: make(chan struct{}), ended: make(chan struct{})}
	w.stop = sync.OnceFunc(func() { close(w.stopped) })
	go w.run()
	return w
}

// Close waits for the group that runs.
func (w *Writer) Close() {
	w.stop()
	<-w.ended
}

// Refusal is why nothing may begin any more, or nil.
func (w *Writer) Refusal() error {
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

// Ended is closed when nothing will be run any more.
func (w *Writer) Ended() <-chan struct{} { return w.ended }

// update runs fn in a transaction and returns when that is durable or undone.
func (w *Writer) update(ctx context.Context, org api.OrgID, fn func(c Connection, others bool) error) error {
	j := &job{org: org, gaveUp: ctx.Err, fn: fn, answered: make(chan struct{})}
	w.wait.Add(1)
	select {
	case w.jobs <- j:
	case <-ctx.Done():
		w.wait.Add(-1)
		return context.Cause(ctx)
	case <-w.ended:
		return w.Refusal()
	}
	select {
	case <-j.answered:
	case <-w.ended: // either just after the answer, or without one
		select {
		case <-j.answered:
		default:
			return w.Refusal()
		}
	}
	if j.panicked != nil {
		panic(j.panicked)
	}
	return j.err
}

// run commits groups until stop, or until the outcome of one is unknown.
func (w *Writer) run() {
	defer func() {
		if w.Refusal() == nil { // runtime.Goexit: a function called t.FailNow, say
			w.fatal.Store(&ErrExited)
		}
		close(w.ended)
	}()
	for w.Refusal() == nil {
		select {
		case j := <-w.jobs:
			w.group(w.taken(j))
		case <-w.stopped:
		}
	}
}

// ErrExited is of a writer that nobody can use any more.
var ErrExited = errors.New("a function given to Update ended the store's goroutine")

// group runs the first job and those that wait behind it in one transaction.
func (w *Writer) group(first *job) {
	members, err := w.together(first)
	if err != nil {
		w.forget()
	}
	for _, j := range members {
		if err != nil {
			j.err, j.panicked = err, nil
			w.undone[j.org] = true
		}
		close(j.answered)
	}
}

func (w *Writer) together(first *job) ([]*job, error) {
	c, err := w.take()
	if err != nil {
		return []*job{first}, err
	}
	defer w.give(c)
	return w.transaction(w.watch.connection(c), first)
}

// transaction returns who took part, and the error that is everybody's.
func (w *Writer) transaction(c Connection, first *job) (members []*job, err error) {
	err = c.Begin()
	for j := first; j != nil; j = w.waiting(len(members)) {
		w.shared = len(members) > 0
		members = append(members, j)
		if err == nil {
			err = w.attempt(c, j)
		}
		if err != nil {
			return members, errors.Join(err, c.Rollback())
		}
	}
	if err := failpoint.Hit("commit.before"); err != nil {
		return members, errors.Join(err, c.Rollback())
	}
	err = c.Commit()
	if lie := failpoint.Hit("commit.after"); lie != nil {
		err = fmt.Errorf("%w: %w", store.ErrUnknownOutcome, lie)
	}
	if errors.Is(err, store.ErrUnknownOutcome) {
		w.fatal.Store(&err)
	}
	return members, err
}

// waiting is the next job if there is one now and the group has room.
func (w *Writer) waiting(members int) *job {
	if members >= MaxGroup {
		return nil
	}
	select {
	case j := <-w.jobs:
		return w.taken(j)
	default:
		return nil
	}
}

// taken is j, which waits no longer.
func (w *Writer) taken(j *job) *job {
	w.wait.Add(-1)
	return j
}

// awaited reports whether a job waits for the one that runs, or for what they share to be durable.
func (w *Writer) awaited() bool { return w.shared || w.wait.Load() > 0 }

// attempt runs a job in a savepoint. It returns an error only if that costs the others
// their transaction.
func (w *Writer) attempt(c Connection, j *job) error {
	if j.err = j.gaveUp(); j.err != nil {
		return nil
	}
	if err := c.Savepoint(); err != nil {
		return err
	}
	others := w.undone[j.org] || c.Others()
	delete(w.undone, j.org)
	if others {
		w.forget()
	}
	j.call(c, others)
	if j.err == nil && j.panicked == nil {
		if j.err = failpoint.Hit("savepoint.before"); j.err == nil {
			j.err = c.Release()
		}
	}
	broken := c.Failure()
	if broken != nil {
		j.err = broken
	}
	if j.err == nil && j.panicked == nil {
		return nil
	}
	w.forget()
	if err := c.RollbackTo(); err != nil { // what the job said of itself is nobody else's
		return fmt.Errorf("all who shared the transaction lost it: %w", cmp.Or(broken, err))
	}
	return nil
}

// forget drops what is remembered of rows that may not be there, or be no longer the last.
func (w *Writer) forget() {
	clear(w.orgs)
	clear(w.numbers)
	clear(w.digests)
	w.recent.forget()
}

// call runs the function. Its panic is the caller's, with the stack of here.
func (j *job) call(c Connection, others bool) {
	defer func() {
		if v := recover(); v != nil {
			j.panicked = fmt.Sprintf("%v\n\nin a function given to Update:\n%s", v, debug.Stack())
		}
	}()
	j.err = j.fn(c, others)
}
