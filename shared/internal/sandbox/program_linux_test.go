package sandbox

import (
	"errors"
	"math"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// run makes a process of a program and gives how it ended.
func (p *program) run(t *testing.T) unix.WaitStatus {
	t.Helper()
	pid, err := onForkThread(p.fork)
	if err != nil {
		t.Fatal(err)
	}
	tree := &tree{pid: pid}
	tree.await()
	children.Lock()
	defer children.Unlock()
	delete(children.ours, pid)
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
		t.Fatal(err)
	}
	return status
}

// A launch that hangs is ended by the kernel, and the thread that forks goes on.
func TestAHangingLaunchEnds(t *testing.T) {
	p := newProgram()
	p.deadline(100 * time.Millisecond)
	p.call("hang", unix.SYS_NANOSLEEP, pointer(p, &unix.Timespec{Sec: 60}), none)
	began := time.Now()
	if status := p.run(t); status.Signal() != syscall.SIGALRM || time.Since(began) > 10*time.Second {
		t.Errorf("it ended by %v after %v", status.Signal(), time.Since(began))
	}
}

// The first call that does not come out as it must ends the program, and is known.
func TestJudges(t *testing.T) {
	missing := func(p *program) *op {
		return p.call("open what is missing", unix.SYS_OPENAT, here, p.text("/no/such/file"), none, none)
	}
	for name, c := range map[string]struct {
		build func(p *program)
		label string // of the call that fails; empty: all do what they must
		errno syscall.Errno
	}{
		"must":        {func(p *program) { missing(p) }, "open what is missing", syscall.ENOENT},
		"may":         {func(p *program) { missing(p).judge = may }, "", 0},
		"may, others": {func(p *program) { o := missing(p); o.judge, o.skip = may, 1; missing(p) }, "", 0},
		"failing":     {func(p *program) { o := missing(p); o.judge, o.want = failing, uintptr(syscall.ENOENT) }, "", 0},
		"not failing": {func(p *program) {
			o := p.call("ask", unix.SYS_GETPID)
			o.judge, o.want = failing, uintptr(syscall.ENOENT)
		}, "ask", 0},
		"if there": {func(p *program) { missing(p).judge = ifThere }, "", 0},
		"another error": {func(p *program) {
			p.call("close none", unix.SYS_CLOSE, num(math.MaxInt32)).judge = ifThere
		}, "close none", syscall.EBADF},
		"equals": {func(p *program) { o := p.call("ask", unix.SYS_UMASK, num(0o123)); o.judge, o.want = equals, 0o777 }, "ask", 0},
		"results": {func(p *program) { // a descriptor that one call gives another
			fd := p.keep(p.call("open", unix.SYS_OPENAT, here, p.text("/"), num(unix.O_RDONLY), none))
			p.call("close", unix.SYS_CLOSE, result(fd))
			p.call("close again", unix.SYS_CLOSE, result(fd))
		}, "close again", syscall.EBADF},
	} {
		p := newProgram()
		c.build(p)
		p.call("end", unix.SYS_EXIT_GROUP, num(7))
		status := p.run(t)
		switch {
		case c.label == "" && (status.ExitStatus() != 7 || p.failed >= 0):
			t.Errorf("%s: %v, exit status %d", name, p.err(), status.ExitStatus())
		case c.label != "" && (p.failed < 0 || p.ops[p.failed].label != c.label || !errors.Is(p.errno, c.errno)):
			t.Errorf("%s: %v; want %s: %v", name, p.err(), c.label, c.errno)
		}
	}
}
