package handshake

import (
	"context"
	"net"
	"runtime"
)

// turns are how many handshakes of a listener are computed at once: half of the processors are
// left for who is known, however many come. A handshake takes a millisecond of one.
func turns() chan struct{} { return make(chan struct{}, max(1, runtime.NumCPU()/2)) }

// shaking is a connection that gives the turn back while it waits for the client, until over.
type shaking struct {
	net.Conn
	turns chan struct{}
	ended <-chan struct{} // the handshake's time
	mine  bool            // a turn
	done  bool
}

// NetConn is the connection as it was accepted, as of a [crypto/tls.Conn].
func (s *shaking) NetConn() net.Conn { return s.Conn }

func (s *shaking) Read(b []byte) (int, error) { return s.waiting(s.Conn.Read, b) }

func (s *shaking) Write(b []byte) (int, error) { return s.waiting(s.Conn.Write, b) }

// waiting has no turn while it calls f, and one after it.
func (s *shaking) waiting(f func([]byte) (int, error), b []byte) (int, error) {
	if s.done {
		return f(b)
	}
	s.leave()
	n, err := f(b)
	select {
	case s.turns <- struct{}{}:
		s.mine = true
		return n, err
	case <-s.ended:
		return n, context.DeadlineExceeded
	}
}

func (s *shaking) leave() {
	if s.mine {
		s.mine = false
		<-s.turns
	}
}

// over is called by who did the handshake, before anybody else has the connection.
func (s *shaking) over() {
	s.leave()
	s.done = true
}
