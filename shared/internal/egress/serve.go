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
// waits for them to end: when ctx does, or what was sent before is delivered.
func (g *Gate) serve(ctx context.Context, l net.Listener, i int) {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	var connections sync.WaitGroup
	defer connections.Wait()
	here := listener{l, i}
	defer g.open(here)()
	defer stop()
	for pause := time.Duration(0); ; {
		c, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			ctx, f := g.begin(ctx, i)
			connections.Go(func() { g.carry(ctx, c, f) })
		case errors.Is(err, net.ErrClosed) || ctx.Err() != nil:
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			g.pass(here)
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

// carry connects the plugin's connection c to its destination, copies, and reports.
func (g *Gate) carry(ctx context.Context, c net.Conn, f *flow) {
	r := Connection{Destination: g.o.Destinations[f.destination], Started: time.Now()}
	defer func() {
		c.Close()
		r.Duration = time.Since(r.Started)
		g.finish(f, r)
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
	g.reached(f, to)
	err = f.join(ctx, c, out)
	r.Sent, r.Received = f.sent.Load(), f.received.Load()
	r.Outcome, r.Reason = ending(ctx, err)
	if err != nil {
		reset(c)
	}
	if err != nil && !f.told() { // what was told and waits to be sent would be lost
		reset(out)
	}
}

// ending is how a connection ended that reached its destination.
func ending(ctx context.Context, err error) (Outcome, string) {
	switch {
	case err == nil:
		return Closed, ""
	case ctx.Err() != nil:
		return Stopped, errForsaken.Error()
	case errors.Is(err, errIdle):
		return IdleLimit, err.Error()
	}
	return Broken, err.Error()
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
func (f *flow) join(ctx context.Context, plugin, out net.Conn) error {
	f.last.Store(time.Now().UnixNano())
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() {
		now := time.Now()
		_ = plugin.SetDeadline(now) // wakes whoever waits; it may be closed already
		_ = out.SetDeadline(now)
	})
	defer stop()
	var back sync.WaitGroup
	var failed error
	back.Go(func() {
		if failed = f.copy(ctx, plugin, out, &f.received); failed != nil {
			cancel(failed)
		}
	})
	err := f.copy(ctx, out, plugin, &f.sent)
	if err != nil {
		cancel(err)
	} else {
		f.delivered()
	}
	back.Wait()
	if err == nil && failed == nil {
		return nil
	}
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
			moved.Add(int64(n)) // before: who has the answer to it may ask for the count
			written, err := dst.Write(buffer[:n])
			moved.Add(int64(written - n))
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
