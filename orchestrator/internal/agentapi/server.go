package agentapi

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Limits of the listener.
const (
	// headerTimeout bounds the TLS handshake and the header of each request. Both fit in
	// a few packets; 5 s leaves room for two that are lost.
	headerTimeout = 5 * time.Second

	// idleTimeout is longer than two long polls, so an agent between two requests
	// keeps its connection.
	idleTimeout = 3 * time.Minute

	// maxHeaderBytes: our header fields take less than 1 KiB, a proxy's a few more.
	maxHeaderBytes = 16 << 10

	// maxStreams is the number of requests on one HTTP/2 connection: 16 running
	// plugins with progress and result, a poll, a heartbeat and uploads.
	maxStreams = 64

	// pingAfter and pingTimeout find a client that went away without a word, so that
	// nothing is offered to a dead poll for long.
	pingAfter   = 15 * time.Second
	pingTimeout = 15 * time.Second

	// maxUnknown is how many connections of one address may be without a good certificate.
	maxUnknown = 64
)

// Server returns the HTTP server of the agents' listener. Serve it on a listener
// made by [Listener]. The handler sets its own deadlines for bodies and answers.
func Server(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams, SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnContext:       withConnection,
	}
}

// Listener adds the cap of unknown connections for each address, and TLS, to l.
func Listener(l net.Listener, conf *tls.Config) net.Listener {
	return tls.NewListener(&capped{Listener: l, unknown: map[string]int{}}, conf)
}

// capped closes connections of an address that has too many unknown ones.
type capped struct {
	net.Listener
	mu      sync.Mutex // guards unknown
	unknown map[string]int
}

func (l *capped) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		host, _, err := net.SplitHostPort(c.RemoteAddr().String())
		if err == nil && l.enter(host) {
			return &connection{Conn: c, known: sync.OnceFunc(func() { l.leave(host) })}, nil
		}
		c.Close()
	}
}

func (l *capped) enter(host string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unknown[host] >= maxUnknown {
		return false
	}
	l.unknown[host]++
	return true
}

func (l *capped) leave(host string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unknown[host]--; l.unknown[host] == 0 {
		delete(l.unknown, host)
	}
}

// connection is one that counts as unknown until known is called, at the latest
// when it is closed.
type connection struct {
	net.Conn
	known func()
}

func (c *connection) Close() error {
	c.known()
	return c.Conn.Close()
}

type connectionKey struct{}

func withConnection(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	return context.WithValue(ctx, connectionKey{}, c)
}

// authenticated ends the counting of the connection that ctx's request came by.
func authenticated(ctx context.Context) {
	if c, ok := ctx.Value(connectionKey{}).(*connection); ok {
		c.known()
	}
}
