package main

import (
	"bytes"
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
	slow   weather = "slow"   // each piece is on its way for slowness
	late   weather = "late"   // and for lateness
	narrow weather = "narrow" // each direction carries bandwidth
	// forgetful: whatever comes on a connection that is there, or begins now, vanishes both ways and for
	// ever, and neither side is told.
	forgetful weather = "forgetful"
)

const (
	slowness  = 100 * time.Millisecond
	lateness  = 5 * time.Second
	bandwidth = 1_000_000 / 8 // bytes a second
	piece     = 32 << 10      // as much as io.Copy takes at once
	underway  = 256           // pieces of one direction that are on their way at most
	dialing   = 2 * time.Second
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
	free    [2]time.Time // when the line is, to the server and back, where it is narrow
}

// pair is one connection and its other half. spoilt says that bytes of it were lost, forgotten that
// all that come will be.
type pair struct {
	inner, outer      net.Conn
	spoilt, forgotten bool
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
		c.forgotten = c.forgotten || w == forgetful
		if w == reset || c.spoilt {
			c.reset()
		}
	}
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
	outer, err := p.dial()
	if err != nil {
		(&pair{inner: inner, outer: inner}).reset()
		return
	}
	c := &pair{inner: inner, outer: outer}
	p.mu.Lock()
	p.open[c] = true
	c.forgotten = p.now == forgetful
	if p.now == reset {
		c.reset()
	}
	p.mu.Unlock()
	done := make(chan struct{}, 2)
	go p.copy(c, outer, inner, false, done)
	go p.copy(c, inner, outer, true, done)
	<-done
	<-done
	c.reset()
	p.mu.Lock()
	delete(p.open, c)
	p.mu.Unlock()
}

// ends passes the end of one direction on.
func (p *proxy) ends(c *pair, to net.Conn, err error) {
	p.mu.Lock()
	forgotten := c.forgotten
	p.mu.Unlock()
	tcp, _ := to.(*net.TCPConn)
	switch {
	case forgotten: // of which nobody is told
	case err == io.EOF && tcp != nil:
		_ = tcp.CloseWrite() // it may be gone itself
	default:
		c.reset()
	}
}

// parcel is a piece on its way, and when it is there at the earliest.
type parcel struct {
	bytes []byte
	due   time.Time
}

// copy carries one direction until it ends and all that was sent has arrived or is lost; answers
// says that it is the server's.
func (p *proxy) copy(c *pair, to, from net.Conn, answers bool, done chan<- struct{}) {
	defer func() { done <- struct{}{} }()
	way, arrived := make(chan parcel, underway), make(chan struct{})
	go func() {
		defer close(arrived)
		for one := range way {
			time.Sleep(time.Until(one.due))
			if !p.passes(c, answers) {
				continue
			}
			if _, err := to.Write(one.bytes); err != nil {
				c.reset() // so that nothing more is read
			}
		}
	}()
	buffer := make([]byte, piece)
	var err error
	for n := 0; err == nil; {
		if n, err = from.Read(buffer); n > 0 {
			way <- parcel{bytes.Clone(buffer[:n]), p.due(n, answers)}
		}
	}
	close(way)
	<-arrived
	p.ends(c, to, err)
}

// due is when n bytes that are sent now are there.
func (p *proxy) due(n int, answers bool) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	switch p.now {
	case slow:
		return now.Add(slowness)
	case late:
		return now.Add(lateness)
	case narrow:
		line := &p.free[0]
		if answers {
			line = &p.free[1]
		}
		if line.Before(now) {
			*line = now
		}
		*line = line.Add(time.Duration(n) * time.Second / bandwidth)
		return *line
	}
	return now
}

// passes waits until the weather lets a piece through, and is false for one that is lost.
func (p *proxy) passes(c *pair, answers bool) bool {
	for {
		p.mu.Lock()
		now, changed := p.now, p.changed
		lost := c.forgotten || now == deaf && answers
		c.spoilt = c.spoilt || lost && !c.forgotten
		p.mu.Unlock()
		if now != silent || lost {
			return !lost
		}
		<-changed
	}
}
