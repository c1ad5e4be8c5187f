package sqlite

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
)

// look is one call of view.
type look struct {
	fn       func(*session) error
	err      error
	panicked any
	exited   bool          // fn ended its goroutine: it called t.FailNow, say
	done     chan struct{} // closed once the fields above are set
}

// view runs fn on one consistent state, on the goroutine of a connection that is free. Not
// on the caller's: SQLite takes tens of kilobytes of stack, which the thousands of requests
// that look and then wait would keep.
func (s *Store) view(ctx context.Context, fn func(*session) error) error {
	if err := errors.Join(ctx.Err(), s.writer.Refusal()); err != nil {
		return err
	}
	l := &look{fn: fn, done: make(chan struct{})}
	select {
	case s.looks <- l:
	case <-s.writer.Ended():
		return s.writer.Refusal()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	<-l.done
	switch {
	case l.panicked != nil:
		panic(l.panicked)
	case l.exited:
		runtime.Goexit()
	}
	return l.err
}

// read runs looks until the store closes.
func (s *Store) read(r *session) {
	for {
		select {
		case l := <-s.looks:
			s.answer(r, l)
		case <-s.closing:
			s.reading.Done()
			return
		}
	}
}

// answer runs one look. A function that ends the goroutine ends this one, and another goes
// on with the connection; then it does not return.
func (s *Store) answer(r *session, l *look) {
	l.exited = true
	defer func() {
		if v := recover(); v != nil {
			l.panicked = fmt.Sprintf("%v\n\nin a function given to View:\n%s", v, debug.Stack())
		}
		gone := l.exited && l.panicked == nil
		close(l.done)
		if gone {
			go s.read(r)
		}
	}()
	l.err = r.look(l.fn)
	l.exited = false
}

// look runs fn in a transaction that changes nothing.
func (s *session) look(fn func(*session) error) (err error) {
	if err := s.exec(begin); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Rollback()) }()
	return fn(s)
}
