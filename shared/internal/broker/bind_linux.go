package broker

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bind answers a bind(2), which never waits.
//
// A path cannot be bound to by descriptor, as it is connected to: the kernel remembers
// the words of the address, and servers tell their clients what getsockname(2) says.
// So the caller's own words are bound, by a thread of ours that has taken the caller's
// place and that Landlock lets make sockets in Rules.Below only. What the plugin
// renames or links meanwhile may change where the socket is made, never to outside.
func (s *server) bind(n notification) {
	a, err := s.begin(n, "bind")
	c := caller{cwd: -1}
	if err == nil {
		err = s.decideBind(a)
	}
	if err == nil {
		c, err = callerOf(n.pid)
	}
	defer c.close()
	if err == nil && a.domain == unix.AF_UNIX && !s.own(c.absolute(a.event.Target)) {
		err = unix.EACCES
	}
	if !s.valid(n) { // what was looked at may have been another's
		a.close()
		return
	}
	if err == nil {
		err = onThread(func() error { return s.bindAs(a, c) })
		a.event.Allowed = err != unix.EACCES
	}
	s.end(a, err)
}

// decideBind refuses what no path or place makes allowed.
func (s *server) decideBind(a *attempt) error {
	if s.bound(a) {
		return unix.EINVAL
	}
	switch a.domain {
	case unix.AF_UNIX:
		return s.decideName(a)
	case unix.AF_INET, unix.AF_INET6:
		return s.decidePort(a)
	case unix.AF_NETLINK: // the filter lets these be made where they may be used
		return nil
	}
	return unix.EACCES
}

// bound says of a socket that would be exchanged what the kernel says of others: that
// it has an address, which the exchange would take from it.
func (s *server) bound(a *attempt) bool {
	if !a.exchanged {
		return false
	}
	before, ok := s.given.find(a.inode)
	return a.connected || a.named || ok && before.nr == unix.SYS_BIND ||
		a.domain != unix.AF_UNIX && tcpState(a.n.pid, a.inode) != ""
}

// decideName leaves paths to the places. Abstract names, the ones that the kernel
// chooses included, are the host's.
func (s *server) decideName(a *attempt) error {
	if family(a.address) != unix.AF_UNIX {
		return unix.EINVAL
	}
	if len(a.address) == familyBytes {
		a.event.Target = "@"
		return unix.EACCES
	}
	path, abstract, errno := unixPath(a.address)
	if errno != 0 {
		return errno
	}
	a.event.Target = path
	if abstract || s.ruleset < 0 {
		return unix.EACCES
	}
	return nil
}

func (s *server) decidePort(a *attempt) error {
	at, errno := inetAddress(a.address)
	if errno != 0 {
		return errno
	}
	a.event.Target = at.String()
	if s.rules.Listen == nil || !s.rules.Listen(at) {
		return unix.EACCES
	}
	if a.exchanged && a.kind == unix.SOCK_STREAM {
		// Lost with the options of the first socket, and nearly every server sets it.
		return unix.SetsockoptInt(a.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	return nil
}

// bindAs binds in the caller's place: its directory, file mode mask, identity, and no
// capabilities. It leaves its thread unfit for anything else.
func (s *server) bindAs(a *attempt, c caller) error {
	address := a.address
	if a.domain == unix.AF_UNIX {
		// Docker's default profile refuses unshare. There the socket gets the agent's mask.
		if !s.joined && unix.Unshare(unix.CLONE_FS) == nil {
			if err := unix.Fchdir(c.cwd); err != nil {
				return unix.EACCES
			}
			unix.Umask(c.umask)
		} else if address = unixAddress(c.absolute(a.event.Target)); len(address) > maxUnix {
			return unix.ENAMETOOLONG
		}
		if err := restrict(s.ruleset); err != nil {
			return unix.EACCES
		}
	}
	if err := c.become(); err != nil {
		return unix.EACCES
	}
	_, _, errno := unix.Syscall(unix.SYS_BIND, uintptr(a.fd), uintptr(unsafe.Pointer(&address[0])), uintptr(len(address)))
	if errno != 0 {
		return errno
	}
	return nil
}

// onThread runs f on a thread that ends with it.
func onThread(f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // not unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			// The first thread does not end, and is what /proc shows of the agent.
			err := onThread(f)
			runtime.UnlockOSThread()
			result <- err
			return
		}
		result <- f()
	}()
	return <-result
}

// openRuleset makes the Landlock ruleset of threads that bind: sockets may be made in
// the places that are whole directories, and nowhere else. -1 if there are none.
func openRuleset(places []place) (int, error) {
	if !slices.ContainsFunc(places, place.whole) {
		return -1, nil
	}
	handled := uint64(unix.LANDLOCK_ACCESS_FS_MAKE_SOCK)
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&handled)), unsafe.Sizeof(handled), 0)
	if errno == unix.ENOSYS || errno == unix.EOPNOTSUPP {
		return -1, nil // no Landlock: paths are refused
	}
	if errno != 0 {
		return -1, fmt.Errorf("make a Landlock ruleset for sockets: %w", errno)
	}
	for _, p := range places {
		if !p.whole() {
			continue
		}
		rule := unix.LandlockPathBeneathAttr{Allowed_access: handled, Parent_fd: int32(p.fd)}
		_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, fd, unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
		if errno != 0 {
			unix.Close(int(fd))
			return -1, fmt.Errorf("add %s to the Landlock ruleset for sockets: %w", p.path, errno)
		}
	}
	return int(fd), nil
}

// restrict holds the calling thread to a ruleset.
func restrict(ruleset int) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// own reports whether a path is, by its words, in one of the directories that are the
// process's own. Other paths are not even looked up.
func (s *server) own(path string) bool {
	return slices.ContainsFunc(s.places, func(p place) bool {
		_, ok := below(path, p.path)
		return ok && p.whole()
	})
}

// A caller is whose file a socket will be, as the kernel would take it from the
// calling thread.
type caller struct {
	cwd      int // -1 without
	umask    int
	uid, gid int // for files (setfsuid(2))
	groups   []int
}

func callerOf(pid uint32) (c caller, err error) {
	c.cwd = -1
	st, err := statusOf(pid)
	if err != nil {
		return c, unix.EACCES
	}
	if c.umask, err = st.number("Umask", 0, 8); err != nil {
		return c, unix.EACCES
	}
	const inFiles = 3 // after the real, effective and saved one
	c.uid, err = st.number("Uid", inFiles, 10)
	if err == nil {
		c.gid, err = st.number("Gid", inFiles, 10)
	}
	if err == nil {
		c.groups, err = st.numbers("Groups", 10)
	}
	if err == nil {
		c.cwd, err = unix.Open(proc(pid, "cwd"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return c, unix.EACCES
	}
	return c, nil
}

func (c caller) close() {
	if c.cwd >= 0 {
		unix.Close(c.cwd)
	}
}

// absolute is the caller's path from the root; "" if its directory has none.
func (c caller) absolute(path string) string {
	if strings.HasPrefix(path, "/") {
		return path
	}
	cwd, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", c.cwd))
	if err != nil {
		return ""
	}
	return cwd + "/" + path
}

// become takes the caller's identity for the calling thread, and lays down all
// capabilities: what the agent may do, such as bind to low ports, the caller may not.
func (c caller) become() error {
	groups, err := unix.Getgroups()
	if err != nil {
		return err
	}
	if !slices.Equal(groups, c.groups) {
		if err := unix.Setgroups(c.groups); err != nil { // of this thread, unlike package syscall's
			return err
		}
	}
	_ = unix.Setfsgid(c.gid) // says nothing when it fails, so it is asked
	_ = unix.Setfsuid(c.uid)
	const ask = -1
	gid, _ := unix.SetfsgidRetGid(ask)
	uid, _ := unix.SetfsuidRetUid(ask)
	if uid != c.uid || gid != c.gid {
		return unix.EPERM
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var nothing [2]unix.CapUserData // version 3 takes two
	return unix.Capset(&header, &nothing[0])
}
