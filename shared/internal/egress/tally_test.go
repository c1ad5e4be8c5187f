package egress

import (
	"context"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/internal/limits"
)

// What a plugin sent before it ended is delivered, also over a connection that was not
// made yet; that nobody answers delays its end by nothing.
func TestLastWordsAreDelivered(t *testing.T) {
	heard, hold := make(chan string, 1), make(chan bool)
	to := far(t, func(c *net.TCPConn) {
		said, _ := limits.ReadAll(c, 100)
		heard <- string(said)
		<-hold
	})
	t.Cleanup(func() { close(hold) })
	dialling, goOn := make(chan bool), make(chan bool)
	x := open(t, to.String(), func(o *Options) {
		o.Dial = func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
			close(dialling)
			<-goOn
			return (&net.Dialer{}).DialContext(ctx, "tcp", a.String())
		}
	})
	c := x.dial()
	io.WriteString(c, "last words")
	c.Close()
	<-dialling
	time.AfterFunc(50*time.Millisecond, func() { close(goOn) })
	begin := time.Now()
	x.shut()
	if took := time.Since(begin); took > linger/2 {
		t.Errorf("it took %v to end", took)
	}
	select {
	case said := <-heard:
		if said != "last words" {
			t.Errorf("heard %q", said)
		}
	case <-time.After(patience):
		t.Error("nothing is heard")
	}
	x.outcome(Stopped, "the plugin ended")
}

// What the kernel has still to send when the connection ends is sent.
func TestSlowReaderHearsAll(t *testing.T) {
	const size = 400_000 // more than the reader's kernel takes unread, and less than that with what the sender's keeps
	heard, ended := make(chan int, 1), make(chan bool)
	to := far(t, func(c *net.TCPConn) {
		<-ended
		said, _ := limits.ReadAll(c, 2*size)
		heard <- len(said)
	})
	x := open(t, to.String(), nil)
	c := x.dial()
	io.WriteString(c, strings.Repeat("x", size))
	c.Close()
	x.shut()
	close(ended)
	if n := <-heard; n != size {
		t.Errorf("%d bytes were heard of %d", n, size)
	}
	x.outcome(Stopped, "the plugin ended")
}

// A run that shares its network leaves with all that it did, though the listener stays.
func TestLeaveEndsWhatIsNobodys(t *testing.T) {
	hold := make(chan bool)
	to := far(t, func(*net.TCPConn) { <-hold })
	t.Cleanup(func() { close(hold) })
	x := open(t, to.String(), nil)
	for range 30 { // some wait to be accepted
		c := x.dial()
		io.WriteString(c, "abc")
		c.Close()
	}
	n := x.tally.Leave()
	if len(n) != 1 || n[0].Connections != 30 || n[0].Sent != 90 || n[0].Shared != 0 {
		t.Errorf("counts %+v", n)
	}
	for range 30 {
		if r := x.report(); r.Outcome != Stopped || !slices.Equal(r.Users, []string{"run"}) {
			t.Errorf("report %+v", r)
		}
	}
	again := x.Join("next")
	if n := again.Leave(); len(n) != 0 {
		t.Errorf("the next did %+v", n)
	}
}

// late is a listener whose Accept takes its time to say so.
type late struct{ *net.TCPListener }

func (l late) Accept() (net.Conn, error) {
	c, err := l.TCPListener.Accept()
	if err == nil {
		time.Sleep(50 * time.Millisecond)
	}
	return c, err
}

// A connection that was accepted and is not begun yet is the run's that leaves.
func TestWhatWasAcceptedCounts(t *testing.T) {
	x := open(t, far(t, echo).String(), nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x.address = l.Addr().String()
	served := make(chan struct{})
	go func() { x.Listen(t.Context())[0].Serve(late{l.(*net.TCPListener)}); close(served) }()
	t.Cleanup(func() { <-served })
	for x.serves() < 2 {
		time.Sleep(time.Millisecond)
	}
	c := x.dial()
	io.WriteString(c, "abc")
	c.Close()
	for backlog(listener{l, 0}) {
		time.Sleep(time.Millisecond)
	}
	if n := x.tally.Leave(); len(n) != 1 || n[0].Connections != 1 {
		t.Errorf("counts %+v", n)
	}
}

// What one of several did counts for each of them, and says that it does.
func TestTalliesOfSeveral(t *testing.T) {
	to := far(t, echo)
	x := open(t, to.String(), nil)
	alone := x.dial()
	io.WriteString(alone, "a")
	io.ReadFull(alone, make([]byte, 1))
	other := x.Join("other")
	both := x.dial()
	io.WriteString(both, "bc")
	io.ReadFull(both, make([]byte, 2))
	if n := other.Leave(); len(n) != 1 || n[0].Connections != 1 || n[0].Shared != 1 || n[0].Sent != 2 || n[0].Received != 2 || n[0].LastError != "" {
		t.Errorf("the other has %+v", n)
	}
	both.Close() // which changes nothing of what is told already
	if r := x.report(); r.Outcome != Closed || !slices.Equal(r.Users, []string{"run", "other"}) {
		t.Errorf("report %+v", r)
	}
	alone.Close()
	if r := x.report(); !slices.Equal(r.Users, []string{"run"}) {
		t.Errorf("report %+v", r)
	}
	if n := x.tally.Leave(); len(n) != 1 || n[0].Connections != 2 || n[0].Shared != 1 || n[0].Sent != 3 {
		t.Errorf("the first has %+v", n)
	}
	var none *Gate
	if n := none.Join("x").Leave(); n != nil {
		t.Errorf("no gate counted %+v", n)
	}
}

// Who leaves while a shared connection is being made hears what comes of it.
func TestLeaveWhileConnecting(t *testing.T) {
	to := far(t, echo)
	dialling, goOn := make(chan bool), make(chan bool)
	x := open(t, to.String(), func(o *Options) {
		o.Dial = func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
			close(dialling)
			<-goOn
			return (&net.Dialer{}).DialContext(ctx, "tcp", a.String())
		}
	})
	other := x.Join("other")
	x.dial()
	<-dialling
	time.AfterFunc(50*time.Millisecond, func() { close(goOn) })
	if n := other.Leave(); len(n) != 1 || n[0].Connections != 1 || n[0].Failed != 0 || n[0].Shared != 1 {
		t.Errorf("counts %+v", n)
	}
}

// Addresses are named once, and not without end.
func TestAddressesAreBounded(t *testing.T) {
	x := open(t, "127.0.0.1:9", nil)
	for i := range 100 {
		f := &flow{address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i / 2)}), 9)}
		x.tally.add(f, Connection{Outcome: Closed})
	}
	if n := x.tally.Leave()[0]; n.Connections != 100 || len(n.Addresses) != MaxAddresses || n.Addresses[7].String() != "192.0.2.7" {
		t.Errorf("counts %+v", n)
	}
}
