package handshake

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// Listen adds TLS to a listener, which has conf for itself from then on; its certificates come from
// GetCertificate. A handshake has so much time; failed hears of those that fail. It ends when it is
// closed and not with ctx, so that who serves it is the one to end it.
func Listen(ctx context.Context, l net.Listener, conf *tls.Config, limit time.Duration, failed func(net.Addr, error)) net.Listener {
	h := &listener{Listener: l, conf: conf, limit: limit, told: failed, turns: turns(), wanted: make(chan func()), ready: make(chan net.Conn), failed: make(chan error)}
	h.running, h.end = context.WithCancel(context.WithoutCancel(ctx))
	conf.GetCertificate = h.signing(conf.GetCertificate)
	return h
}

// listener accepts connections whose handshake is over. Each has a goroutine for it, which ends
// with it: cryptography takes a deep stack, that the goroutine of a connection would keep as long
// as the client is there.
type listener struct {
	net.Listener
	conf    *tls.Config
	limit   time.Duration
	told    func(net.Addr, error)
	turns   chan struct{}
	wanted  chan func() // signatures
	begin   sync.Once
	ready   chan net.Conn
	failed  chan error
	running context.Context // until Close
	end     context.CancelFunc
}

func (h *listener) Accept() (net.Conn, error) {
	h.begin.Do(func() {
		for range cap(h.turns) {
			go h.sign()
		}
		go h.run()
	})
	select {
	case c := <-h.ready:
		return c, nil
	case err := <-h.failed:
		return nil, err
	case <-h.running.Done():
		return nil, net.ErrClosed
	}
}

func (h *listener) run() {
	for h.running.Err() == nil {
		c, err := h.Listener.Accept()
		if err == nil {
			go h.shake(c)
			continue
		}
		select {
		case h.failed <- err:
		case <-h.running.Done():
		}
	}
}

func (h *listener) shake(c net.Conn) {
	ctx, cancel := context.WithTimeout(h.running, h.limit)
	defer cancel()
	s := &shaking{Conn: c, turns: h.turns, ended: ctx.Done()}
	t := tls.Server(s, h.conf)
	// The connection keeps the error and gives it to whom asks next.
	err := t.HandshakeContext(ctx)
	s.over()
	if err != nil && h.running.Err() == nil {
		h.told(c.RemoteAddr(), err)
	}
	select {
	case h.ready <- t:
	case <-h.running.Done():
		t.Close()
	}
}

func (h *listener) Close() error {
	h.end()
	return h.Listener.Close()
}
