package egress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/stavily/agents/internal/destination"
	"github.com/stavily/agents/internal/limits"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is far above what anything here takes.
const patience = time.Minute

// far is a server somewhere; use handles each of its connections.
func far(t *testing.T, use func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() { defer c.Close(); use(c.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() { l.Close(); wait.Wait() })
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func echo(c *net.TCPConn) { io.Copy(c, c) }

// door is a gate with one destination whose listener is open.
type door struct {
	*Gate
	t       *testing.T
	tally   *Tally
	address string
	reports chan Connection
	shut    func() // as when the plugin ends
}

func open(t *testing.T, to string, change func(*Options)) *door {
	t.Helper()
	d, err := destination.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	x := &door{t: t, reports: make(chan Connection, 2000)}
	o := Options{Destinations: []destination.Destination{d}, Report: func(c Connection) { x.reports <- c }, Own: func() []netip.Addr { return nil }}
	if change != nil {
		change(&o)
	}
	if x.Gate, err = New(o); err != nil {
		t.Fatal(err)
	}
	x.tally = x.Join("run")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x.address = l.Addr().String()
	served := make(chan struct{})
	go func() { x.Listen(t.Context())[0].Serve(l); close(served) }()
	for x.serves() == 0 { // what is dialled before that nobody knows of
		time.Sleep(time.Millisecond)
	}
	x.shut = func() {
		l.Close()
		select {
		case <-served:
		case <-time.After(patience):
			t.Error("Serve does not return")
		}
	}
	t.Cleanup(x.shut)
	return x
}

func (x *door) dial() *net.TCPConn {
	x.t.Helper()
	c, err := net.Dial("tcp", x.address)
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		x.t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// serves is how many listeners the gate serves.
func (x *door) serves() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.listeners)
}

// says writes text, ends, and reads all that comes back.
func says(c *net.TCPConn, text string) (string, error) {
	if _, err := io.WriteString(c, text); err != nil {
		return "", err
	}
	if err := c.CloseWrite(); err != nil {
		return "", err
	}
	back, err := limits.ReadAll(c, 1<<20)
	return string(back), err
}

// try connects, which may be refused as early as that, and speaks.
func (x *door) try(text string) (string, error) {
	c, err := net.Dial("tcp", x.address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return says(c.(*net.TCPConn), text)
}

// report is the next one.
func (x *door) report() Connection {
	x.t.Helper()
	select {
	case r := <-x.reports:
		return r
	case <-time.After(patience):
		x.t.Fatal("no report")
		return Connection{}
	}
}

func (x *door) outcome(want Outcome, says string) {
	x.t.Helper()
	if r := x.report(); r.Outcome != want || !strings.Contains(r.Reason, says) {
		x.t.Errorf("ended as %s: %q, want %s: %q", r.Outcome, r.Reason, want, says)
	}
}

// A destination that names an address literally is reached, also a private one; both
// ends may close first, and what went where is counted.
func TestBytesGoThrough(t *testing.T) {
	to := far(t, echo)
	x := open(t, to.String(), nil)
	text := strings.Repeat("all of this ", 20_000)
	back, err := says(x.dial(), text)
	if err != nil || back != text {
		t.Errorf("%d bytes came back of %d, %v", len(back), len(text), err)
	}
	r := x.report()
	if r.Outcome != Closed || r.Address != to || r.Sent != int64(len(text)) || r.Received != r.Sent || r.Reason != "" || r.Destination.String() != to.String() || r.Duration <= 0 {
		t.Errorf("report %+v", r)
	}
	x.shut()
	want := []Count{{Destination: r.Destination, Addresses: []netip.Addr{to.Addr()}, Connections: 1, Sent: r.Sent, Received: r.Received}}
	if diff := cmp.Diff(want, x.tally.Leave(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

// The server may end first and still be spoken to.
func TestHalfCloseTheOtherWay(t *testing.T) {
	heard := make(chan string, 1)
	to := far(t, func(c *net.TCPConn) {
		io.WriteString(c, "bye")
		c.CloseWrite()
		text, _ := limits.ReadAll(c, 100)
		heard <- string(text)
	})
	x := open(t, to.String(), nil)
	c := x.dial()
	if back, err := limits.ReadAll(c, 100); string(back) != "bye" || err != nil {
		t.Errorf("heard %q, %v", back, err)
	}
	if _, err := says(c, "wait"); err != nil {
		t.Error(err)
	}
	if text := <-heard; text != "wait" {
		t.Errorf("the server heard %q", text)
	}
	x.outcome(Closed, "")
}

// names makes a resolver of one's own.
func names(answers map[string][]string) func(context.Context, string) ([]netip.Addr, error) {
	return func(_ context.Context, name string) ([]netip.Addr, error) {
		all, known := answers[name]
		if !known {
			return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
		}
		var out []netip.Addr
		for _, a := range all {
			out = append(out, netip.MustParseAddr(a))
		}
		return out, nil
	}
}

// A name that leads where it must not is refused, and nothing is dialled.
func TestNamesAreJudged(t *testing.T) {
	to := far(t, echo)
	port := fmt.Sprint(":", to.Port())
	lookup := names(map[string][]string{
		"loop": {"127.0.0.1"}, "mapped": {"::ffff:127.0.0.1"}, "meta": {"169.254.169.254"}, "translated": {"64:ff9b::7f00:1"}, "any": {"0.0.0.0"},
		"private": {"10.0.0.1", "fd00::1"}, "own": {"198.41.0.4"}, "nothing": {}, "localhost": {"127.0.0.1"}, "mixed": {"10.0.0.1", "127.0.0.1", "169.254.169.254"},
	})
	for _, c := range []struct {
		name  string
		allow []string
		want  Outcome
		says  string
	}{
		{"loop", nil, Refused, "loop leads to 127.0.0.1, which is this host's own: name the address in the manifest, or allow it in security.sandbox.allow_private"},
		{"mapped", nil, Refused, "which is this host's own"},
		{"meta", nil, Refused, "which is a link-local or metadata address"},
		{"meta", []string{"meta", "0.0.0.0/0"}, Refused, "which is a link-local or metadata address"},
		{"translated", nil, Refused, "which is this host's own"},
		{"any", []string{"any", "0.0.0.0/0"}, Refused, "which is no address of a host"},
		{"private", nil, Refused, "which is private"},
		{"own", nil, Refused, "own leads to 198.41.0.4, which is this host's own"},
		{"nothing", nil, Unresolved, "the name leads to no address"},
		{"unknown", nil, Unresolved, "lookup unknown: no such host"},
		{"loop", []string{"127.0.0.0/8"}, Closed, ""},
		{"loop", []string{"loop"}, Closed, ""},
		{"localhost", nil, Closed, ""},
		{"mixed", []string{"127.0.0.1"}, Closed, ""}, // by the one that is allowed
	} {
		x := open(t, c.name+port, func(o *Options) {
			o.Lookup, o.Allow, o.Own = lookup, ParseAllow(c.allow), func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("198.41.0.4")} }
			dial := func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
				if !a.Addr().IsLoopback() {
					t.Errorf("%s %v: %s is dialled", c.name, c.allow, a)
				}
				return (&net.Dialer{}).DialContext(ctx, "tcp", a.String())
			}
			o.Dial = dial
		})
		back, err := x.try("x")
		if went := back == "x" && err == nil; went != (c.want == Closed) {
			t.Errorf("%s %v: heard %q, %v", c.name, c.allow, back, err)
		}
		x.outcome(c.want, c.says)
	}
}

// The address that was judged is the one that is dialled: a second answer is not asked for.
func TestRebinding(t *testing.T) {
	var asked atomic.Int32
	dialled := make(chan netip.AddrPort, 10)
	x := open(t, "rebind.example:80", func(o *Options) {
		o.Lookup = func(context.Context, string) ([]netip.Addr, error) {
			if asked.Add(1)%2 == 1 {
				return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
			}
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}
		o.Dial = func(_ context.Context, a netip.AddrPort) (net.Conn, error) {
			dialled <- a
			return nil, errors.New("there is no network in tests")
		}
	})
	for i, want := range []Outcome{Unreachable, Refused, Unreachable} {
		x.try("x")
		x.outcome(want, "")
		if got := asked.Load(); got != int32(i+1) {
			t.Errorf("%d look-ups for %d connections", got, i+1)
		}
	}
	close(dialled)
	for a := range dialled {
		if a.String() != "93.184.216.34:80" {
			t.Errorf("%s was dialled", a)
		}
	}
	x.shut()
	if n := x.tally.Leave()[0]; n.Refused != 1 || n.Failed != 2 || n.Connections != 0 || len(n.Addresses) != 0 || n.LastError != "there is no network in tests" {
		t.Errorf("counts %+v", n)
	}
}

// Of several addresses the next is tried.
func TestNextAddress(t *testing.T) {
	to := far(t, echo)
	x := open(t, fmt.Sprint("two:", to.Port()), func(o *Options) {
		o.Lookup = names(map[string][]string{"two": {"127.9.9.9", "127.0.0.1"}})
		o.Allow = ParseAllow([]string{"two"})
	})
	if back, err := says(x.dial(), "x"); back != "x" || err != nil {
		t.Errorf("heard %q, %v", back, err)
	}
	x.outcome(Closed, "")
}

func TestSilenceEnds(t *testing.T) {
	to := far(t, func(c *net.TCPConn) { limits.ReadAll(c, 100) })
	x := open(t, to.String(), func(o *Options) { o.Idle = 50 * time.Millisecond })
	c := x.dial()
	if _, err := limits.ReadAll(c, 100); err == nil {
		t.Error("the connection ended in order")
	}
	x.outcome(IdleLimit, "nothing was said for too long")
}

// One direction may be silent while the other is not, however slowly it goes.
func TestSlowIsNotSilent(t *testing.T) {
	const idle, steps = 200 * time.Millisecond, 8
	to := far(t, func(c *net.TCPConn) {
		for range steps {
			time.Sleep(idle / 2)
			io.WriteString(c, ".")
		}
	})
	x := open(t, to.String(), func(o *Options) { o.Idle = idle })
	if back, err := limits.ReadAll(x.dial(), 100); len(back) != steps || err != nil {
		t.Errorf("heard %q, %v", back, err)
	}
}

// A peer that takes nothing holds neither memory nor the connection for ever.
func TestPeerThatDoesNotRead(t *testing.T) {
	hold := make(chan struct{})
	to := far(t, func(*net.TCPConn) { <-hold })
	x := open(t, to.String(), func(o *Options) { o.Idle = 100 * time.Millisecond })
	t.Cleanup(func() { close(hold) })
	c := x.dial()
	chunk := make([]byte, 1<<20)
	var err error
	for err == nil {
		_, err = c.Write(chunk)
	}
	x.outcome(IdleLimit, "")
}

func TestTooManyAtATime(t *testing.T) {
	to := far(t, echo)
	x := open(t, to.String(), func(o *Options) { o.Connections = 2 })
	held := []*net.TCPConn{x.dial(), x.dial()}
	for _, c := range held {
		io.WriteString(c, "x")
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if back, err := x.try("x"); err == nil && back == "x" {
		t.Error("the third is served")
	}
	x.outcome(Busy, "too many")
	held[0].Close()
	x.report()
	if back, err := says(x.dial(), "x"); back != "x" || err != nil {
		t.Errorf("after one has ended: heard %q, %v", back, err)
	}
}

// When the plugin has ended its listener is closed, and nothing goes on.
func TestPluginEnds(t *testing.T) {
	came := make(chan bool, 1)
	to := far(t, func(c *net.TCPConn) { came <- true; limits.ReadAll(c, 100) })
	x := open(t, to.String(), nil)
	c := x.dial()
	io.WriteString(c, "x")
	<-came
	x.shut()
	x.outcome(Stopped, "the plugin ended")
	if n := x.tally.Leave()[0]; n.Connections != 1 || n.Sent != 1 || n.LastError != "" || len(x.flows) != 0 {
		t.Errorf("counts %+v, and %d go on", n, len(x.flows))
	}
}

func TestContextEnds(t *testing.T) {
	to := far(t, echo)
	g, err := New(Options{Destinations: []destination.Destination{{Host: "127.0.0.1", Port: to.Port()}}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan struct{})
	go func() { g.Listen(ctx)[0].Serve(l); close(served) }()
	cancel()
	select {
	case <-served:
	case <-time.After(patience):
		t.Fatal("Serve does not return")
	}
}

// A thousand connections, many at a time, leave nothing behind (TestMain looks).
func TestThousandConnections(t *testing.T) {
	to := far(t, echo)
	x := open(t, to.String(), func(o *Options) { o.Connections = 1000 })
	var wait sync.WaitGroup
	for range 50 {
		wait.Go(func() {
			for range 20 {
				c, err := net.Dial("tcp", x.address)
				if err != nil {
					t.Error(err)
					return
				}
				if back, err := says(c.(*net.TCPConn), "hello"); back != "hello" || err != nil {
					t.Errorf("heard %q, %v", back, err)
				}
				c.Close()
			}
		})
	}
	wait.Wait()
	x.shut()
	if n := x.tally.Leave()[0]; n.Connections != 1000 || n.Sent != 5000 || n.Received != 5000 || n.Refused+n.Failed+n.Shared != 0 {
		t.Errorf("counts %+v", n)
	}
	if len(x.slots) != 0 || len(x.flows) != 0 {
		t.Errorf("%d connections are still counted, %d go on", len(x.slots), len(x.flows))
	}
}

func TestPlaces(t *testing.T) {
	var all []destination.Destination
	for _, text := range []string{"b.example:443", "a.example:80", "b.example:22", "localhost:8080", "192.0.2.7:22", "[2001:db8::1]:443", "a.example:80"} {
		d, err := destination.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	g, err := New(Options{Destinations: all})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range g.Listen(t.Context()) {
		got = append(got, fmt.Sprintf("%s %s", l.Name, netip.AddrPortFrom(l.Address, l.Port)))
	}
	want := []string{"192.0.2.7 192.0.2.7:22", "2001:db8::1 [2001:db8::1]:443", "a.example 127.0.1.1:80", "b.example 127.0.1.2:22", "b.example 127.0.1.2:443", "localhost 127.0.0.1:8080"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("listeners (-want +got):\n%s", diff)
	}
	if got, want := g.Hosts(), "127.0.0.1 localhost\n127.0.1.1 a.example\n127.0.1.2 b.example\n"; got != want {
		t.Errorf("hosts file %q, want %q", got, want)
	}
}

func TestWhatNoGateCanTellApart(t *testing.T) {
	many := make([]destination.Destination, MaxDestinations+1)
	for i := range many {
		many[i] = destination.Destination{Host: "a", Port: uint16(i + 1)}
	}
	for _, c := range []struct {
		all  []destination.Destination
		says string
	}{
		{many, "65 network destinations: at most 64 can be told apart"},
		{[]destination.Destination{{Port: 443}}, "a port of any host cannot be told apart"},
		{[]destination.Destination{{Host: "0.0.0.0", Port: 80}}, "is no address of a host"},
		{[]destination.Destination{{Host: "224.0.0.1", Port: 80}}, "is no address of a host"},
	} {
		if _, err := New(Options{Destinations: c.all}); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("err = %v, want %s", err, c.says)
		}
	}
	if _, err := New(Options{Destinations: many[1:]}); err != nil {
		t.Error(err)
	}
}

// BenchmarkConnection is connect, one byte each way, close, through the gate.
func BenchmarkConnection(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); echo(c.(*net.TCPConn)) }()
		}
	}()
	to := l.Addr().(*net.TCPAddr).AddrPort()
	g, err := New(Options{Destinations: []destination.Destination{{Host: to.Addr().String(), Port: to.Port()}}})
	if err != nil {
		b.Fatal(err)
	}
	in, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() { g.Listen(b.Context())[0].Serve(in); close(done) }()
	for _, c := range []struct{ name, address string }{{"direct", l.Addr().String()}, {"gate", in.Addr().String()}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				c, err := net.Dial("tcp", c.address)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := says(c.(*net.TCPConn), "x"); err != nil {
					b.Fatal(err)
				}
				c.Close()
			}
		})
	}
	in.Close()
	<-done
}
