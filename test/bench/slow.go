package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"time"
)

// slow holds many connections open that send nothing of use, from many addresses.
type slow struct {
	url   string
	trust *tls.Config
	want  int           // connections
	over  time.Duration // the first half of which they take to come

	mu      sync.Mutex
	opened  int
	most    int // open at once
	open    int // now
	longest map[string]time.Duration
	address int // connections of the greedy address that were open at once
	err     error
}

// waysToBeSlow are begun connections, by what they do then. Each ends when the server ends it.
var waysToBeSlow = []struct {
	name   string
	secure bool
	first  string // sent at once
	drip   string // sent again and again, a byte a second
}{
	{"silent", false, "", ""},
	{"half a handshake", false, "\x16\x03\x01\x02\x00\x01\x00", "\x00"},
	{"silent after the handshake", true, "", ""},
	{"slow header", true, "POST /agents/v1/enroll HTTP/1.1\r\nHost: x\r\nX-Slow: ", "x"},
	{"slow body", true, "POST /agents/v1/enroll HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n{", " "},
	{"silent after an answer", true, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", ""},
}

const perAddress = 50 // connections of each address; one more address tries twice its share

// hold opens the connections and keeps them until ctx ends.
func (s *slow) hold(ctx context.Context) error {
	s.longest = map[string]time.Duration{}
	var all sync.WaitGroup
	defer all.Wait()
	pause := s.over / 2 / time.Duration(s.want)
	next := time.Now()
	for n := 0; n < s.want && sleep(ctx, time.Until(next)) == nil; n++ {
		next = next.Add(pause)
		all.Go(func() { s.one(ctx, n, fmt.Sprintf("127.0.2.%d", 1+n/perAddress), nil) })
	}
	var greedy counter
	for n := range 2 * mostOfAddress {
		all.Go(func() { s.one(ctx, n*len(waysToBeSlow), "127.0.3.1", &greedy) })
	}
	_ = sleep(ctx, 2*time.Second)
	s.address = greedy.now()
	<-ctx.Done()
	return s.err
}

// counter counts what is open.
type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) add(n int) {
	if c != nil {
		c.mu.Lock()
		c.n += n
		c.mu.Unlock()
	}
}

func (c *counter) now() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// one is one connection, from its beginning until the server ends it.
func (s *slow) one(ctx context.Context, n int, from string, open *counter) {
	u, err := url.Parse(s.url)
	if err != nil {
		s.fail(err)
		return
	}
	way := waysToBeSlow[n%len(waysToBeSlow)]
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	raw, err := dialer.DialContext(ctx, "tcp", u.Host)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		s.fail(err)
		return
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	begin := time.Now()
	s.count(1)
	open.add(1)
	defer open.add(-1)
	defer func() {
		s.count(-1)
		if ctx.Err() == nil || time.Since(begin) > mostSlowLife*time.Second {
			s.lived(way.name, time.Since(begin))
		}
	}()
	conn := raw
	if way.secure {
		secure := tls.Client(raw, s.trust)
		if secure.HandshakeContext(ctx) != nil {
			return
		}
		conn = secure
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, conn)
	}()
	if _, err := io.WriteString(conn, way.first); err != nil {
		return
	}
	for tick := time.NewTicker(time.Second); ; {
		select {
		case <-ended:
			tick.Stop()
			return
		case <-tick.C:
			if _, err := io.WriteString(conn, way.drip); err != nil {
				tick.Stop()
				return
			}
		}
	}
}

func (s *slow) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open += n
	s.most = max(s.most, s.open)
	s.opened += max(n, 0)
}

func (s *slow) lived(way string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.longest[way] = max(s.longest[way], d)
}

func (s *slow) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = fmt.Errorf("slow connection: %w", err)
	}
}

// figures tells how many there were and how long the server bore them.
func (s *slow) figures() []Figure {
	out := []Figure{
		{"slow connections that came", float64(s.opened), "", 0, float64(s.want)},
		{"of them open at once", float64(s.most), "", 0, 0},
		{fmt.Sprintf("open at once of an address that opens %d", 2*mostOfAddress), float64(s.address), "", mostOfAddress, 0},
	}
	for _, way := range waysToBeSlow {
		out = append(out, Figure{"longest life: " + way.name, s.longest[way.name].Seconds(), "s", mostSlowLife, 0})
	}
	return out
}
