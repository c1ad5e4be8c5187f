package agent

import (
	"context"
	"sync"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// pollWatch lets polls for instructions tell of other assignments, so that an agent that
// waits has one call open and not two.
type pollWatch struct {
	mu    sync.Mutex // guards the fields below
	known string     // the version that polls name; empty: they name none
	open  int        // polls that name it
	ended time.Time  // when the last of those ended
	news  bool       // one was told of another version

	changed chan struct{} // has room for one signal: something above is another than before
}

func newPollWatch() *pollWatch { return &pollWatch{changed: make(chan struct{}, 1)} }

// name has polls from now on name a version; with none they do not.
func (w *pollWatch) name(version string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.known != version {
		w.known, w.open, w.news, w.ended = version, 0, false, time.Time{}
	}
}

// begin is the version that a poll has to name.
func (w *pollWatch) begin() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.news || w.known == "" {
		return "" // what it would be told is known already
	}
	w.open++
	w.signal()
	return w.known
}

// end takes what a poll that named a version was told.
func (w *pollWatch) end(named, told string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if named == "" || named != w.known {
		return
	}
	w.open--
	w.ended, w.news = time.Now(), w.news || told != "" && told != named
	w.signal()
}

func (w *pollWatch) signal() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// betweenPolls is how long after one poll the next counts as open already.
const betweenPolls = time.Second

// state reports whether there is something to ask for, and whether a poll would tell.
func (w *pollWatch) state() (news, watched bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.news, w.open > 0 || time.Since(w.ended) < betweenPolls
}

// Poll asks for instructions as [api.Client.Poll] does, and hears of other assignments by it.
func (rt *Runtime) Poll(ctx context.Context, wait time.Duration, most int) (api.PollResponse, error) {
	named := rt.polls.begin()
	answer, err := rt.API.PollKnowing(ctx, wait, most, named)
	rt.polls.end(named, answer.AssignmentsVersion)
	return answer, err
}

// awaitAssignments is [api.Client.Assignments] without a call of its own while a poll waits
// for the same: an agent whose slots are all taken does not poll.
func (rt *Runtime) awaitAssignments(ctx context.Context, known string, wait time.Duration) (api.Assignments, bool, error) {
	if known == "" || !rt.assigned.current().ToldByPolls {
		rt.polls.name("")
		return rt.API.Assignments(ctx, known, wait)
	}
	rt.polls.name(known)
	for until := time.Now().Add(wait); ctx.Err() == nil; {
		left := time.Until(until)
		switch news, watched := rt.polls.state(); {
		case news:
			return rt.API.Assignments(ctx, known, 0)
		case left <= 0:
			return api.Assignments{}, false, nil
		case !watched:
			set, changed, err := rt.holdAssignments(ctx, known, left)
			if changed || err == nil || !rt.polled() {
				return set, changed, err
			}
		default:
			rt.awaitPoll(ctx, left)
		}
	}
	return api.Assignments{}, false, ctx.Err()
}

func (rt *Runtime) polled() bool {
	_, watched := rt.polls.state()
	return watched
}

// holdAssignments asks by a call of its own, and gives it up when a poll does the same.
func (rt *Runtime) holdAssignments(ctx context.Context, known string, wait time.Duration) (api.Assignments, bool, error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	defer func() {
		cancel()
		<-ended
	}()
	go func() {
		defer close(ended)
		for {
			select {
			case <-rt.polls.changed:
				if rt.polled() {
					cancel()
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return rt.API.Assignments(ctx, known, wait)
}

// awaitPoll waits until something is new about polls, or would be if none begins.
func (rt *Runtime) awaitPoll(ctx context.Context, most time.Duration) {
	if rt.polls.idle() {
		most = min(most, betweenPolls)
	}
	select {
	case <-rt.polls.changed:
	case <-ctx.Done():
	case <-time.After(most):
	}
}

// idle reports whether no poll is open.
func (w *pollWatch) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open == 0
}
