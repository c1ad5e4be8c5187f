package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
)

// rates are how likely harm is for each call, or each step.
type rates struct {
	loss, double, delay float64 // of a message on its way
	kill                float64 // of the agent, at a step of its own
}

// link carries the calls of one life of an agent.
type link struct {
	life *life
	mu   sync.Mutex // guards sent
	sent map[string]int
}

// maxBody is more than any call or answer has.
const maxBody = 4 << 20

// errCut is of a connection that broke: the server may have the request or not.
var errCut = io.ErrUnexpectedEOF

func refused() error { return &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED} }

// RoundTrip is one call: the request's way, the server's answer, and its way back, on each of
// which it may be lost, late, or doubled, and its sender die.
func (l *link) RoundTrip(r *http.Request) (*http.Response, error) {
	w, ctx := l.life.w, r.Context()
	body, err := limits.ReadAll(r.Body, maxBody)
	if err != nil {
		return nil, err
	}
	w.learn(body)
	name := l.life.name() + " " + l.short(r)
	l.mu.Lock()
	l.sent[name]++
	d := w.draw("call", name, l.sent[name])
	l.mu.Unlock()
	if l.dies(d, name+", before") {
		return nil, errCut
	}
	if !sleep(ctx, w.latency(d)) {
		return nil, ctx.Err()
	}
	if err := l.lost(ctx, d); err != nil {
		l.note(name, "request lost")
		return nil, err
	}
	server := w.up()
	if server == nil {
		l.note(name, "refused")
		return nil, refused()
	}
	if w.harm(d, w.rates.double) {
		w.again(server, l.life.node, r, body, span(d, time.Millisecond, 6*lease))
	}
	answer := w.serve(ctx, server, l.life.node, r, body, chance(d, 0.5))
	if answer == nil || server.ctx.Err() != nil {
		l.note(name, "cut")
		return nil, errors.Join(ctx.Err(), errCut)
	}
	if l.dies(d, name+", answered") {
		return nil, errCut
	}
	if !sleep(ctx, w.latency(d)) {
		return nil, ctx.Err()
	}
	if err := l.lost(ctx, d); err != nil {
		l.note(name, fmt.Sprint("answer lost: ", answer.status))
		return nil, err
	}
	l.note(name, fmt.Sprint(answer.status))
	l.life.received(answer)
	return answer.response(r), nil
}

// short is the path without what is the same in all, and ids by their labels.
func (l *link) short(r *http.Request) string {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	for n, p := range parts {
		if len(p) == 26 { // a ULID
			parts[n] = l.life.w.label(p)
		}
	}
	return r.Method + " " + strings.Join(parts[min(3, len(parts)-1):], "/")
}

// dies kills the agent at a step on the network.
func (l *link) dies(d *rand.Rand, during string) bool {
	if l.life.w.harm(d, l.life.w.rates.kill) {
		l.life.kill("at " + during)
	}
	return l.life.dead.Load()
}

// note traces what becomes of a call. What the dead do is no part of the world.
func (l *link) note(name, what string) {
	if !l.life.dead.Load() {
		l.life.w.note("%s: %s", name, what)
	}
}

// lost is the error of a message that does not arrive, or nil: as a connection that is reset,
// or as silence until the caller has enough of it.
func (l *link) lost(ctx context.Context, d *rand.Rand) error {
	cut := l.life.node.cut.Load()
	if !l.life.w.harm(d, l.life.w.rates.loss) && !cut {
		return nil
	}
	if chance(d, 0.5) {
		return refused()
	}
	<-ctx.Done()
	return ctx.Err()
}

// harm draws always, so that what follows is the same, and harms nobody when all is calm.
func (w *world) harm(d *rand.Rand, p float64) bool { return chance(d, p) && !w.calm.Load() }

// latency of one way; now and then it is longer than a lease.
func (w *world) latency(d *rand.Rand) time.Duration {
	usual, long := span(d, 100*time.Microsecond, 20*time.Millisecond), span(d, time.Second, 2*lease)
	if w.harm(d, w.rates.delay) {
		return long
	}
	return usual
}

// again delivers a copy of a request later, whose answer nobody gets.
func (w *world) again(server *serverLife, n *node, r *http.Request, body []byte, later time.Duration) {
	w.living.Go(func() {
		if !sleep(server.ctx, later) || w.calm.Load() {
			return
		}
		if server = w.up(); server != nil {
			w.note("%s: the request of %s arrives again", n.id, r.Method)
			w.serve(server.ctx, server, n, r, body, false)
		}
	})
}

// serve has the server answer. nil: the caller went away before; the server then goes on with
// it, if it stays, as it does where nobody tells it.
func (w *world) serve(ctx context.Context, server *serverLife, n *node, r *http.Request, body []byte, stays bool) *answer {
	serving, cancel := context.WithCancel(server.ctx)
	request := r.Clone(serving)
	request.Body = io.NopCloser(bytes.NewReader(body))
	request.ContentLength = int64(len(body))
	a := &answer{header: http.Header{}, done: make(chan struct{})}
	w.living.Go(func() {
		defer close(a.done)
		defer cancel()
		defer func() {
			if p := recover(); p != nil && p != http.ErrAbortHandler {
				panic(p)
			}
		}()
		server.Serve(a, request, w.Origin.certs[n.id])
	})
	select {
	case <-a.done:
		return a
	case <-ctx.Done():
		if !stays {
			cancel()
		}
		return nil
	}
}

// answer is what a handler writes.
type answer struct {
	status int
	header http.Header
	body   bytes.Buffer
	done   chan struct{}
}

func (a *answer) Header() http.Header              { return a.header }
func (a *answer) SetReadDeadline(time.Time) error  { return nil }
func (a *answer) SetWriteDeadline(time.Time) error { return nil }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

func (a *answer) response(r *http.Request) *http.Response {
	return &http.Response{
		StatusCode: a.status, Status: http.StatusText(a.status), Proto: "HTTP/2.0", ProtoMajor: 2, Header: a.header,
		Body: io.NopCloser(bytes.NewReader(a.body.Bytes())), ContentLength: int64(a.body.Len()), Request: r,
	}
}

// received notes when offers reached their agent.
func (l *life) received(a *answer) {
	var poll api.PollResponse
	if a.status != http.StatusOK || limits.UnmarshalJSON(a.body.Bytes(), &poll) != nil {
		return
	}
	for _, i := range poll.Offers() {
		l.w.call(string(i.ID), fmt.Sprint(l.w.label(string(i.Context.EventID)), "/", i.Context.Workflow, "/", i.Context.Step))
		l.w.history.offer(i)
	}
}

// learn gives the events of a batch the names that they have in the trace.
func (w *world) learn(body []byte) {
	var b api.EventBatch
	if limits.UnmarshalJSON(body, &b) != nil {
		return
	}
	for _, e := range b.Events {
		w.call(string(e.ID), "event "+string(e.Data["n"]))
	}
}
