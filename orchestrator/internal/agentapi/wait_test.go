package agentapi

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
)

// agentsPing is after how long without a word an agent pings: shared/pkg/api.
const agentsPing = 50 * time.Second

// Agents ask for what the server gives.
func TestAgentsAskForTheLongestPoll(t *testing.T) {
	for _, typ := range []api.AgentType{api.Sensor, api.Action} {
		c := config.Default(typ)
		if got := c.PollWait(); got != maxWait {
			t.Errorf("a %s agent asks for %s by default, and gets %s at most", typ, got, maxWait)
		}
	}
	if maxWait%time.Second != 0 || pingAfter <= agentsPing || idleTimeout <= maxWait || engine.HeardWithin < 2*agentsPing {
		t.Errorf("polls of %s, of %s without a word, pings after %s and connections of %s do not go together", maxWait, engine.HeardWithin, pingAfter, idleTimeout)
	}
}

// The pings of an agent that waits are words of it, for which its poll is held, where it shows a
// certificate.
func TestPingsAreWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		calls := make(chan context.Context, 1)
		server := Server(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			calls <- r.Context()
			<-r.Context().Done()
		}), slog.New(slog.DiscardHandler))
		server.Protocols = new(http.Protocols)
		server.Protocols.SetUnencryptedHTTP2(true)
		l := one(make(chan net.Conn, 1))
		l <- &connection{Conn: ours, known: func() {}}
		go func() { _ = server.Serve(l) }()
		defer server.Close()
		client := &http.Transport{
			DialContext: func(context.Context, string, string) (net.Conn, error) { return theirs, nil },
			Protocols:   server.Protocols, HTTP2: &http.HTTP2Config{SendPingTimeout: agentsPing},
		}
		go func() {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://server/", nil)
			if err != nil {
				t.Error(err)
				return
			}
			if answer, err := client.RoundTrip(request); err == nil {
				answer.Body.Close()
			}
		}()
		ctx := <-calls
		if silence(ctx, route.Principal{Bearer: true}) != nil {
			t.Error("the connection of an agent with a token counts, which may be a proxy's")
		}
		silent := silence(ctx, route.Principal{})
		if silent == nil {
			t.Fatal("nobody knows of the agent's connection")
		}
		for range maxWait / time.Second {
			time.Sleep(time.Second)
			if got := silent(); got > agentsPing+time.Second {
				t.Fatalf("the agent has said nothing for %s, and pings each %s", got, agentsPing)
			}
		}
		theirs.Close()
		<-ctx.Done()
		time.Sleep(agentsPing)
		if got := silent(); got < agentsPing {
			t.Errorf("%s after its end the agent has said something %s ago", agentsPing, got)
		}
	})
}

// one is a listener with one connection.
type one chan net.Conn

func (l one) Accept() (net.Conn, error) {
	if c, open := <-l; open {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (l one) Close() error   { close(l); return nil }
func (l one) Addr() net.Addr { return &net.UnixAddr{} }
