package broker

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Rules say what the processes under one filter may do.
type Rules struct {
	// Sockets are the paths of those that the process may connect to. One may be absent
	// when Serve starts and be made anew meanwhile; its directory may not.
	Sockets []string

	// Below are directories (absolute, free of symlinks) in which sockets are the
	// process's own, to bind and to connect to: its Temp and Home.
	Below []string

	// Dial says whether a connection to an address is allowed; nil: none. It must not
	// wait. Nothing else holds destinations: the agent connects, outside of the process's
	// Landlock rules. IPv4 in IPv6 comes as IPv4, and the unspecified address, which
	// connects to this host, as its loopback address.
	Dial func(netip.AddrPort) bool

	// Listen says whether a socket may be bound to an address; nil: none. It must not
	// wait. Port 0 is one that the kernel chooses; the unspecified address comes as it is.
	Listen func(netip.AddrPort) bool

	// Own says whether a process belongs to those under this filter, so that they may
	// signal it; nil: only the caller itself.
	Own func(pid int) bool

	// Report is told every decision, if not nil. It must not wait, and may be called
	// concurrently.
	Report func(Event)
}

// Event is one decision.
type Event struct {
	Call    string // connect, bind, listen or kill
	Target  string // path, @abstract name, address and port, or process
	PID     int    // the calling thread
	Allowed bool
	Errno   unix.Errno // what the call returned; 0 is success
}

// maxWaiting bounds connects of one listener that wait for their peer. When all are
// taken, further calls of the same plugin wait.
const maxWaiting = 16

// A kernel is what of the way to answer depends on it.
type kernel struct {
	exchange      bool // sockets are exchanged, not borrowed: see socket_linux.go
	interruptible bool // any signal ends a call that is being answered
	joined        bool // threads share their directory: unshare is not to be tried
}

type server struct {
	*listener
	rules Rules
	kernel
	places  []place
	ruleset int // of Landlock, for threads that bind to paths; -1
	waiting chan struct{}
	workers sync.WaitGroup
	given   inodes
}

// Serve answers the calls that the filter of listener sends, until all processes
// under it are gone (nil) or ctx ends (its error). It takes the listener over; calls
// that come after Serve returned fail with ENOSYS.
func Serve(ctx context.Context, listener *os.File, rules Rules) error {
	return serve(ctx, listener, rules, kernel{exchange: !canBorrow(), interruptible: FilterFlags()&waitKillable == 0})
}

func serve(ctx context.Context, f *os.File, rules Rules, k kernel) error {
	l, err := adopt(f)
	if err != nil {
		return err
	}
	defer l.file.Close()
	places, err := openPlaces(rules)
	if err != nil {
		return err
	}
	defer closePlaces(places)
	ruleset, err := openRuleset(places)
	if err != nil {
		return err
	}
	defer unix.Close(ruleset)
	s := &server{listener: l, rules: rules, kernel: k, places: places, ruleset: ruleset, waiting: make(chan struct{}, maxWaiting)}
	ctx, cancel := context.WithCancel(ctx)
	defer s.workers.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, l.interrupt)()
	for {
		n, err := l.receive()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, errGone):
			return nil
		case err != nil:
			return fmt.Errorf("answer system calls: %w", err)
		case n.id != 0:
			s.handle(ctx, n)
		}
	}
}

// handle decides one call and starts it. What has to wait does so beside.
func (s *server) handle(ctx context.Context, n notification) {
	switch n.nr {
	case unix.SYS_CONNECT:
		s.connect(ctx, n)
	case unix.SYS_BIND:
		s.bind(n)
	case unix.SYS_LISTEN:
		s.listen(n)
	case unix.SYS_KILL, unix.SYS_TKILL, unix.SYS_TGKILL:
		s.signal(n)
	default: // a filter that this package does not belong to
		_ = s.answer(n, unix.ENOSYS)
	}
}

// finish answers the call and reports it.
func (s *server) finish(n notification, e Event) {
	e.PID = int(n.pid)
	_ = s.answer(n, e.Errno) // a caller that is gone needs no answer
	if s.rules.Report != nil {
		s.rules.Report(e)
	}
}
