package warm

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/internal/limits"
)

// control is the agent's end of a socket to a zygote. A message is one packet, so there
// are no halves; the kernel puts the true process id of who wrote it beside.
type control struct{ conn *net.UnixConn }

const (
	maxOrder   = 60 << 10        // the zygote takes 64 KiB; an environment that is larger starts cold
	maxSaid    = 4 << 10         // of a zygote: a status, or a reason of one sentence
	orderLimit = 2 * time.Second // a zygote that takes no order for so long does not work
)

// openControl makes the socket; the file is the zygote's end.
func openControl() (*control, *os.File, error) {
	ours, theirs, err := openPair()
	if err != nil {
		return nil, nil, err
	}
	defer ours.Close() // FileConn has a copy
	conn, err := net.FileConn(ours)
	if err == nil {
		err = unix.SetsockoptInt(int(ours.Fd()), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	}
	packets, ok := conn.(*net.UnixConn)
	if err != nil || !ok {
		theirs.Close()
		return nil, nil, fmt.Errorf("make a socket for the zygote: %w", err)
	}
	return &control{packets}, theirs, nil
}

// openPair makes two connected sockets.
func openPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket for the zygote: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "zygote"), nil
}

// orders is the agent's end of a socket to the processes that were forked ahead. Nothing
// is heard there, and the runtime does not wait on it: it would be woken whenever an order
// is taken, and run where the process does that took it.
type orders struct{ socket *os.File }

// tell has an order taken by one of them.
func (s *orders) tell(o order, files ...*os.File) error {
	text, rights, err := o.packet(files)
	if err != nil {
		return err
	}
	socket, deadline := int(s.socket.Fd()), time.Now().Add(orderLimit)
	for {
		err := unix.Sendmsg(socket, text, rights, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		left := time.Until(deadline)
		if (err != unix.EAGAIN && err != unix.EINTR) || left <= 0 {
			return os.NewSyscallError("sendmsg", err)
		}
		_, err = unix.Poll([]unix.PollFd{{Fd: int32(socket), Events: unix.POLLOUT}}, int(left.Milliseconds())+1)
		if err != nil && err != unix.EINTR {
			return os.NewSyscallError("poll", err)
		}
	}
}

// order is what a zygote is told: one of its fields.
type order struct {
	Place *place `json:"place,omitempty"`
	*start
	*send
}

// place says where executions live, and what Landlock leaves of it to each; without a
// layer the sandbox draws no file boundary that could be kept between them.
type place struct {
	Temp  string `json:"temp"`
	Layer *layer `json:"layer"`
}

type layer struct {
	Read    []string `json:"read"`
	Devices []string `json:"devices"`
	Write   []string `json:"write"`
	Hidden  []string `json:"hidden"` // hold what belongs to single executions
}

// start makes an execution, which stands by.
type start struct {
	ID     int     `json:"start"`
	Limits []limit `json:"limits"`
	Given  string  `json:"given"`
}

// environment is how that of an execution differs from the zygote's. It comes on its standard
// input, as the line before its command.
type environment struct {
	Set     map[string]string `json:"environment"`
	Without []string          `json:"without"`
}

// limit is a resource of setrlimit(2), its soft and its hard limit.
type limit [3]uint64

// send sends a signal to the group of an execution.
type send struct {
	Signal int `json:"signal"`
	PID    int `json:"pid"`
}

// said is what a zygote or an execution tells: one of the first four is set. Process
// ids are those of the zygote's namespace.
type said struct {
	Ready *ready `json:"ready"`
	Hello *int   `json:"hello"` // the execution that the order was for
	Ended *int   `json:"ended"` // a process
	Worn  string `json:"worn"`

	PID          int     `json:"pid"`    // of who says hello
	Status       uint32  `json:"status"` // of wait(2)
	User, System float64 // seconds
	MaxRSS       int64   // KiB

	from int // process id, from the kernel, as the agent sees it
}

type ready struct {
	Refused  string `json:"refused"`
	Landlock int    `json:"landlock"` // version, 0 is none
}

var errTooLong = errors.New("the order is too long")

// packet is an order as it is sent, with files.
func (o order) packet(files []*os.File) (text, rights []byte, err error) {
	if text, err = json.Marshal(o); err != nil {
		return nil, nil, err
	}
	if len(text) > maxOrder {
		return nil, nil, errTooLong
	}
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	return text, unix.UnixRights(fds...), nil
}

// tell sends an order with files.
func (c *control) tell(o order, files ...*os.File) error {
	text, rights, err := o.packet(files)
	if err != nil {
		return err
	}
	c.conn.SetWriteDeadline(time.Now().Add(orderLimit))
	_, _, err = c.conn.WriteMsgUnix(text, rights, nil)
	return err
}

// hear takes the next message. The room for what comes beside it is for the sender's
// identity alone, so that a zygote cannot pass descriptors to the agent: the kernel
// drops what does not fit (unix(7)).
func (c *control) hear() (said, error) {
	text, beside := make([]byte, maxSaid), make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	n, m, flags, _, err := c.conn.ReadMsgUnix(text, beside)
	if err != nil {
		return said{}, err
	}
	if n == 0 {
		return said{}, errors.New("it closed its socket")
	}
	if flags&unix.MSG_TRUNC != 0 {
		return said{}, fmt.Errorf("it said more than %d bytes at once", maxSaid)
	}
	var s said
	if err := limits.UnmarshalJSON(text[:n], &s); err != nil {
		return said{}, fmt.Errorf("it said what is no message: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(beside[:m])
	if err != nil || len(messages) != 1 {
		return said{}, errors.New("it said something without its identity")
	}
	who, err := unix.ParseUnixCredentials(&messages[0])
	if err != nil {
		return said{}, fmt.Errorf("read who said it: %w", err)
	}
	s.from = int(who.Pid)
	return s, nil
}
