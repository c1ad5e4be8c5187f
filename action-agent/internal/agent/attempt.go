package agent

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stavily/agents/shared/pkg/agent"
	"github.com/stavily/agents/shared/pkg/api"
)

// attempt is one offer that is being prepared, and then runs, beside who asks for the right to.
type attempt struct {
	i        api.Instruction
	received time.Time
	stop     context.CancelFunc // of what is prepared

	examined    chan struct{} // closed once the next three are set
	task        agent.Task
	err, noRoom error // why it is refused here; why there is no memory for it

	claiming chan struct{} // closed when it is on record and about to be claimed

	answer   func(error)   // says whether it may start; the first answer counts
	answered chan struct{} // closed once the refusal is set or, where there is none, the lease
	refusal  error
	lease    atomic.Pointer[lease] // the newest
	missed   error                 // why the right to start was over when it was about to

	over   chan struct{} // closed once the result is set, and nothing is left of it
	result api.Result
}

// lease is how long an attempt is this agent's.
type lease struct {
	asked time.Time     // when the call was made that was answered with it: it began at the earliest then
	lasts time.Duration // 0: as long as nobody says that it is over
}

// leased is the lease of an instruction that answer gives to who asked then.
func leased(i *api.Instruction, answer api.ProgressResponse, asked time.Time) *lease {
	return &lease{asked, time.Duration(cmp.Or(answer.LeaseSeconds, i.LeaseSeconds)) * time.Second}
}

// Why an attempt does not start.
var (
	errNoRight   = errors.New("there is no right to start it")
	errExpired   = errors.New("it expired before it could start")
	errLeaseOver = errors.New("its lease was over before it could start")
)

// prepare begins an attempt: it is examined and waits for memory. While it is claimed all that
// its process needs is made, until only the answer is missing. It starts when that comes.
func (w *worker) prepare(ctx context.Context, i api.Instruction, received time.Time, begun func()) *attempt {
	a := &attempt{i: i, received: received, examined: make(chan struct{}), claiming: make(chan struct{}), answered: make(chan struct{}), over: make(chan struct{})}
	var once sync.Once
	a.answer = func(refusal error) {
		once.Do(func() {
			a.refusal = refusal
			close(a.answered)
		})
	}
	waiting, stop := context.WithCancel(ctx)
	a.stop = stop
	go func() { // ends with the attempt, for which handle waits
		defer close(a.over)
		var release, leave func()
		a.task, release, a.err = w.examine(i)
		defer release()
		if a.err == nil {
			leave, a.noRoom = w.makeRoom(waiting, i, a.task, received)
			defer leave()
		}
		close(a.examined)
		if a.err != nil || a.noRoom != nil || !a.mayPrepare() {
			return
		}
		a.task.Ready = a.mayStart
		a.task.Answered = func(int) { begun() }
		a.result = w.tracedRun(ctx, a)
	}()
	return a
}

// late reports whether nothing can be prepared before the claim was answered.
func (a *attempt) late() bool { return len(a.i.Secrets) > 0 || agent.Installs(a.i.InstructionType) }

// mayPrepare waits until its process may be prepared: earlier that would only slow down the
// disk, which has to have the attempt first.
func (a *attempt) mayPrepare() bool {
	claiming := a.claiming
	if a.late() {
		claiming = nil
	}
	select {
	case <-claiming:
		return true
	case <-a.answered: // or it is not claimed, or was before this goroutine came to look
		return a.refusal == nil
	}
}

// mayStart waits until that is known, and looks at the time once more: since it was given the right
// to start the agent may have stood still, or waited for its disk or for a process. What is not
// leased any more another agent may have been given by now.
func (a *attempt) mayStart() error {
	<-a.answered
	if a.refusal != nil {
		return a.refusal
	}
	a.missed = a.tooLate()
	return a.missed
}

// tooLate is why an attempt that has a lease may not start any more, or nil.
func (a *attempt) tooLate() error {
	switch l := a.lease.Load(); {
	case isOver(&a.i, a.received):
		return errExpired
	case l.lasts > 0 && time.Since(l.asked) >= l.lasts:
		return errLeaseOver
	}
	return nil
}

// missed is the result of what was too late.
func missed(why error) api.Result {
	if errors.Is(why, errExpired) {
		return api.Result{Status: api.Expired, ErrorMessage: why.Error()}
	}
	return notStarted(why.Error())
}

// isOver reports whether an instruction has expired, by this host's monotonic clock.
func isOver(i *api.Instruction, received time.Time) bool {
	return i.ExpiresInSeconds > 0 && time.Since(received) >= time.Duration(i.ExpiresInSeconds)*time.Second
}

// leave ends an attempt that was not given the right to start, and waits for the end of any.
func (a *attempt) leave() {
	a.answer(errNoRight)
	a.stop()
	<-a.over
}
