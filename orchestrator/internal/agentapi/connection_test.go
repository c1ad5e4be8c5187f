package agentapi

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener of connections in memory, all from one address.
type pipes struct {
	net.Listener
	coming chan net.Conn
}

func (p pipes) Accept() (net.Conn, error) { return fromAfar{<-p.coming}, nil }

type fromAfar struct{ net.Conn }

func (fromAfar) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 4711} }

// accepted is both ends of a connection that the agents' listener accepted.
func accepted(t *testing.T) (client net.Conn, server *connection) {
	t.Helper()
	client, accepts := net.Pipe()
	p := pipes{coming: make(chan net.Conn, 1)}
	p.coming <- accepts
	c, err := (&capped{Listener: p, unknown: map[string]int{}}).Accept()
	if err != nil {
		t.Fatal(err)
	}
	return client, c.(*connection)
}

// Whatever a connection does, it ends within ten seconds if nobody is known to be at the other end.
func TestUnknownConnectionsEnd(t *testing.T) {
	for name, known := range map[string]bool{"unknown": false, "known": true} {
		synctest.Test(t, func(t *testing.T) {
			client, server := accepted(t)
			defer server.Close()
			if known {
				authenticated(withConnection(t.Context(), server))
			}
			drips := func() error {
				_ = client.SetDeadline(time.Now().Add(time.Second))
				_, err := client.Write([]byte{' '})
				return err
			}
			go func() { _, _ = io.Copy(io.Discard, server) }()
			begin := time.Now()
			for drips() == nil && time.Since(begin) < time.Minute {
				time.Sleep(100 * time.Millisecond)
			}
			if lived := time.Since(begin); known != (lived >= time.Minute) || !known && lived > 10*time.Second {
				t.Errorf("one that is %s lived %s", name, lived)
			}
		})
	}
}

// Who was refused for coming too soon is read slowly for a second, and then as before.
func TestHeldConnectionsAreReadSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := accepted(t)
		defer server.Close()
		go func() {
			for err := error(nil); err == nil; {
				_, err = client.Write(make([]byte, 64<<10))
			}
		}()
		in := func(d time.Duration) (n int) { // bytes that are read
			for end := time.Now().Add(d); time.Now().Before(end) && n < 1<<20; {
				some, err := server.Read(make([]byte, 600))
				if err != nil && !errors.Is(err, io.EOF) {
					t.Fatal(err)
				}
				n += some
			}
			return n
		}
		if n := in(time.Second); n < 1<<20 {
			t.Errorf("%d bytes were read before, want all", n)
		}
		holdUp(withConnection(t.Context(), server))
		if n := in(heldFor); n > 21*heldBytes || n < 19*heldBytes {
			t.Errorf("%d bytes were read of one that is held up in a second, want 40 kB", n)
		}
		if n := in(time.Second); n < 1<<20 {
			t.Errorf("%d bytes were read afterwards, want all", n)
		}
		holdUp(context.Background()) // of another listener: nothing happens
	})
}
