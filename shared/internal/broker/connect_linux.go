package broker

import (
	"context"
	"errors"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An attempt is one connect(2) or bind(2) under way.
type attempt struct {
	socket
	n       notification
	event   Event
	address []byte // the caller's, then what we connect to
	pinned  int    // the unix socket that address names by /proc/self/fd; -1
}

// connect answers a connect(2): at once, or when the peer does, beside.
func (s *server) connect(ctx context.Context, n notification) {
	a, err := s.begin(n, "connect")
	if err == nil {
		err = s.decide(a)
	}
	if err != nil {
		s.end(a, err)
		return
	}
	if !s.valid(n) { // what was looked at may have been another's
		a.close()
		return
	}
	err = a.try()
	if a.nonblock || !waits(err) {
		s.end(a, err)
		return
	}
	select {
	case s.waiting <- struct{}{}:
	case <-ctx.Done():
		a.close()
		return
	}
	s.workers.Go(func() {
		defer func() { <-s.waiting }()
		s.end(a, s.wait(ctx, a, err))
	})
}

// begin copies the address and takes the socket. An answer that was lost is given
// again: where a signal can take one, the kernel does not say so, and the call just
// comes again.
func (s *server) begin(n notification, call string) (*attempt, error) {
	a := &attempt{n: n, pinned: -1, event: Event{Call: call}, socket: none}
	length := int32(n.args[2])
	if n.pid == 0 {
		return a, unix.EACCES // in a process namespace that is not below ours
	}
	if length < 0 || length > maxAddress {
		return a, unix.EINVAL
	}
	var err error
	if a.address, err = memory(n.pid, n.args[1], int(length)); err != nil {
		return a, err
	}
	if a.socket, err = s.take(n); err != nil {
		return a, err
	}
	if before, ok := s.given.find(a.inode); ok && s.interruptible && before == callOf(n) {
		a.event.Allowed = true
		return a, errDone
	}
	return a, nil
}

// errDone ends an attempt that has succeeded before.
var errDone = errors.New("done before")

// decide says whether and to what the socket is connected. Nothing has happened yet
// when it returns.
func (s *server) decide(a *attempt) error {
	if err := s.settled(a); err != nil {
		return err
	}
	switch a.domain {
	case unix.AF_UNIX:
		return s.decideUnix(a)
	case unix.AF_INET, unix.AF_INET6:
		return s.decideInet(a)
	}
	return unix.EACCES
}

// settled answers for sockets that were connected for the caller before.
func (s *server) settled(a *attempt) error {
	_, ok := s.given.find(a.inode)
	switch {
	case a.connected:
		return unix.EISCONN
	case ok && a.exchanged && a.domain != unix.AF_UNIX:
		switch tcpState(a.n.pid, a.inode) {
		case "", "07": // closed: it may be tried again
		case "02":
			return unix.EALREADY
		default:
			return unix.EISCONN
		}
	}
	return nil
}

func (s *server) decideUnix(a *attempt) (err error) {
	if family(a.address) != unix.AF_UNIX {
		return unix.EINVAL
	}
	path, abstract, errno := unixPath(a.address)
	if errno != 0 {
		return errno
	}
	a.event.Target = path
	if abstract {
		return unix.EACCES
	}
	if a.pinned, err = s.find(a.n, path); err != nil {
		return err
	}
	a.event.Allowed = true
	a.address = unixAddress("/proc/self/fd/" + strconv.Itoa(a.pinned))
	return nil
}

func (s *server) decideInet(a *attempt) error {
	if len(a.address) < familyBytes {
		return unix.EINVAL
	}
	if family(a.address) == unix.AF_UNSPEC {
		a.event.Target, a.event.Allowed = "nothing", true // ends a connection
		return nil
	}
	to, errno := inetAddress(a.address)
	if errno != 0 {
		return errno
	}
	to = reached(to)
	a.event.Target = to.String()
	if s.rules.Dial == nil || !s.rules.Dial(to) {
		return unix.EACCES
	}
	a.event.Allowed = true
	return nil
}

// try connects without waiting. A blocking socket of the caller's is non-blocking for
// that moment, so that we never hang in a call that nothing could end.
func (a *attempt) try() error {
	if !a.nonblock && !a.exchanged {
		flags, err := unix.FcntlInt(uintptr(a.fd), unix.F_GETFL, 0)
		if err != nil {
			return err
		}
		if _, err := unix.FcntlInt(uintptr(a.fd), unix.F_SETFL, flags|unix.O_NONBLOCK); err != nil {
			return err
		}
		defer unix.FcntlInt(uintptr(a.fd), unix.F_SETFL, flags)
	}
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(a.fd), uintptr(unsafe.Pointer(&a.address[0])), uintptr(len(a.address)))
	if errno != 0 {
		return errno
	}
	return nil
}

// waits: the peer has not answered (TCP), or has no room for another (unix).
func waits(err error) bool {
	return err == unix.EINPROGRESS || err == unix.EALREADY || err == unix.EAGAIN
}

// slice is how long a wait goes on before it looks whether anybody still waits for
// it, and how often a unix socket whose backlog is full is tried again.
const slice = 20 * time.Millisecond

func (s *server) wait(ctx context.Context, a *attempt, err error) error {
	deadline := time.Now().Add(a.patience())
	for waits(err) {
		switch {
		case ctx.Err() != nil || !s.valid(a.n):
			return unix.EINTR // nobody hears it; what is under way goes on, as POSIX says
		case time.Now().After(deadline):
			return err
		case err == unix.EAGAIN:
			time.Sleep(slice)
			err = a.try()
		default:
			err = a.outcome(err)
		}
	}
	return err
}

// forever is longer than the kernel tries to connect.
const forever = time.Hour

// patience is the time that the caller gave the socket (SO_SNDTIMEO).
func (a *attempt) patience() time.Duration {
	tv, err := unix.GetsockoptTimeval(a.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO)
	if d := time.Duration(tv.Nano()); err == nil && d > 0 {
		return d
	}
	return forever
}

// outcome waits a slice for a connection under way; pending if it still is. What
// became of it the kernel says to the next connect, which also puts the socket into
// the state that a connect that had waited leaves.
func (a *attempt) outcome(pending error) error {
	events := []unix.PollFd{{Fd: int32(a.fd), Events: unix.POLLOUT}}
	ready, err := unix.Poll(events, int(slice.Milliseconds()))
	if err != nil || ready == 0 {
		return pending
	}
	return a.try()
}

// end gives the caller its socket, if it was exchanged, and its answer.
func (s *server) end(a *attempt, err error) {
	defer a.close()
	a.event.Errno = errnoOf(err)
	if a.exchanged && (err == nil || err == unix.EINPROGRESS) {
		if s.hand(a) != nil {
			return // gone
		}
	}
	if err == nil {
		s.given.add(known{a.inode, callOf(a.n)})
	}
	s.finish(a.n, a.event)
}

// hand puts our socket in place of the caller's.
func (s *server) hand(a *attempt) error {
	if !a.nonblock {
		if err := unix.SetNonblock(a.fd, false); err != nil {
			return err
		}
	}
	own := socket{fd: a.fd}
	if err := own.describe(); err != nil {
		return err
	}
	a.inode = own.inode
	s.given.add(known{inode: a.inode})
	return s.put(a.n, a.fd, a.number, a.closeOnExec)
}

func (a *attempt) close() {
	for _, fd := range []int{a.fd, a.pinned} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// errnoOf is what the caller gets for an error.
func errnoOf(err error) unix.Errno {
	var errno unix.Errno
	switch {
	case err == nil || err == errDone:
		return 0
	case errors.As(err, &errno):
		return errno
	}
	return unix.EACCES
}

// listen answers a listen(2), which is for unix sockets: a port of the host is not
// the plugin's to open.
func (s *server) listen(n notification) {
	e := Event{Call: "listen", Errno: unix.EACCES}
	if n.pid != 0 && !s.exchange {
		e.Errno = s.listenUnix(n, &e)
	}
	s.finish(n, e)
}

func (s *server) listenUnix(n notification, e *Event) unix.Errno {
	k, err := borrow(n)
	if err != nil {
		return errnoOf(err)
	}
	defer k.close()
	if k.domain != unix.AF_UNIX || !s.valid(n) {
		return unix.EACCES
	}
	e.Allowed = true
	return errnoOf(unix.Listen(k.fd, int(int32(n.args[1]))))
}
