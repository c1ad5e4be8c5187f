package api

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	// dialTimeout and handshakeTimeout bound a connection that a firewall swallows,
	// in less than the time of a call, so that the error can say which it was.
	dialTimeout      = 10 * time.Second
	handshakeTimeout = 10 * time.Second

	// deadAfter is when the kernel finds a connection that died without a word (a cable, a
	// forgetful NAT); a long poll would wait on it for a minute and more.
	deadAfter = 30 * time.Second

	// pingAfter and pingTimeout find one that died behind a proxy, whose kernel answers ours, and
	// keep one that only waits from being forgotten: proxies do that after 60 s at the earliest.
	// A ping costs the server a fifth of what a poll costs.
	pingAfter   = 50 * time.Second
	pingTimeout = 15 * time.Second

	// noTable keeps the server from having to remember our headers, in bytes: it does so for
	// each of thousands of agents that wait, and one of them sends few.
	noTable = 1

	// verdictTimeout bounds the wait for an alert that is sent at once or not at all.
	verdictTimeout = 2 * time.Second

	// idleTimeout ends connections that Reconnect left behind. Ours is used at every
	// heartbeat, which is every 30 s by default.
	idleTimeout = 90 * time.Second

	// maxHeaderBytes bounds the header of an answer. Ours takes 300 bytes.
	maxHeaderBytes = 32 << 10
)

// link is how a client reaches the server until the next Reconnect.
type link struct {
	http *http.Client
	tls  *tls.Config
}

// dialer makes connections that the kernel asks after half of deadAfter whether they live.
var dialer = net.Dialer{
	Timeout: dialTimeout, Control: giveUpUnanswered(deadAfter),
	KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: deadAfter / 2, Interval: deadAfter / 6, Count: 3},
}

// newLink makes a link that follows no redirect, keeps no cookie and connects anew
// at first use. There is no time limit on an answer's header, which a long poll would
// run into: the context of each call has one.
func newLink(t *tls.Config, pingAfter, pingTimeout time.Duration) *link {
	t = t.Clone()
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		OnProxyConnectResponse: checkProxy,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        t,
		TLSHandshakeTimeout:    handshakeTimeout,
		Protocols:              &protocols,
		HTTP2: &http.HTTP2Config{
			StrictMaxConcurrentRequests: true, // wait for a stream rather than open a second connection
			MaxEncoderHeaderTableSize:   noTable,
			SendPingTimeout:             pingAfter,
			PingTimeout:                 pingTimeout,
			WriteByteTimeout:            pingTimeout,
		},
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DisableCompression:     true, // answers are small; a compressed one is not the Agent API's
	}
	noRedirect := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &link{&http.Client{Transport: transport, CheckRedirect: noRedirect}, t}
}

// late is a link of the same settings that offers [ProtocolLate].
func (l *link) late() *link {
	t := l.tls.Clone()
	t.NextProtos = []string{ProtocolLate, "http/1.1"}
	out := newLink(t, pingAfter, pingTimeout)
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	out.http.Transport.(*http.Transport).Protocols = &protocols
	return out
}

// proxyRefusal is a proxy's answer to CONNECT that is not 200.
type proxyRefusal struct {
	proxy  *url.URL
	status int
}

func (e *proxyRefusal) Error() string { return "proxy answered " + statusText(e.status) }

func checkProxy(_ context.Context, proxy *url.URL, _ *http.Request, answer *http.Response) error {
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	return &proxyRefusal{proxy, answer.StatusCode}
}

// proxyFor returns the proxy that r goes through, or nil.
func proxyFor(r *http.Request) *url.URL {
	proxy, err := http.ProxyFromEnvironment(r)
	if err != nil {
		return nil // net/http says so itself
	}
	return proxy
}

// verdict asks the server why it broke a connection off. With TLS 1.3 it judges our
// certificate when the handshake is over for us, and its alert races with what we
// send; the alert loses now and then. Here nothing is sent, so it arrives.
func (l *link) verdict(ctx context.Context, target *url.URL) error {
	ctx, cancel := context.WithTimeout(ctx, verdictTimeout)
	defer cancel()
	conf := l.tls.Clone()
	conf.NextProtos = []string{"h2", "http/1.1"} // with HTTP/2 the server speaks first, when it is content
	port := target.Port()
	if port == "" {
		port = "443"
	}
	conn, err := (&tls.Dialer{Config: conf}).DialContext(ctx, "tcp", net.JoinHostPort(target.Hostname(), port))
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetReadDeadline(deadline); err != nil {
			return err
		}
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}
