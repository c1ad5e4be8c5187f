package agentapi_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
)

// dial opens a connection that says nothing.
func dial(t *testing.T, s *servertest.Server) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// closedWithin reports whether the server closes a connection in time.
func closedWithin(t *testing.T, c net.Conn, limit time.Duration) bool {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	_, err := io.Copy(io.Discard, c)
	var timeout net.Error
	return !(errors.As(err, &timeout) && timeout.Timeout())
}

// TestUnknownConnectionsAreCapped fills an address's share with connections that show
// no certificate: one more is closed, an agent that is connected does not notice.
func TestUnknownConnectionsAreCapped(t *testing.T) {
	s := servertest.Start(t)
	sensor := s.Enrol(api.Sensor, "sensor-1", "a")
	alive := func() error {
		_, err := sensor.Heartbeat(t.Context(), api.Heartbeat{Status: "online"})
		return err
	}
	if err := alive(); err != nil {
		t.Fatal(err)
	}
	var silent []net.Conn
	for range 64 {
		silent = append(silent, dial(t, s))
	}
	if !closedWithin(t, dial(t, s), 2*time.Second) {
		t.Error("the connection over the cap stays open")
	}
	if closedWithin(t, silent[0], 100*time.Millisecond) {
		t.Error("one within the cap was closed at once")
	}
	if err := alive(); err != nil {
		t.Errorf("the agent that is connected: %v", err)
	}
	for _, c := range silent {
		c.Close()
	}
	deadline := time.Now().Add(5 * time.Second) // which is when a handshake is given up in any case
	for {                                       // places come back as the server notices
		fresh := s.Enrol(api.Sensor, "sensor-2", "a")
		if _, err := fresh.Heartbeat(t.Context(), api.Heartbeat{Status: "online"}); err == nil {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("a new agent after the others were closed: %v", err)
		}
	}
}

// TestSilentConnectionsAreClosed waits for the time limit of handshakes.
func TestSilentConnectionsAreClosed(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 5 s")
	}
	t.Parallel()
	s := servertest.Start(t)
	if c := dial(t, s); !closedWithin(t, c, 10*time.Second) {
		t.Error("a connection without a handshake is open after 10 s")
	}
}

// TestCallsAtOnceOverANewConnection holds that an agent may send several requests before it
// has read the server's HTTP/2 settings: what it compresses by then counts on the defaults.
func TestCallsAtOnceOverANewConnection(t *testing.T) {
	s := servertest.Start(t)
	for n := range 10 {
		sensor := s.Enrol(api.Sensor, api.AgentID(fmt.Sprintf("sensor-%d", n)), "a")
		var calls errgroup.Group
		for range 4 {
			calls.Go(func() error {
				_, err := sensor.Heartbeat(t.Context(), api.Heartbeat{Status: "online"})
				return err
			})
		}
		if err := calls.Wait(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWhoComesTooSoonIsHeldUp: once an agent's calls are refused for their number, its connection is
// read slowly.
func TestWhoComesTooSoonIsHeldUp(t *testing.T) {
	s := servertest.Start(t)
	sensor := s.Enrol(api.Sensor, "sensor-1", "a")
	refused := func() bool {
		_, err := sensor.Heartbeat(t.Context(), api.Heartbeat{Status: "online"})
		if err != nil && api.CodeOf(err) != api.CodeRateLimited {
			t.Fatal(err)
		}
		return err != nil
	}
	for n := 0; !refused(); n++ {
		if n > 5000 {
			t.Fatal("no heartbeat is refused")
		}
	}
	begin := time.Now()
	for range 100 {
		refused()
	}
	if took := time.Since(begin); took < 500*time.Millisecond {
		t.Errorf("100 more took %s, want about a second", took)
	}
}
