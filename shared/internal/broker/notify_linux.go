package broker

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests of linux/seccomp.h that package unix does not have. The check of an id has
// the direction of kernels before 5.9, which later ones take too.
const (
	ioctlIDValid = 0x80082102
	ioctlAddFD   = 0x40182103

	addFDSetFD = 1 // put it at newfd, whatever is there
)

// notification is struct seccomp_notif with struct seccomp_data in it.
type notification struct {
	id    uint64
	pid   uint32 // the calling thread, 0 when this process cannot see it
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

// response is struct seccomp_notif_resp.
type response struct {
	id    uint64
	val   int64
	errno int32
	flags uint32
}

// addition is struct seccomp_notif_addfd.
type addition struct {
	id              uint64
	flags           uint32
	source, target  uint32
	descriptorFlags uint32
}

// errGone: every process under the filter has ended.
var errGone = errors.New("all processes are gone")

// A listener is the agent's end of one filter.
type listener struct {
	file *os.File
	conn interface {
		Read(func(fd uintptr) bool) error
		Control(func(fd uintptr)) error
	}
	buffer []byte // a kernel's struct may be longer than ours
}

// adopt takes f over, in the form in which waiting for it takes no thread.
func adopt(f *os.File) (*listener, error) {
	defer f.Close()
	size, err := notificationSize()
	if err != nil {
		return nil, err
	}
	fd := -1
	conn, err := f.SyscallConn()
	if err == nil {
		err = errors.Join(conn.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }), err)
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		return nil, fmt.Errorf("take over the listener: %w", err)
	}
	l := &listener{file: os.NewFile(uintptr(fd), "seccomp listener"), buffer: make([]byte, size)}
	if l.conn, err = l.file.SyscallConn(); err != nil {
		l.file.Close()
		return nil, fmt.Errorf("take over the listener: %w", err)
	}
	return l, nil
}

var notificationSize = sync.OnceValues(func() (int, error) {
	var sizes struct{ notif, resp, data uint16 }
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_NOTIF_SIZES, 0, uintptr(unsafe.Pointer(&sizes)))
	if errno != 0 {
		return 0, fmt.Errorf("ask for the size of seccomp notifications: %w", errno)
	}
	return max(int(sizes.notif), int(unsafe.Sizeof(notification{}))), nil
})

// receive waits for the next call. An interrupted wait (l.interrupt) is
// os.ErrDeadlineExceeded.
func (l *listener) receive() (n notification, err error) {
	waited := l.conn.Read(func(fd uintptr) bool {
		n, err = l.tryReceive(fd)
		return err != unix.EAGAIN
	})
	return n, errors.Join(waited, err)
}

// tryReceive asks first whether there is a call: receiving itself would block, even
// on a non-blocking descriptor.
func (l *listener) tryReceive(fd uintptr) (n notification, err error) {
	events := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if _, err := unix.Poll(events, 0); err != nil {
		return n, nilIfRetry(err)
	}
	switch {
	case events[0].Revents&unix.POLLIN != 0:
		clear(l.buffer) // the kernel insists
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&l.buffer[0])))
		if errno != 0 {
			return n, nilIfRetry(errno)
		}
		return *(*notification)(unsafe.Pointer(&l.buffer[0])), nil
	case events[0].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0:
		return n, errGone
	}
	return n, unix.EAGAIN
}

// nilIfRetry: an interrupted wait, or a caller that was killed just now (ENOENT), is
// no call; id 0 says so.
func nilIfRetry(err error) error {
	if err == unix.EINTR || err == unix.ENOENT {
		return nil
	}
	return fmt.Errorf("receive a call: %w", err)
}

func (l *listener) interrupt() {
	// The file is pollable, or adopt had failed.
	_ = l.file.SetReadDeadline(time.Unix(1, 0))
}

func (l *listener) ioctl(request uintptr, arg unsafe.Pointer) (result uintptr, err error) {
	errno := unix.EBADF
	if err := l.conn.Control(func(fd uintptr) {
		result, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(arg))
	}); err != nil {
		return 0, err
	}
	if errno != 0 {
		return 0, errno
	}
	return result, nil
}

// valid reports whether the caller still waits for this very call: only then does its
// number name it, and did it when it was looked up before.
func (l *listener) valid(n notification) bool {
	_, err := l.ioctl(ioctlIDValid, unsafe.Pointer(&n.id))
	return err == nil
}

// answer ends the call; it fails when the caller does not wait any more.
func (l *listener) answer(n notification, errno unix.Errno) error {
	_, err := l.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&response{id: n.id, errno: -int32(errno)}))
	return err
}

// resume lets the kernel do the call itself; see signal_linux.go for the one case.
func (l *listener) resume(n notification) error {
	_, err := l.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&response{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}))
	return err
}

// put makes descriptor target of the caller another name of our fd.
func (l *listener) put(n notification, fd int, target uint32, closeOnExec bool) error {
	a := addition{id: n.id, flags: addFDSetFD, source: uint32(fd), target: target}
	if closeOnExec {
		a.descriptorFlags = unix.O_CLOEXEC
	}
	_, err := l.ioctl(ioctlAddFD, unsafe.Pointer(&a))
	return err
}
