package api_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

const (
	agentURI = "spiffe://stavily/org/acme/action/web-01"
	agentID  = api.AgentID("web-01")
)

// server is a real HTTPS server of one test.
type server struct {
	url         string
	connections atomic.Int32 // accepted so far
}

// serve runs h behind conf until the test ends.
func serve(t *testing.T, conf *tls.Config, h http.Handler) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{url: "https://" + l.Addr().String()}
	srv := &http.Server{
		Handler:  h,
		ErrorLog: log.New(io.Discard, "", 0),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				s.connections.Add(1)
			}
		},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.Serve(tls.NewListener(l, conf))
	}()
	t.Cleanup(func() {
		srv.Close()
		<-done
	})
	return s
}

// stand is a CA, its server's settings and an enrolled client's.
type stand struct {
	ca     *pkitest.Authority
	server *tls.Config
	client *tls.Config
}

func newStand(t *testing.T) stand {
	ca := pkitest.New(t, "CA")
	return stand{ca, ca.ServerTLS(ca.Issue(pkitest.Server())), ca.ClientTLS(ca.Issue(pkitest.Agent(agentURI)))}
}

// dial makes a client; options may be changed before.
func dial(t *testing.T, url string, conf *tls.Config, change ...func(*api.ClientOptions)) *api.Client {
	t.Helper()
	o := api.ClientOptions{BaseURL: url, TLS: conf, Agent: agentID, Timeout: time.Minute}
	for _, f := range change {
		f(&o)
	}
	c, err := api.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdle)
	return c
}

// both serves h and makes a client for it.
func both(t *testing.T, h http.HandlerFunc, change ...func(*api.ClientOptions)) (*server, *api.Client) {
	t.Helper()
	s := newStand(t)
	srv := serve(t, s.server, h)
	return srv, dial(t, srv.url, s.client, change...)
}

func within(d time.Duration) func(*api.ClientOptions) {
	return func(o *api.ClientOptions) { o.Timeout = d }
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

var now = api.At(time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC))

// alive answers a heartbeat.
func alive(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, api.HeartbeatResponse{ServerTime: now})
}

func beat(ctx context.Context, c *api.Client) error {
	_, err := c.Heartbeat(ctx, api.Heartbeat{Timestamp: now, Status: "online"})
	return err
}
