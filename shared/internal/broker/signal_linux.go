package broker

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/internal/limits"
)

// maxSignal is the highest signal number of Linux.
const maxSignal = 64

// signal answers kill, tkill and tgkill.
//
// A signal of a process to itself is the only call that the kernel continues: its
// arguments are registers, which nobody can change, and the number of a process that
// waits in a call cannot become another's. So raise and abort take effect before they
// return, as they must.
func (s *server) signal(n notification) {
	e := Event{Call: "kill", Target: strconv.Itoa(int(int32(n.args[0])))}
	self, err := group(n.pid)
	if err != nil || !s.valid(n) {
		e.Errno = unix.EPERM // heard only by a caller that we cannot see
		s.finish(n, e)
		return
	}
	if toItself(n, self) {
		_ = s.resume(n)
		return
	}
	target := int(int32(n.args[0]))
	sig := unix.Signal(int32(n.args[1]))
	switch {
	case n.nr != unix.SYS_KILL: // to a thread of another process
		e.Errno = unix.EPERM
	case sig < 0 || sig > maxSignal:
		e.Errno = unix.EINVAL
	case target > 0:
		e.Errno = s.signalOne(target, sig)
	case target == -1: // everybody
		e.Errno = unix.EPERM
	default:
		s.signalGroup(n, e, -target, self, sig)
		return
	}
	e.Allowed = e.Errno != unix.EPERM
	s.finish(n, e)
}

func toItself(n notification, self int) bool {
	first := int(int32(n.args[0]))
	if n.nr == unix.SYS_TKILL {
		return first == int(n.pid) // the number of another thread can become another's
	}
	return first == self
}

// signalOne signals a process if it is the plugin's; one that has ended and was not waited for takes
// it, as with the kernel. The descriptor is opened before the question: as long as its process
// lives or was not waited for the number is its own, and after that nothing gets the signal.
func (s *server) signalOne(pid int, sig unix.Signal) unix.Errno {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return unix.ESRCH
	}
	defer unix.Close(fd)
	if s.rules.Own == nil || !s.rules.Own(pid) {
		return unix.EPERM
	}
	return errnoOf(unix.PidfdSendSignal(fd, sig, nil, 0))
}

// signalGroup signals the members of a process group that are the plugin's: all of
// them, since a group does not leave its session. The caller comes last and after its
// answer, because the signal would interrupt it.
func (s *server) signalGroup(n notification, e Event, pgid, self int, sig unix.Signal) {
	members, own := 0, false
	e.Errno = unix.ESRCH
	for _, pid := range processes() {
		if groupOf(pid) != pgid {
			continue
		}
		members++
		if pid == self {
			own = true
			continue
		}
		if errno := s.signalOne(pid, sig); errno == 0 {
			e.Errno = 0
		}
	}
	switch {
	case own:
		e.Errno = 0
	case members > 0 && e.Errno != 0:
		e.Errno = unix.EPERM
	}
	fd, err := unix.PidfdOpen(self, 0) // while it waits
	e.Allowed = e.Errno == 0
	s.finish(n, e)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if own {
		_ = unix.PidfdSendSignal(fd, sig, nil, 0)
	}
}

func processes() (pids []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// groupOf reads field 5 of /proc/PID/stat; the name in field 2 may hold anything.
func groupOf(pid int) int {
	b, err := limits.ReadFile(proc(uint32(pid), "stat"), maxProc)
	if err != nil {
		return 0
	}
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 3 {
		return 0
	}
	pgid, _ := strconv.Atoi(string(fields[2]))
	return pgid
}
