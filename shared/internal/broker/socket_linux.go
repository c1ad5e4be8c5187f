package broker

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/internal/limits"
)

// A socket is what the caller wants connected or bound. There are two ways to it:
//
//	borrow    pidfd_getfd gives us another descriptor of the very socket. Whatever the
//	          caller set on it stays, and whoever shares it sees it connected.
//	exchange  where pidfd_getfd is refused (Docker's default profile wants a capability
//	          for it), we connect or bind a socket of ours and put it at the caller's
//	          number. Options, epoll registrations and a bound address that were there
//	          before are lost.
type socket struct {
	fd       int
	inode    uint64
	domain   int
	nonblock bool

	exchanged   bool
	number      uint32 // the caller's descriptor
	closeOnExec bool
	kind        int
	connected   bool // the caller's, before the exchange
	named       bool // likewise: it has a path
}

func (k socket) close() { unix.Close(k.fd) }

// none is the socket that take returns with an error.
var none = socket{fd: -1}

// take gives us the socket of the caller's descriptor.
func (s *server) take(n notification) (socket, error) {
	if s.exchange {
		return trade(n)
	}
	return borrow(n)
}

func borrow(n notification) (socket, error) {
	p, err := pidfd(n.pid)
	if err != nil {
		return none, unix.EACCES
	}
	defer unix.Close(p)
	fd, err := unix.PidfdGetfd(p, int(int32(n.args[0])), 0)
	switch {
	case err == unix.EBADF:
		return none, unix.EBADF
	case err != nil:
		return none, unix.EACCES // the process made itself unreadable, or is gone
	}
	k := socket{fd: fd}
	if err := k.describe(); err != nil {
		k.close()
		return none, err
	}
	return k, nil
}

func (k *socket) describe() error {
	var st unix.Stat_t
	domain, err := unix.GetsockoptInt(k.fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return err // ENOTSOCK
	}
	if err := unix.Fstat(k.fd, &st); err != nil {
		return err
	}
	flags, err := unix.FcntlInt(uintptr(k.fd), unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	k.domain, k.inode, k.nonblock = domain, st.Ino, flags&unix.O_NONBLOCK != 0
	return nil
}

// protocols are the sockets that a plugin may have by the name of their protocol,
// except unix ones.
var protocols = map[string]struct{ domain, kind, protocol int }{
	"TCP":     {unix.AF_INET, unix.SOCK_STREAM, 0},
	"TCPv6":   {unix.AF_INET6, unix.SOCK_STREAM, 0},
	"MPTCP":   {unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP},
	"MPTCPv6": {unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_MPTCP},
	"UDP":     {unix.AF_INET, unix.SOCK_DGRAM, 0},
	"UDPv6":   {unix.AF_INET6, unix.SOCK_DGRAM, 0},
	"PING":    {unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP},
	"PINGv6":  {unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_ICMPV6},
	"NETLINK": {unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE},
}

// trade makes a socket like the caller's, as far as /proc tells what that is.
func trade(n notification) (socket, error) {
	number := uint32(n.args[0])
	flags, err := descriptorFlags(n.pid, number)
	if err != nil {
		return none, unix.EBADF
	}
	link := proc(n.pid, fmt.Sprintf("fd/%d", number))
	var st unix.Stat_t
	name := make([]byte, 32)
	length, err := unix.Getxattr(link, "system.sockprotoname", name)
	if err != nil || unix.Stat(link, &st) != nil {
		return none, unix.ENOTSOCK
	}
	k := socket{
		fd: -1, inode: st.Ino, exchanged: true, number: number,
		nonblock: flags&unix.O_NONBLOCK != 0, closeOnExec: flags&unix.O_CLOEXEC != 0,
	}
	p, ok := protocols[unix.ByteSliceToString(name[:length])]
	if !ok {
		p.domain = unix.AF_UNIX
		if err = k.stateOf(n.pid); err != nil {
			return none, unix.EACCES
		}
		p.kind = k.kind
	}
	k.domain, k.kind = p.domain, p.kind
	if k.fd, err = unix.Socket(p.domain, p.kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, p.protocol); err != nil {
		return none, err
	}
	if p.domain != unix.AF_UNIX && p.kind == unix.SOCK_STREAM {
		// Lost with the options of the first socket, and nearly every client sets it.
		err = unix.SetsockoptInt(k.fd, unix.SOL_TCP, unix.TCP_NODELAY, 1)
	}
	if err != nil {
		k.close()
		return none, err
	}
	return k, nil
}

// descriptorFlags reads the flags of a descriptor, O_CLOEXEC among them.
func descriptorFlags(pid, number uint32) (int64, error) {
	b, err := limits.ReadFile(proc(pid, fmt.Sprintf("fdinfo/%d", number)), maxProc)
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(b, []byte("flags:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	return strconv.ParseInt(string(bytes.TrimSpace(line)), 8, 64)
}

// maxTable bounds /proc/PID/net/unix and tcp: some 60,000 sockets.
const maxTable = 8 << 20

// stateOf finds an AF_UNIX socket in the table of its network namespace:
// Num: RefCount Protocol Flags Type St Inode Path.
func (k *socket) stateOf(pid uint32) error {
	f, err := tableLine(pid, "net/unix", 6, k.inode)
	if err != nil {
		return err
	}
	kind, err := strconv.ParseInt(f[4], 16, 32)
	k.kind, k.connected, k.named = int(kind), f[5] == "03", len(f) > 7
	return err
}

// tcpState is the state of a TCP socket as /proc/net/tcp numbers it, "" if it is in
// none of the tables: sl local remote st queues timer retransmits uid timeout inode.
func tcpState(pid uint32, inode uint64) string {
	for _, table := range []string{"net/tcp", "net/tcp6"} {
		if f, err := tableLine(pid, table, 9, inode); err == nil {
			return f[3]
		}
	}
	return ""
}

func tableLine(pid uint32, table string, column int, inode uint64) ([]string, error) {
	b, err := limits.ReadFile(proc(pid, table), maxTable)
	if err != nil {
		return nil, err
	}
	want := strconv.FormatUint(inode, 10)
	for line := range bytes.Lines(b) {
		if !bytes.Contains(line, []byte(want)) {
			continue
		}
		if f := strings.Fields(string(line)); len(f) > column && f[column] == want {
			return f, nil
		}
	}
	return nil, os.ErrNotExist
}

// inodes remembers the sockets that were connected or bound of late, and by which call.
type inodes struct {
	mu    sync.Mutex // guards the fields below
	next  int
	known [64]known
}

type known struct {
	inode uint64
	call  call
}

// A call is made again by the kernel, same thread, place and arguments, when a signal
// took its answer.
type call struct {
	pid  uint32
	nr   int32
	ip   uint64
	args [3]uint64
}

func callOf(n notification) call { return call{n.pid, n.nr, n.ip, [3]uint64(n.args[:3])} }

func (i *inodes) add(k known) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.known[i.next] = k
	i.next = (i.next + 1) % len(i.known)
}

// find returns what is known last of a socket.
func (i *inodes) find(inode uint64) (call, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for back := range i.known {
		k := i.known[(i.next-1-back+2*len(i.known))%len(i.known)]
		if k.inode == inode {
			return k.call, true
		}
	}
	return call{}, false
}
