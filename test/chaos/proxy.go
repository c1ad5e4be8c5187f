package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// weather is what a proxy does with the connections through it.
type weather string

const (
	clear  weather = "clear"
	reset  weather = "reset"  // every connection is reset, the ones that are there too
	silent weather = "silent" // bytes are held both ways: nobody learns anything
	deaf   weather = "deaf"   // requests arrive, answers vanish; such a connection is reset in the end
	slow   weather = "slow"   // each piece waits a while
)

const (
	slowness = 100 * time.Millisecond
	piece    = 32 << 10 // as much as io.Copy takes at once
	dialing  = 2 * time.Second
)

// proxy stands between an agent and the servers, on a port of its own. It carries bytes
// and knows nothing of TLS.
type proxy struct {
	listener net.Listener
	servers  []string // each connection goes to any of them that takes it

	mu      sync.Mutex // guards the fields below
	now     weather
	changed chan struct{} // closed at the next change
	open    map[*pair]bool
}

// pair is one connection and its other half. spoilt says that bytes of it were lost.
type pair struct {
	inner, outer net.Conn
	spoilt       bool
}

func (c *pair) reset() {
	for _, side := range []net.Conn{c.inner, c.outer} {
		if tcp, ok := side.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // RST instead of FIN, as a host that is gone
		}
		side.Close()
	}
}

func newProxy(servers []string) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the fault proxy: %w", err)
	}
	p := &proxy{listener: l, servers: servers, now: clear, changed: make(chan struct{}), open: map[*pair]bool{}}
	go p.accept()
	return p, nil
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) close() {
	p.listener.Close()
	p.set(reset)
}

// set changes the weather.
func (p *proxy) set(w weather) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = w
	close(p.changed)
	p.changed = make(chan struct{})
	for c := range p.open {
		if w == reset || c.spoilt {
			c.reset()
		}
	}
}

func (p *proxy) sky() (weather, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now, p.changed
}

func (p *proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			go p.carry(conn)
		}
	}
}

// dial reaches one of the servers, beginning with any.
func (p *proxy) dial() (conn net.Conn, err error) {
	first := rand.IntN(len(p.servers))
	for i := range p.servers {
		if conn, err = net.DialTimeout("tcp", p.servers[(first+i)%len(p.servers)], dialing); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

func (p *proxy) carry(inner net.Conn) {
	now, _ := p.sky()
	outer, err := p.dial()
	c := &pair{inner: inner, outer: outer}
	if err != nil || now == reset {
		c.outer = inner
		if outer != nil {
			outer.Close()
		}
		c.reset()
		return
	}
	p.mu.Lock()
	p.open[c] = true
	p.mu.Unlock()
	done := make(chan struct{}, 2)
	go p.copy(c, outer, inner, false, done)
	go p.copy(c, inner, outer, true, done)
	<-done
	c.reset()
	<-done
	p.mu.Lock()
	delete(p.open, c)
	p.mu.Unlock()
}

// copy carries one direction; answers says that it is the server's.
func (p *proxy) copy(c *pair, to io.Writer, from io.Reader, answers bool, done chan<- struct{}) {
	defer func() { done <- struct{}{} }()
	buffer := make([]byte, piece)
	for {
		n, err := from.Read(buffer)
		if n > 0 && p.passes(c, answers) {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// passes waits until the weather lets a piece through, and is false for one that is lost.
func (p *proxy) passes(c *pair, answers bool) bool {
	for {
		now, changed := p.sky()
		switch {
		case now == silent:
			<-changed
			continue
		case now == deaf && answers:
			p.mu.Lock()
			c.spoilt = true
			p.mu.Unlock()
			return false
		case now == slow:
			time.Sleep(slowness)
		}
		return true
	}
}
