package sandbox

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// channel carries descriptors that a launch makes inside the sandbox out to the agent:
// listeners in the plugin's network namespace, and the one of its system call filter.
// They go in one message, right before execve(2).
type channel struct {
	ours, theirs int // the ends of a socket pair; -1 without
	brokered     bool
	end          register // theirs, where the plugin's descriptors do not overwrite it
	control      []byte   // the control message (cmsg(3)) of the one that is sent
	rights       []int32  // its data, which the child fills in
	filled       int
}

// maxRights is how many descriptors one message can carry (SCM_MAX_FD, unix(7)).
const maxRights = 253

// openChannel makes the channel that a Spec needs; without need it is empty.
func openChannel(s *Spec) (*channel, error) {
	c := &channel{ours: -1, theirs: -1}
	c.brokered = s.confined(Confined) && !s.confined(Full) && s.Host.Broker
	n := len(s.Network.Listen)
	if c.brokered {
		n++
	}
	if n == 0 {
		return c, nil
	}
	if n > maxRights {
		return nil, fmt.Errorf("%d destinations: at most %d", n, maxRights)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make the launch's channel: %w", err)
	}
	c.ours, c.theirs = pair[0], pair[1]
	c.control = make([]byte, unix.CmsgSpace(4*n))
	header := (*unix.Cmsghdr)(unsafe.Pointer(&c.control[0]))
	header.Level, header.Type = unix.SOL_SOCKET, unix.SCM_RIGHTS
	header.SetLen(unix.CmsgLen(4 * n))
	c.rights = unsafe.Slice((*int32)(unsafe.Pointer(&c.control[unix.CmsgLen(0)])), n)
	return c, nil
}

func (c *channel) close() {
	if c.ours >= 0 {
		unix.Close(c.ours)
		unix.Close(c.theirs)
	}
}

func (c *channel) lift(p *program) {
	if c.ours >= 0 {
		c.end = p.keep(p.call("copy the launch's channel", unix.SYS_FCNTL, num(c.theirs), num(unix.F_DUPFD_CLOEXEC), num(firstHigh)))
	}
}

// add has the result of a call sent.
func (c *channel) add(o *op) {
	o.store = &c.rights[c.filled]
	c.filled++
}

// send appends the message, whose descriptors the calls before have made.
func (c *channel) send(p *program) {
	if c.ours < 0 {
		return
	}
	payload := &[1]byte{'+'}
	iov := &unix.Iovec{Base: &payload[0], Len: 1}
	message := &unix.Msghdr{Iov: iov, Iovlen: 1, Control: &c.control[0]}
	message.SetControllen(len(c.control))
	p.hold = append(p.hold, c, payload, iov)
	p.call("hand descriptors to the agent", unix.SYS_SENDMSG, result(c.end), pointer(p, message), none)
}

// receive takes the descriptors over, after the launch succeeded.
func (c *channel) receive(s *Spec, t *tree) error {
	if c.ours < 0 {
		return nil
	}
	control := make([]byte, len(c.control))
	_, n, _, _, err := unix.Recvmsg(c.ours, make([]byte, 1), control, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	if err != nil {
		return fmt.Errorf("take descriptors from the launch: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) != 1 {
		return fmt.Errorf("take descriptors from the launch: %d messages: %w", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != len(c.rights) {
		return fmt.Errorf("take descriptors from the launch: %d of %d came: %w", len(fds), len(c.rights), err)
	}
	return t.takeOver(s, fds)
}

// takeOver gives the descriptors to those who serve them, until the tree has ended.
func (t *tree) takeOver(s *Spec, fds []int) error {
	for i, l := range s.Network.Listen {
		f := os.NewFile(uintptr(fds[i]), "listener "+l.Name)
		listener, err := net.FileListener(f)
		f.Close()
		if err != nil {
			return fmt.Errorf("listen for %s: %w", l.Name, err)
		}
		t.serve(listener, func() { l.Serve(listener) })
	}
	if rest := fds[len(s.Network.Listen):]; len(rest) > 0 {
		t.broker(os.NewFile(uintptr(rest[0]), "connect broker"), s)
	}
	return nil
}

// addressOf gives each name an address of 127.0.1.0/24, the same for all its ports.
func addressOf(listen []Listen, name string) [4]byte {
	var seen []string
	for _, l := range listen {
		if l.Name == name {
			break
		}
		if len(seen) == 0 || seen[len(seen)-1] != l.Name {
			seen = append(seen, l.Name)
		}
	}
	return [4]byte{127, 0, 1, byte(1 + len(seen))}
}

func hostsOf(listen []Listen) string {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n")
	for i, l := range listen {
		if i == 0 || listen[i-1].Name != l.Name {
			a := addressOf(listen, l.Name)
			fmt.Fprintf(&b, "%d.%d.%d.%d %s\n", a[0], a[1], a[2], a[3], l.Name)
		}
	}
	return b.String()
}

// listen appends the listeners of a network namespace of one's own. Without any the
// namespace stays as dead as it was born.
func (p *program) listen(all []Listen, c *channel) {
	if len(all) == 0 {
		return
	}
	up := &struct {
		name  [unix.IFNAMSIZ]byte
		flags uint16
		rest  [22]byte
	}{flags: unix.IFF_UP}
	copy(up.name[:], "lo")
	s := p.scratch(p.call("raise the loopback interface", unix.SYS_SOCKET, num(unix.AF_INET), num(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC), none))
	p.call("raise the loopback interface", unix.SYS_IOCTL, result(s), num(unix.SIOCSIFFLAGS), pointer(p, up))
	p.call("raise the loopback interface", unix.SYS_CLOSE, result(s))
	for _, l := range all {
		label := fmt.Sprintf("listen for %s:%d", l.Name, l.Port)
		address := &unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: addressOf(all, l.Name)}
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&address.Port))[:], l.Port)
		open := p.call(label, unix.SYS_SOCKET, num(unix.AF_INET), num(unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK), none)
		fd := p.keep(open)
		c.add(open)
		p.call(label, unix.SYS_BIND, result(fd), pointer(p, address), num(unsafe.Sizeof(*address)))
		p.call(label, unix.SYS_LISTEN, result(fd), num(128))
	}
}
