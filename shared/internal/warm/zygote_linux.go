package warm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/stavily/agents/shared/internal/egress"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/internal/supervise"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// environmentFD tells the SDK which descriptor is the socket: the first after the
// standard ones.
const (
	environmentFD = "STAVILY_ZYGOTE_FD"
	controlFD     = "3"
)

// zygote is one process that executions are forked from.
type zygote struct {
	dir         string // holds the two below
	temp, given string
	memory      int64 // what the plugin may take: so much, at most, the zygote has itself
	born        time.Time
	group       group
	gate        *egress.Gate      // nil where no listeners are its way to the network
	base        map[string]string // its environment

	session *supervise.Session
	control *control       // to and from the zygote, and greetings
	orders  *orders        // to whichever process was forked ahead
	heard   sync.WaitGroup // the goroutine that listens

	retired chan struct{} // closed when reason is set
	lost    chan struct{} // closed when listening ended: no more is heard of any execution

	looked look // by the latest check; only run uses it

	launch sync.Mutex // held while an execution is made, and while strays are looked for

	mu     sync.Mutex // guards the fields below
	reason Reason     // why it goes
	cause  error      // why it crashed
	used   int        // seats so far
	most   int        // executions in its life
	newest int        // id of an execution
	seats  int        // taken now
	empty  chan struct{}
	since  time.Time // no seat was taken since
	kept   io.Closer // by one seat for another
	making bool      // what is to be kept
	live   map[int]*execution
}

// dueFrom is the part of its life, in per cent, after which a zygote that is used gets a
// successor: raising one takes as long as some cold runs, and until it is there its
// predecessor goes on.
const dueFrom = 90

// due is why it has to have a successor, if it has to: it goes, or will soon. After a crash
// there is none before a pause.
func (z *zygote) due(o *Options) Reason {
	z.mu.Lock()
	defer z.mu.Unlock()
	switch {
	case z.cause != nil:
		return ""
	case z.reason != "":
		return z.reason
	case z.used*100 > z.most*dueFrom:
		return Spent
	case time.Since(z.born) > o.Age/100*dueFrom:
		return Aged
	}
	return ""
}

// seat takes a seat, or gives nil where there is none.
func (z *zygote) seat() *Seat {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.reason != "" || z.seats >= maxSeats {
		return nil
	}
	z.seats++
	z.used++
	if z.used >= z.most {
		z.retireLocked(Spent, nil)
	}
	return &Seat{z}
}

// wants reports whether there is to be something to keep.
func (z *zygote) wants() bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.reason != "" || z.kept != nil || z.making {
		return false
	}
	z.making = true
	return true
}

// keep keeps what was made.
func (z *zygote) keep(c io.Closer) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.kept, z.making = c, false
}

// takeKept takes it.
func (z *zygote) takeKept() (c io.Closer) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.kept, c = nil, z.kept
	return c
}

func (z *zygote) free() {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.seats--
	z.since = time.Now()
	if z.seats == 0 && z.reason != "" {
		close(z.empty)
	}
}

// retire says that the zygote has to go; the first reason counts, but a crash is one
// whatever was before.
func (z *zygote) retire(reason Reason, cause error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.retireLocked(reason, cause)
}

func (z *zygote) retireLocked(reason Reason, cause error) {
	if z.cause == nil {
		z.cause = cause
	}
	if z.reason != "" {
		return
	}
	z.reason = reason
	close(z.retired)
	if z.seats == 0 {
		close(z.empty)
	}
}

// why is how the zygote went, for who lost an execution with it.
func (z *zygote) why() error {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.cause != nil {
		return z.cause
	}
	return errors.New("it ended")
}

// checkPeriod is between two looks at an idle zygote, which has nothing to do.
const checkPeriod = 5 * time.Second

// run is the time in which seats are given: until there is a reason to go, and then
// until the last seat is free.
func (z *zygote) run(ctx context.Context, o *Options) (Reason, error) {
	stop := context.AfterFunc(ctx, func() { z.retire(Stopping, nil) })
	defer stop()
	z.wait(o)
	z.mu.Lock()
	broken := z.cause != nil
	z.mu.Unlock()
	if broken {
		z.session.Close(0) // with all that it forked
	}
	select {
	case <-z.empty:
	case <-z.lost:
		z.session.Close(0)
		<-z.empty
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.cause != nil {
		return Crashed, z.cause
	}
	return z.reason, nil
}

// wait returns when the zygote has to go.
func (z *zygote) wait(o *Options) {
	age := time.NewTimer(o.Age)
	defer age.Stop()
	idle := time.NewTimer(o.Idle)
	defer idle.Stop()
	check := time.NewTicker(checkPeriod)
	defer check.Stop()
	for {
		select {
		case <-z.retired:
			return
		case <-age.C:
			z.retire(Aged, nil)
		case <-idle.C:
			left := z.idleFor(o.Idle)
			if left <= 0 {
				z.retire(Idle, nil)
				return
			}
			idle.Reset(left)
		case <-check.C:
			if err := z.check(); err != nil {
				z.retire(Crashed, err)
			}
		}
	}
}

// idleFor is how long it may still be idle.
func (z *zygote) idleFor(limit time.Duration) time.Duration {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.seats > 0 {
		return limit
	}
	return limit - time.Since(z.since)
}

// close ends what is left and removes its directories.
func (z *zygote) close() {
	if kept := z.takeKept(); kept != nil {
		kept.Close()
	}
	z.session.Close(closeGrace)
	z.control.conn.Close()
	z.orders.socket.Close()
	z.heard.Wait()
	z.group.close()
	removeDir(z.dir)
}

// closeGrace is for a process that has nothing to finish.
const closeGrace = time.Second

// listen hears the zygote until it is gone.
func (z *zygote) listen() {
	defer close(z.lost)
	for {
		s, err := z.control.hear()
		if err == nil {
			err = z.take(s)
		}
		if err != nil {
			z.retire(Crashed, z.crash(err))
			return
		}
	}
}

// crash is why nothing more is heard. Where the process ended, that says more.
func (z *zygote) crash(err error) error {
	select {
	case <-z.session.Done():
		return fmt.Errorf("it %w", z.session.Err())
	case <-time.After(500 * time.Millisecond): // the end of the process is told over another way
		return err
	}
}

// take does what a message asks for. The error says how it broke the protocol.
func (z *zygote) take(s said) error {
	switch {
	case s.Hello != nil:
		return z.greeted(s)
	case s.Ended != nil:
		return z.ended(s)
	case s.Worn != "":
		z.retire(Worn, nil)
		return nil
	}
	return errors.New("it said what is no message")
}

func (z *zygote) greeted(s said) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	x := z.live[*s.Hello]
	if x == nil || x.inside != 0 || s.PID == 0 {
		return fmt.Errorf("it spoke of execution %d, which it was not given", *s.Hello)
	}
	x.inside = s.PID
	x.greeting <- s.from
	return nil
}

func (z *zygote) ended(s said) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	for id, x := range z.live {
		if x.inside != 0 && x.inside == *s.Ended {
			delete(z.live, id)
			x.last = s
			close(x.over)
			return nil
		}
	}
	return fmt.Errorf("it spoke of process %d, which is no execution", *s.Ended)
}

// helloLimit is how long it may take to begin, thousands of times what it does: with it the zygote ends,
// and all that runs in it, and a machine that is short of processors has taken two seconds.
const helloLimit = 10 * time.Second

// start makes an execution of a process that was forked ahead. It stands by.
func (z *zygote) start(spec sandbox.Spec, given string) (*supervise.Standby, error) {
	z.launch.Lock()
	defer z.launch.Unlock()
	x := z.enter()
	o := order{start: &start{ID: x.id, Given: given, Limits: limitsOf(spec)}}
	by, err := supervise.NewStandby(func(stdin, stdout, stderr *os.File) (*sandbox.Process, error) {
		err := z.orders.tell(o, stdin, stdout, stderr)
		if err == nil {
			err = x.greet()
		}
		if err != nil {
			z.retire(Crashed, err) // the order may still be taken: with the zygote it is gone
			return nil, err
		}
		spec.Temp = fmt.Sprintf("/proc/%d/root%s/%d", z.session.Pid(), z.temp, x.inside) // as the zygote sees it
		return sandbox.Adopt(x.process, x, spec), nil
	})
	if err != nil {
		z.mu.Lock()
		delete(z.live, x.id)
		z.mu.Unlock()
		return nil, fmt.Errorf("%w: %w", ErrCold, err)
	}
	return by, nil
}

// enter makes an execution to be.
func (z *zygote) enter() *execution {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.newest++
	x := &execution{zygote: z, id: z.newest, greeting: make(chan int, 1), over: make(chan struct{})}
	z.live[x.id] = x
	return x
}

// environment is what tells an execution an environment, by how it differs from the zygote's.
func (z *zygote) environment(env []string) ([]byte, error) {
	e, seen := environment{map[string]string{}, []string{}}, map[string]bool{}
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		seen[name] = true
		if old, had := z.base[name]; !had || old != value {
			e.Set[name] = value
		}
	}
	for name := range z.base {
		if !seen[name] {
			e.Without = append(e.Without, name)
		}
	}
	line, err := json.Marshal(e)
	if err == nil && len(line) >= plugin.MaxLineBytes {
		err = errTooLong
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the environment: %w", ErrCold, err)
	}
	return append(line, '\n'), nil
}

func limitsOf(s sandbox.Spec) []limit {
	out := []limit{}
	for _, r := range s.OfExecution() {
		out = append(out, limit{uint64(r.Resource), r.Soft, r.Hard})
	}
	return out
}

// maxIdleWork is the processor time that a zygote may take between two checks of it
// without an execution: a thousand times what waiting takes.
const maxIdleWork = checkPeriod / 5

// check looks whether an idle zygote only waits.
func (z *zygote) check() error {
	if err := sane(z.session.Pid(), z.memory); err != nil {
		return err
	}
	if err := z.sweep(); err != nil {
		return err
	}
	z.mu.Lock()
	given, running := z.used, z.running()
	z.mu.Unlock()
	before := z.looked
	z.looked = look{given, worked(z.session.Pid())}
	if running == 0 && before.given == given && z.looked.worked-before.worked > maxIdleWork {
		return fmt.Errorf("it worked for %v without a run", z.looked.worked-before.worked)
	}
	return nil
}

// executions are the processes of those there are, with whoever is just taking an order.
func (z *zygote) executions() []int {
	z.launch.Lock()
	defer z.launch.Unlock()
	return z.executionsLocked()
}

// executionsLocked needs launch.
func (z *zygote) executionsLocked() (pids []int) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, x := range z.live {
		pids = append(pids, x.process)
	}
	return pids
}

// running is how many executions do something. It needs mu.
func (z *zygote) running() int {
	n := 0
	for _, x := range z.live {
		if x.begun {
			n++
		}
	}
	return n
}

// look is what a check found.
type look struct {
	given  int // seats so far
	worked time.Duration
}

// maxSpares are forked ahead: one, and one that took an order a moment ago.
const maxSpares = 2

// sweep ends what executions left behind: children of the zygote that are none. What
// is in the zygote's own session, which nobody can join, is forked ahead.
func (z *zygote) sweep() error {
	z.launch.Lock()
	defer z.launch.Unlock()
	known := map[int]bool{}
	for _, pid := range z.executionsLocked() {
		known[pid] = true
	}
	spares, err := sandbox.EndOthers(z.session.Pid(), known)
	if err == nil && spares > maxSpares {
		err = fmt.Errorf("it has %d processes that do nothing", spares)
		z.retire(Crashed, err)
	}
	return err
}

// signal asks the zygote to send a signal to an execution. Whether it did is seen by
// its end.
func (z *zygote) signal(x *execution, number syscall.Signal) {
	if err := z.control.tell(order{send: &send{int(number), x.inside}}); err != nil {
		z.retire(Crashed, err)
	}
}

func removeDir(dir string) {
	if root, err := os.OpenRoot(filepath.Dir(dir)); err == nil {
		defer root.Close()
		_ = root.RemoveAll(filepath.Base(dir)) // what resists is swept at the agent's next start
	}
}
