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

// Place is a socket that nobody answers yet, in a directory of its own.
type Place struct {
	dir      string
	listener *net.UnixListener
}

// Open makes a socket below dir. It is closed by Serve, or by Close where that is not called.
func Open(dir string) (*Place, error) {
	dir, err := makeDir(dir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, socketName)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the agent socket: %w", err), os.RemoveAll(dir))
	}
	p := &Place{dir, listener}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("make the agent socket private: %w", err), p.Close())
	}
	return p, nil
}

// Path is where the socket is.
func (p *Place) Path() string { return filepath.Join(p.dir, socketName) }

// Close takes it away.
func (p *Place) Close() error {
	return errors.Join(p.listener.Close(), os.RemoveAll(p.dir))
}

// Serve calls use with the path of the socket, and answers calls until use returns, whose
// error it returns. It belongs around the life of one plugin process.
func (p *Place) Serve(ctx context.Context, o Options, use func(path string) error) error {
	defer os.RemoveAll(p.dir)
	defer p.listener.Close()
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
	return use(p.Path())
}

// Serve opens a socket below o.Dir and serves it.
func Serve(ctx context.Context, o Options, use func(path string) error) error {
	p, err := Open(o.Dir)
	if err != nil {
		return err
	}
	return p.Serve(ctx, o, use)
}

const socketName = "s"

// makeDir makes a directory for one socket below dir or, where the path would be
// too long, in the system's place for temporary files.
func makeDir(dir string) (string, error) {
	for _, parent := range []string{dir, os.TempDir()} {
		made, err := os.MkdirTemp(parent, "p") // mode 0700
		if err != nil {
			return "", fmt.Errorf("make a directory for the agent socket: %w", err)
		}
		if len(filepath.Join(made, socketName)) <= maxPath {
			return made, nil
		}
		os.Remove(made)
	}
	return "", fmt.Errorf("open the agent socket: below %s and %s its path has more than %d bytes: use a shorter base directory or TMPDIR", dir, os.TempDir(), maxPath)
}

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
