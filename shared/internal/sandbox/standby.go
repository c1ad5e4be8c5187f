package sandbox

import (
	"context"
	"errors"
	"time"
)

// beginning is what an adopted process is held to from when it begins.
type beginning struct {
	ctx   context.Context
	limit time.Duration
	asked <-chan struct{}
}

// Begin has an adopted process watched from now on, with a limit for its time, which runs from
// when asked is closed. It lives no longer than ctx. It is called once at most. The error says
// why it may not begin; then it still stands by.
func (p *Process) Begin(ctx context.Context, limit time.Duration, asked <-chan struct{}) error {
	if err := p.begin(); err != nil {
		return err
	}
	p.begins <- beginning{ctx, limit, asked}
	return nil
}

// standBy is the life of an adopted process until it begins.
func (p *Process) standBy(t family, s *Spec) {
	ended := awaited(t)
	select {
	case b := <-p.begins:
		s.Limits.Time = b.limit
		p.own(b.ctx, t, s, store(p.pid, t, s), ended, b.asked)
		return
	case <-ended:
	case <-p.kills:
	}
	defer close(p.done)
	p.err = t.kill(ended)
	end := t.reap(ended)
	p.exit, p.err = end.exit, errors.Join(p.err, end.err)
}
