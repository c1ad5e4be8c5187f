package egress

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// serve takes the connections to destination i until the listener is closed, and
// waits for them to end, which they do when the listener or ctx does.
func (g *Gate) serve(ctx context.Context, l net.Listener, i int) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { l.Close() })
	var connections sync.WaitGroup
	defer connections.Wait()
	defer cancel()
	defer stop()
	for pause := time.Duration(0); ; {
		c, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			connections.Go(func() { g.carry(ctx, c, i) })
		case errors.Is(err, net.ErrClosed) || ctx.Err() != nil:
			return
		default: // out of descriptors, most likely: what is open may end
			pause = min(max(2*pause, acceptPause), maxAcceptPause)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}
}

const (
	acceptPause    = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

// carry connects the plugin's connection c to destination i, copies, and reports.
func (g *Gate) carry(ctx context.Context, c net.Conn, i int) {
	r := Connection{Destination: g.o.Destinations[i], Started: time.Now()}
	defer func() {
		c.Close()
		r.Duration = time.Since(r.Started)
		g.account(i, r)
	}()
	select {
	case g.slots <- struct{}{}:
		defer func() { <-g.slots }()
	default:
		reset(c)
		r.Outcome, r.Reason = Busy, "too many connections at a time"
		return
	}
	out, to, err := g.reach(ctx, r.Destination)
	r.Address = to
	if err != nil {
		reset(c)
		r.Outcome, r.Reason = failure(ctx, err), err.Error()
		return
	}
	defer out.Close()
	g.count(i, func(n *Count) { n.Open++; n.Connections++ })
	defer g.count(i, func(n *Count) { n.Open-- })
	p := pipe{idle: g.o.Idle}
	err = p.join(ctx, c, out)
	r.Sent, r.Received = p.sent.Load(), p.received.Load()
	switch {
	case err == nil:
		r.Outcome = Closed
	case ctx.Err() != nil:
		r.Outcome, r.Reason = Stopped, "the plugin ended"
	case errors.Is(err, errIdle):
		r.Outcome, r.Reason = IdleLimit, err.Error()
	default:
		r.Outcome, r.Reason = Broken, err.Error()
	}
	if err != nil {
		reset(c)
		reset(out)
	}
}

func failure(ctx context.Context, err error) Outcome {
	var r refusal
	switch {
	case ctx.Err() != nil:
		return Stopped
	case errors.As(err, &r):
		return Refused
	case errors.Is(err, errUnresolved):
		return Unresolved
	}
	return Unreachable
}

func (g *Gate) account(i int, r Connection) {
	g.count(i, func(n *Count) {
		n.Sent += r.Sent
		n.Received += r.Received
		switch r.Outcome {
		case Refused, Busy:
			n.Refused++
		case Unresolved, Unreachable:
			n.Failed++
		}
	})
	if g.o.Report != nil {
		g.o.Report(r)
	}
}

// reset makes Close say that the connection broke, rather than that all was said.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // of no use to a connection that is gone already
	}
}

// pipe copies between two connections.
type pipe struct {
	idle           time.Duration
	sent, received atomic.Int64
	last           atomic.Int64 // when a byte last went either way, UnixNano
}

var errIdle = errors.New("nothing was said for too long")

// bufferSize is what io.Copy uses.
const bufferSize = 32 << 10

// join copies both ways until both have ended. The first error ends both; so does the
// end of ctx.
func (p *pipe) join(ctx context.Context, plugin, out net.Conn) error {
	p.last.Store(time.Now().UnixNano())
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() {
		now := time.Now()
		_ = plugin.SetDeadline(now) // wakes whoever waits; it may be closed already
		_ = out.SetDeadline(now)
	})
	defer stop()
	var back sync.WaitGroup
	back.Go(func() {
		if err := p.copy(ctx, plugin, out, &p.received); err != nil {
			cancel(err)
		}
	})
	if err := p.copy(ctx, out, plugin, &p.sent); err != nil {
		cancel(err)
	}
	back.Wait()
	return context.Cause(ctx)
}

// copy moves bytes until src ends, and then says so to dst.
func (p *pipe) copy(ctx context.Context, dst, src net.Conn, moved *atomic.Int64) error {
	buffer := make([]byte, bufferSize)
	for {
		n, err := p.read(ctx, src, buffer)
		if n > 0 {
			if err := dst.SetWriteDeadline(time.Now().Add(p.idle)); err != nil {
				return err
			}
			if ctx.Err() != nil { // it may have ended before the deadline was set
				return ctx.Err()
			}
			written, err := dst.Write(buffer[:n])
			moved.Add(int64(written))
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = errIdle
			}
			if err != nil {
				return err
			}
			p.last.Store(time.Now().UnixNano())
		}
		switch {
		case errors.Is(err, io.EOF):
			return closeWrite(dst)
		case err != nil:
			return err
		}
	}
}

// read waits for bytes while the connection lives. That this direction is silent is
// no harm while the other is not.
func (p *pipe) read(ctx context.Context, src net.Conn, buffer []byte) (int, error) {
	for {
		last := time.Unix(0, p.last.Load())
		if time.Since(last) >= p.idle {
			return 0, errIdle
		}
		if err := src.SetReadDeadline(last.Add(p.idle)); err != nil {
			return 0, err
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		n, err := src.Read(buffer)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
	}
}

// closeWrite says that no more bytes come.
func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
