package main

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// way is a connection through a proxy and its other end.
type way struct {
	*proxy
	inner, outer net.Conn
	listener     net.Listener
}

func newWay(t *testing.T) *way {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := newProxy([]string{listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	l := &way{proxy: p, listener: listener}
	t.Cleanup(func() { p.close(); listener.Close() })
	l.dial(t)
	return l
}

// dial makes a new connection, in clear weather.
func (l *way) dial(t *testing.T) {
	t.Helper()
	var err error
	if l.inner, err = net.Dial("tcp", l.addr()); err == nil {
		l.outer, err = l.listener.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	speak(t, l.inner)
	heard(t, l.outer, len(hello), soon)
}

const hello = "hello"

func speak(t *testing.T, from io.Writer) {
	t.Helper()
	if _, err := from.Write([]byte(hello)); err != nil {
		t.Fatal(err)
	}
}

// soon is on a machine that is busy.
const soon = 2 * time.Second

func heard(t *testing.T, at net.Conn, n int, within time.Duration) {
	t.Helper()
	_ = at.SetReadDeadline(time.Now().Add(within)) // what fails here fails the read
	if _, err := io.ReadFull(at, make([]byte, n)); err != nil {
		t.Fatal(err)
	}
}

// hearsNothing is that nothing comes for a moment.
func hearsNothing(t *testing.T, at net.Conn) {
	t.Helper()
	_ = at.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := at.Read(make([]byte, 1)); n > 0 || err == nil || !err.(net.Error).Timeout() {
		t.Fatalf("got %d bytes and %v, want nothing yet", n, err)
	}
}

// Each weather does to both directions what its name says. A bench whose weather is fair proves nothing.
func TestWeather(t *testing.T) {
	t.Parallel()
	for name, check := range map[weather]func(*testing.T, *way){
		silent: func(t *testing.T, l *way) {
			for from, to := range map[net.Conn]net.Conn{l.inner: l.outer, l.outer: l.inner} {
				speak(t, from)
				hearsNothing(t, to)
			}
			l.inner.(*net.TCPConn).CloseWrite()
			l.set(clear)
			heard(t, l.outer, len(hello), soon) // also of who has ended
			heard(t, l.inner, len(hello), soon)
		},
		reset: func(t *testing.T, l *way) {
			for _, end := range []net.Conn{l.inner, l.outer} {
				_ = end.SetReadDeadline(time.Now().Add(soon))
				if _, err := end.Read(make([]byte, 1)); err == nil || err.(net.Error).Timeout() {
					t.Fatalf("got %v, want a reset", err)
				}
			}
			l.set(clear)
			l.dial(t)
		},
		forgetful: func(t *testing.T, l *way) {
			during, err := net.Dial("tcp", l.addr())
			if err != nil {
				t.Fatal(err)
			}
			far, err := l.listener.Accept()
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				for from, to := range map[net.Conn]net.Conn{l.inner: l.outer, l.outer: l.inner, during: far, far: during} {
					speak(t, from)
					hearsNothing(t, to)
				}
				l.set(clear) // which mends nothing of these
			}
			during.Close()
			hearsNothing(t, far) // not even the end
			l.dial(t)
		},
		late: func(t *testing.T, l *way) {
			var both sync.WaitGroup
			for from, to := range map[net.Conn]net.Conn{l.inner: l.outer, l.outer: l.inner} {
				both.Go(func() {
					began := time.Now()
					for range 3 { // the others are no later for the first
						if _, err := from.Write([]byte(hello)); err != nil {
							t.Error(err)
						}
						time.Sleep(20 * time.Millisecond)
					}
					_ = to.SetReadDeadline(began.Add(lateness + soon))
					if _, err := io.ReadFull(to, make([]byte, 3*len(hello))); err != nil || time.Since(began) < lateness {
						t.Errorf("%v after %v, want after %v", err, time.Since(began), lateness)
					}
				})
			}
			both.Wait()
		},
		narrow: func(t *testing.T, l *way) {
			const seconds = 1
			began := time.Now()
			go func() { _, _ = l.inner.Write(make([]byte, seconds*bandwidth)) }()
			heard(t, l.outer, seconds*bandwidth, seconds*time.Second+soon)
			if took := time.Since(began); took < seconds*time.Second*9/10 {
				t.Errorf("%d bytes took %v, want %d s", seconds*bandwidth, took, seconds)
			}
		},
	} {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			l := newWay(t)
			l.set(name)
			check(t, l)
		})
	}
}
