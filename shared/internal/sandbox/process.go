package sandbox

import (
	"context"
	"fmt"
	"time"

	"github.com/stavily/agents/shared/internal/cgroup"
)

const (
	// The watchdog looks every samplePeriod: six processes that allocate at full
	// speed overshoot a limit of 128 MiB by half in that time. It begins with short
	// pauses so that a plugin that lives for 30 ms has a figure too. A look at six
	// processes takes 0.03 ms.
	firstSample  = 5 * time.Millisecond
	samplePeriod = 50 * time.Millisecond
	// Where the kernel holds the limits, looks are for the figures only.
	idlePeriod = 250 * time.Millisecond

	// deathLimit is how long a killed process may take to die. It is only reached
	// in an uninterruptible sleep, for example on a file server that is away.
	deathLimit = 5 * time.Second
)

// Process is one running plugin process with everything that it starts. All
// methods may be called concurrently.
type Process struct {
	pid   int
	kills chan time.Duration // requests to end, each with its grace
	done  chan struct{}      // closed when the fields below are final

	begin  func() error   // of one that was adopted: tells its tree
	begins chan beginning // of one that was adopted; takes one

	exit Exit
	err  error
}

// usage is what a tree takes at one moment.
type usage struct {
	resident  int64
	processes int
}

// ending is what the kernel says of a process that ended.
type ending struct {
	exit Exit // Code, Signal, CPU, MaxRSS
	err  error
}

// Start runs the program and returns once it really executes. It lives no longer
// than ctx. The error says what could not be done and with which path; then
// nothing runs.
func Start(ctx context.Context, s Spec) (*Process, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Path, err)
	}
	if s.Grace == 0 {
		s.Grace = DefaultGrace
	}
	s.Limits.FileSize = s.fileSize()
	t, err := launch(ctx, &s)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Path, err)
	}
	p := newProcess(t.pid)
	go p.own(ctx, t, &s, store(p.pid, t, &s), awaited(t), nil) // what it stores is found only while it runs
	return p, nil
}

// family is what own needs of a tree of processes.
type family interface {
	await()
	usage() usage
	terminate() bool
	kill(ended <-chan struct{}) error
	reap(ended <-chan struct{}) ending
}

func newProcess(pid int) *Process {
	return &Process{pid: pid, kills: make(chan time.Duration), done: make(chan struct{})}
}

// awaited is closed when the first process of a family has ended.
func awaited(f family) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		f.await()
		close(ended)
	}()
	return ended
}

// Pid is the process's id; it may belong to another process after Wait returned.
func (p *Process) Pid() int { return p.pid }

// Done is closed when the process and everything that it started are gone.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait blocks until the process and everything that it started are gone. The
// error is for what could not be ended or watched; how the process ended is Exit.
// Wait may be called many times.
func (p *Process) Wait() (Exit, error) {
	<-p.done
	return p.exit, p.err
}

// Kill ends the process with all that it started and returns when they are gone:
// it asks, waits at most grace, then forces. Of several calls the most impatient
// counts; after the end it does nothing.
func (p *Process) Kill(grace time.Duration) {
	select {
	case p.kills <- grace:
		<-p.done
	case <-p.done:
	}
}

// own is the life of one process: watch, ask, force, reap. Where asked is set, Limits.Time runs
// from when it is closed: until then the process only waits.
func (p *Process) own(ctx context.Context, t family, s *Spec, stored *storage, ended, asked <-chan struct{}) {
	defer close(p.done)
	began := time.Now()
	w := watch{tree: t, limits: s.Limits, asked: asked, group: s.Group, ended: ended, kills: p.kills, over: stored.over()}
	reason, grace := w.run(ctx, s.Grace)
	if reason != "" && grace > 0 && t.terminate() {
		w.wait(grace)
	}
	err := t.kill(ended)
	if s.Group != nil && err == nil {
		err = s.Group.Kill() // what hid from us the kernel finds there
	}
	end := t.reap(ended)
	p.exit, p.err = end.exit, err
	if end.err != nil {
		p.err = end.err
	}
	p.exit.Duration = time.Since(began)
	p.exit.MaxRSS = max(p.exit.MaxRSS, w.peak)
	var u cgroup.Usage
	if s.Group != nil {
		u = s.Group.Usage()
	}
	p.exit.CPU = max(p.exit.CPU, u.CPU)
	var full bool
	p.exit.Stored, full = stored.end()
	p.exit.because(reason, s.Limits, u, full)
	if s.Ended != nil {
		s.Ended(p.exit)
	}
}

// because names what ended the process: what this program ended it for, or else the
// limit of the kernel that it ran into. A process that went on all the same had
// nothing to complain of.
func (e *Exit) because(reason Reason, l Limits, u cgroup.Usage, full bool) {
	switch {
	case reason != "":
		e.Reason = reason
	case e.Success() || e.Reason != "":
	case u.OOMKills > 0:
		e.Reason = MemoryLimit
	case l.CPU > 0 && e.CPU >= l.CPU && e.Code < 0: // a first process does not hear XCPU, and is killed a second later
		e.Reason = CPULimit
	case u.ForksRefused > 0:
		e.Reason = ProcessLimit
	case full:
		e.Reason = TempLimit
	}
}

// watch looks after a running process until there is a reason to end it.
type watch struct {
	tree   family
	limits Limits
	asked  <-chan struct{} // nil: its time runs from its start
	group  *cgroup.Group
	ended  <-chan struct{}
	kills  <-chan time.Duration
	over   <-chan struct{} // closed when it stored too much
	peak   int64           // highest resident size seen
}

// run returns when the process ended ("") or has to be ended, with the grace that
// it is given: none when it takes what others need.
func (w *watch) run(ctx context.Context, grace time.Duration) (Reason, time.Duration) {
	var expired <-chan time.Time
	asked := w.asked
	if w.limits.Time > 0 && asked == nil {
		expired = time.After(w.limits.Time)
	}
	pause, period := firstSample, w.period()
	sample := time.NewTimer(pause)
	defer sample.Stop()
	for {
		select {
		case <-w.ended:
			return "", 0
		case <-ctx.Done():
			return Stopped, grace
		case g := <-w.kills:
			return Stopped, g
		case <-asked:
			asked = nil
			if w.limits.Time > 0 {
				expired = time.After(w.limits.Time)
			}
		case <-expired:
			return TimeLimit, grace
		case <-w.over:
			return TempLimit, 0
		case <-sample.C:
			if reason := w.sample(); reason != "" {
				return reason, 0
			}
			pause = min(2*pause, period)
			sample.Reset(pause)
		}
	}
}

// period is how often to look. In version 1 the kernel ends one process at the memory
// limit, and the others wait for us.
func (w *watch) period() time.Duration {
	if w.group != nil && w.group.Has(cgroup.Memory) && w.group.Has(cgroup.PIDs) && w.group.FD() >= 0 {
		return idlePeriod
	}
	return samplePeriod
}

func (w *watch) sample() Reason {
	u := w.tree.usage()
	w.peak = max(w.peak, u.resident)
	switch {
	case w.group != nil && w.group.OOMKills() > 0: // of the tree; the rest is worth nothing
		return MemoryLimit
	case w.group != nil && w.group.Has(cgroup.Memory): // the kernel counts, and shared pages once
	case w.limits.Memory > 0 && u.resident > w.limits.Memory:
		return MemoryLimit
	}
	if w.limits.Processes > 0 && u.processes > w.limits.Processes {
		return ProcessLimit
	}
	return ""
}

// wait gives the process its grace; a more impatient Kill shortens it.
func (w *watch) wait(grace time.Duration) {
	deadline := time.Now().Add(grace)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	for {
		select {
		case <-w.ended:
			return
		case <-timer.C:
			return
		case g := <-w.kills:
			if sooner := time.Now().Add(g); sooner.Before(deadline) {
				deadline = sooner
				timer.Reset(g)
			}
		}
	}
}
