package agentsocket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/internal/ndjson"
	"github.com/stavily/agents/shared/pkg/plugin"
)

const (
	maxConnections = 16   // a plugin with more threads than that at its agent has a bug
	callRate       = 1000 // calls a second; each costs the agent about 50 µs
	callBurst      = 2000

	// writeLimit bounds how long a plugin may leave an answer unread.
	writeLimit = 30 * time.Second

	// maxPath is the longest name of a socket: sun_path has 104 bytes on macOS and
	// 108 on Linux, with a NUL at the end.
	maxPath = 103
)

// server is one socket.
type server struct {
	opts     Options
	listener *net.UnixListener
	limiter  *rate.Limiter
	slots    chan struct{} // one for each connection
}

// Place is a socket that nobody answers yet.
type Place struct {
	path     string
	own      string // directory that was made for it; empty: it is in that of who opened it
	listener *net.UnixListener
}

// Open makes a socket in dir, which must be the caller's alone and have no other, or, where its
// path would be too long, in a directory of its own in the system's place for temporary files. It
// is closed by Serve, or by Close where that is not called.
func Open(dir string) (*Place, error) {
	p := &Place{path: filepath.Join(dir, socketName)}
	if len(p.path) > maxPath {
		var err error
		if p.own, err = os.MkdirTemp("", "p"); err != nil { // mode 0700
			return nil, fmt.Errorf("make a directory for the agent socket: %w", err)
		}
		p.path = filepath.Join(p.own, socketName)
	}
	if err := p.listen(); err != nil {
		return nil, errors.Join(err, p.remove())
	}
	return p, nil
}

func (p *Place) listen() (err error) {
	if len(p.path) > maxPath {
		return fmt.Errorf("open the agent socket: the path %s has more than %d bytes: use a shorter base directory or TMPDIR", p.path, maxPath)
	}
	if p.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: p.path, Net: "unix"}); err != nil {
		return fmt.Errorf("open the agent socket: %w", err)
	}
	if err := os.Chmod(p.path, 0o600); err != nil {
		return errors.Join(fmt.Errorf("make the agent socket private: %w", err), p.listener.Close())
	}
	return nil
}

// Path is where the socket is.
func (p *Place) Path() string { return p.path }

// Close takes it away.
func (p *Place) Close() error { return errors.Join(p.listener.Close(), p.remove()) }

// remove takes away the directory that was made for it.
func (p *Place) remove() error {
	if p.own == "" {
		return nil
	}
	return os.RemoveAll(p.own)
}

// Serve calls use with the path of the socket, and answers calls until use returns, whose
// error it returns. It belongs around the life of one plugin process.
func (p *Place) Serve(ctx context.Context, o Options, use func(path string) error) error {
	defer p.Close()
	s := &server{
		opts: o, listener: p.listener,
		limiter: rate.NewLimiter(callRate, callBurst),
		slots:   make(chan struct{}, maxConnections),
	}
	ctx, cancel := context.WithCancel(ctx)
	var accepting sync.WaitGroup
	accepting.Go(func() { s.accept(ctx) })
	defer accepting.Wait()
	defer cancel()
	return use(p.path)
}

// Serve opens a socket in o.Dir and serves it.
func Serve(ctx context.Context, o Options, use func(path string) error) error {
	p, err := Open(o.Dir)
	if err != nil {
		return err
	}
	return p.Serve(ctx, o, use)
}

const socketName = "s"

// accept serves connections until ctx ends, and waits for them.
func (s *server) accept(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { s.listener.Close() })
	defer stop()
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		s.slots <- struct{}{} // with all taken, callers wait in the backlog
		conn, err := s.listener.AcceptUnix()
		if err != nil {
			<-s.slots
			if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
				return
			}
			pause(ctx) // out of descriptors: that passes
			continue
		}
		connections.Go(func() {
			defer func() { <-s.slots }()
			s.connection(ctx, conn)
		})
	}
}

func pause(ctx context.Context) {
	select {
	case <-time.After(100 * time.Millisecond):
	case <-ctx.Done():
	}
}

// connection answers the calls of one connection, in order.
func (s *server) connection(ctx context.Context, conn *net.UnixConn) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	lines := ndjson.NewReader(conn, plugin.MaxLineBytes)
	for {
		line, err := lines.Next()
		if errors.Is(err, limits.ErrTooLarge) {
			s.write(conn, tooLong)
			return
		}
		if err != nil || s.limiter.Wait(ctx) != nil {
			return
		}
		if len(line) == 0 {
			continue
		}
		if answer := s.answer(ctx, line); answer != nil && !s.write(conn, answer) {
			return
		}
	}
}

func (s *server) write(conn *net.UnixConn, answer []byte) bool {
	conn.SetWriteDeadline(time.Now().Add(writeLimit))
	_, err := conn.Write(append(answer, '\n'))
	return err == nil
}
