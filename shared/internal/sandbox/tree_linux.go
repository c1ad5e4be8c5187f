package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/internal/limits"
)

// tree is a plugin's first process and all that descends from it. The process
// stays a zombie until reap, so that its id, its group's and its session's cannot
// be reused while they are signalled.
type tree struct {
	pid        int
	namespaced bool // pid is the first process of a process-id namespace
	samples    int  // calls of usage; only the process's owner counts
	census     census

	servers sync.WaitGroup // what serves the tree's descriptors
	closers []func()       // end them
}

// serve runs f, which uses c, until the tree has ended.
func (t *tree) serve(c io.Closer, f func()) {
	t.closers = append(t.closers, func() { _ = c.Close() }) // f hears of it
	t.servers.Go(f)
}

// endServers waits for what served the tree.
func (t *tree) endServers() {
	for _, end := range t.closers {
		end()
	}
	t.servers.Wait()
}

// await blocks until the first process ended.
func (t *tree) await() {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, t.pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// terminate asks the process group to end and reports that it could ask. The first
// process of a namespace is not ended by a signal that it does not handle
// (pid_namespaces(7)): such a one would not hear of it, and is killed at once, as it
// would have been anywhere else.
func (t *tree) terminate() bool {
	unix.Kill(-t.pid, unix.SIGTERM)
	return !t.namespaced || heeds(t.pid, unix.SIGTERM)
}

// heeds reports whether a process handles or ignores a signal (proc_pid_status(5)).
func heeds(pid int, signal unix.Signal) bool {
	b, err := limits.ReadFile("/proc/"+strconv.Itoa(pid)+"/status", maxProcFile)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		if name != "SigCgt" && name != "SigIgn" {
			continue
		}
		set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err == nil && set&(1<<(signal-1)) != 0 {
			return true
		}
	}
	return false
}

// killPause lets killed processes die before the next look.
const killPause = 2 * time.Millisecond

// kill ends the process group, and then what of the tree is not in it: with its
// first process dead, that falls to us.
func (t *tree) kill(ended <-chan struct{}) error {
	unix.Kill(-t.pid, unix.SIGKILL)
	select {
	case <-ended:
	case <-time.After(deathLimit):
		return fmt.Errorf("process %d does not die: it hangs in the kernel", t.pid)
	}
	t.endServers()
	if t.namespaced {
		return nil // with its first process the kernel ended all, before we heard of it
	}
	return sweepStrays(time.Now().Add(deathLimit))
}

// reap takes the exit status, which frees the process id. Of a process that does not die it is
// taken when that is over, and nobody is told.
func (t *tree) reap(ended <-chan struct{}) ending {
	select {
	case <-ended:
		return t.bury()
	default:
		go func() { // ends with the process, for which await waits already
			<-ended
			t.bury()
		}()
		return ending{exit: Exit{Code: -1}}
	}
}

func (t *tree) bury() ending {
	var status unix.WaitStatus
	var ru unix.Rusage
	children.Lock()
	_, err := unix.Wait4(t.pid, &status, 0, &ru)
	delete(children.ours, t.pid)
	children.Unlock()
	if err != nil {
		return ending{exit: Exit{Code: -1}, err: fmt.Errorf("wait for process %d: %w", t.pid, err)}
	}
	return ending{exit: exitOf(status, &ru)}
}

// straySamples is how often, in samples, a running process looks for strays: once
// a second. Strays of a running plugin only exist where it gave up being a
// subreaper.
const straySamples = int(time.Second / samplePeriod)

// usage adds up the tree.
func (t *tree) usage() usage {
	if t.samples++; t.samples%straySamples == 0 {
		killStrays()
	}
	return t.census.usage(t.pid)
}

// pids lists the tree.
func (t *tree) pids() []int {
	var c census
	return append(c.below(t.pid), t.pid)
}

// killBelow sends SIGKILL to everything that descends from pid.
func killBelow(pid int) {
	for _, child := range childrenOf(pid) {
		killBelow(child)
		killChild(child, pid)
	}
}

// killChild sends SIGKILL to pid if it is, still, a child of parent. The descriptor
// is taken before the look, so a reused number cannot be hit. Whoever is missed,
// because its parent died meanwhile, is found at the next look.
func killChild(pid, parent int) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err == nil {
		defer unix.Close(fd)
	}
	s, ok := statOf(pid)
	switch {
	case !ok || s.parent != parent:
	case err == nil:
		unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	case errors.Is(err, unix.ENOSYS): // Linux < 5.3 has no descriptors of processes
		unix.Kill(pid, unix.SIGKILL)
	}
}

// sweepStrays ends what ended plugins left behind and fell to this process.
func sweepStrays(deadline time.Time) error {
	for {
		left := killStrays()
		if left == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes that a plugin left behind do not die: they hang in the kernel", left)
		}
		time.Sleep(killPause)
	}
}

// killStrays kills every child of this process that it did not start and that is
// in another session, with its descendants, reaps those that are dead, and reports
// how many it found. Only a look that finds none is the last: who dies leaves its
// children to us.
func killStrays() int {
	me := os.Getpid()
	children.Lock()
	defer children.Unlock()
	session, err := unix.Getsid(0)
	if err != nil {
		return 0 // cannot fail for the calling process (getsid(2))
	}
	found := 0
	for _, pid := range childrenOf(me) {
		s, ok := statOf(pid)
		if children.ours[pid] || !ok || s.parent != me || s.session == session {
			continue
		}
		found++
		killBelow(pid)
		killChild(pid, me)
		_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil) // if it is not dead yet, next time
	}
	return found
}

// stat is the part of proc_pid_stat(5) that is needed here.
type stat struct {
	state           byte
	parent, session int
}

func statOf(pid int) (stat, bool) {
	b, err := limits.ReadFile("/proc/"+strconv.Itoa(pid)+"/stat", maxProcFile)
	if err != nil {
		return stat{}, false
	}
	// The name, in parentheses, may itself hold spaces and parentheses.
	_, rest, ok := strings.Cut(string(b[max(strings.LastIndexByte(string(b), ')'), 0):]), ") ")
	f := strings.Fields(rest)
	if !ok || len(f) < 4 {
		return stat{}, false
	}
	parent, err1 := strconv.Atoi(f[1])
	session, err2 := strconv.Atoi(f[3])
	return stat{f[0][0], parent, session}, err1 == nil && err2 == nil
}
