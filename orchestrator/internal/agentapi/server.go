package agentapi

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stavily/agents/orchestrator/internal/handshake"
	"github.com/stavily/agents/orchestrator/internal/route"
)

// Limits of the listener.
const (
	// headerTimeout bounds the TLS handshake and the header of each request. Both fit in
	// a few packets; 5 s leaves room for two that are lost.
	headerTimeout = 5 * time.Second

	// idleTimeout is longer than the longest poll, so an agent between two requests keeps its
	// connection.
	idleTimeout = 5 * time.Minute

	// maxHeaderBytes: our header fields take less than 1 KiB, a proxy's a few more.
	maxHeaderBytes = 16 << 10

	// maxStreams is the number of requests on one HTTP/2 connection: 16 running
	// plugins with progress and result, a poll, a heartbeat and uploads.
	maxStreams = 64

	// pingAfter and pingTimeout find a client that went away without a word behind a proxy,
	// which keeps its own connection to us. Agents ping sooner, so that those that wait are not
	// pinged as well; where there is no proxy the kernel finds out sooner (keepAlive).
	pingAfter   = 75 * time.Second
	pingTimeout = 15 * time.Second

	// noTable keeps HTTP/2 from remembering the headers of answers, in bytes: they are request
	// ids for the most part, which never come again.
	noTable = 1

	// maxUnknown is how many connections of one address may be without a good certificate.
	maxUnknown = 64

	// maxUnknownLife is how long a connection may be without one, whatever it does: 5 s for the
	// handshake, and nearly as long to enrol. With the way there and back it is over in ten.
	maxUnknownLife = 9 * time.Second

	// heldFor is how long a connection is read slowly after a request on it was refused for coming
	// too soon, which is what the answer says to wait at least, and heldBytes how much is read of it
	// each heldPause: 40 kB a second, about a hundred small requests. Who goes on is held up by that,
	// as a sender by a slow line, and costs no more than this.
	heldFor   = time.Second
	heldPause = 50 * time.Millisecond
	heldBytes = 2 << 10
)

// keepAlive has the kernel find a client that went away without a word within half a minute, so
// that nothing is offered to a dead poll for long.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// Server returns the HTTP server of the agents' listener. Serve it on a listener
// made by [Listener]. The handler sets its own deadlines for bodies and answers.
func Server(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams, SendPingTimeout: pingAfter, PingTimeout: pingTimeout,
			MaxEncoderHeaderTableSize: noTable, // not for decoding: a client counts on its 4 kB until it has read our settings
		},
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ConnContext: withConnection,
	}
}

// Listener adds the cap of unknown connections for each address, and TLS, to l. It ends when it is
// closed. refused hears of who comes to nothing, and why.
func Listener(ctx context.Context, l net.Listener, conf *tls.Config, refused func(reason, from string)) net.Listener {
	c := &capped{Listener: l, unknown: map[string]int{}, refused: refused}
	return handshake.Listen(ctx, c, conf, headerTimeout, func(from net.Addr, err error) {
		refused(handshake.Reason(err), from.String())
	})
}

// capped closes connections of an address that has too many unknown ones.
type capped struct {
	net.Listener
	refused func(reason, from string)
	mu      sync.Mutex // guards unknown
	unknown map[string]int
}

func (l *capped) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetKeepAliveConfig(keepAlive) // of one that is closed already
		}
		host, _, err := net.SplitHostPort(c.RemoteAddr().String())
		if err == nil && l.enter(host) {
			return l.unknownOf(host, c), nil
		}
		l.refused(handshake.TooMany, c.RemoteAddr().String())
		c.Close()
	}
}

// unknownOf counts a connection of host that entered until it is known, and ends it if it is not in time.
func (l *capped) unknownOf(host string, c net.Conn) *connection {
	end := time.AfterFunc(maxUnknownLife, func() { c.Close() })
	return &connection{Conn: c, known: sync.OnceFunc(func() {
		end.Stop()
		l.leave(host)
	})}
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
	held  atomic.Int64 // until when it is read slowly, in ns since 1970
	left  int          // bytes before the next pause; of the one goroutine that reads
	heard atomic.Int64 // when the client said something last, in ns since started
}

// started is what connections count from, by a clock that nobody sets.
var started = time.Now()

// silence is for how long the client has said nothing.
func (c *connection) silence() time.Duration {
	return time.Since(started) - time.Duration(c.heard.Load())
}

func (c *connection) Close() error {
	c.known()
	return c.Conn.Close()
}

func (c *connection) Read(b []byte) (int, error) {
	n, err := c.read(b)
	if n > 0 {
		c.heard.Store(int64(time.Since(started)))
	}
	return n, err
}

// read is slow while the connection is held up.
func (c *connection) read(b []byte) (int, error) {
	if time.Now().UnixNano() >= c.held.Load() {
		return c.Conn.Read(b)
	}
	if c.left <= 0 {
		time.Sleep(heldPause)
		c.left = heldBytes
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

type connectionKey struct{}

func withConnection(ctx context.Context, c net.Conn) context.Context {
	for {
		over, ok := c.(interface{ NetConn() net.Conn }) // TLS, and its handshake
		if !ok {
			break
		}
		c = over.NetConn()
	}
	return context.WithValue(ctx, connectionKey{}, c)
}

// ours is the connection that ctx's request came by; nil: it is of another listener.
func ours(ctx context.Context) *connection {
	c, _ := ctx.Value(connectionKey{}).(*connection)
	return c
}

// silence tells for how long an agent has said nothing on the connection that ctx's request came by.
// It is nil for one that shows no certificate: with whom that connection is nobody knows, there may
// be a proxy between that outlives the agent.
func silence(ctx context.Context, p route.Principal) func() time.Duration {
	c := ours(ctx)
	if c == nil || p.Bearer {
		return nil
	}
	return c.silence
}

// authenticated ends the counting of the connection that ctx's request came by.
func authenticated(ctx context.Context) {
	if c := ours(ctx); c != nil {
		c.known()
	}
}

// holdUp has the connection that ctx's request came by read slowly for a time.
func holdUp(ctx context.Context) {
	if c := ours(ctx); c != nil {
		c.held.Store(time.Now().Add(heldFor).UnixNano())
	}
}
