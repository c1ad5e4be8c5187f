package sandbox

import (
	"context"
	"fmt"
	"net"
	"os"
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
func (c *channel) receive(ctx context.Context, s *Spec, t *tree) error {
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
	return t.takeOver(ctx, s, fds)
}

// takeOver gives the descriptors to those who serve them, until the tree has ended.
func (t *tree) takeOver(ctx context.Context, s *Spec, fds []int) error {
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
		t.broker(ctx, os.NewFile(uintptr(rest[0]), "connect broker"), s)
	}
	return nil
}
