package route

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// Held is an answer that has to be waited for, which a handler of a row that holds requests
// may return. So the request waits in a goroutine with a small stack, as thousands do at a time.
type Held interface {
	// Await returns when there may be something to say, at the latest when ctx is done.
	Await(ctx context.Context)
	// Answer is the handler's, or the Held itself to wait on.
	Answer(ctx context.Context) (any, error)
	// End is called once, after which the others are not.
	End()
}

// exchange is one request on its way to its answer.
type exchange struct {
	*endpoint
	reply *reply
	r     *http.Request
	ctx   context.Context // of the admitted caller
	begin time.Time
	undo  []func() // what ends with it, the last first
	held  Held     // that is waited for; nil: nothing is
	abort bool     // the connection is to be broken off
	stack string   // of a panic
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{endpoint: e, r: r, begin: time.Now()}
	x.apart(func() {
		x.reply = newReply(w)
		// Agents ask for news, which they would not get if it were no other than before; and they ask often.
		x.reply.tagged = e.row.Listener != Agents && r.Method == http.MethodGet
		x.take(x.start)
	})
	for x.held != nil {
		x.held.Await(x.ctx)
		x.apart(func() { x.take(func() (any, error) { return x.held.Answer(x.ctx) }) })
	}
	if x.abort {
		panic(http.ErrAbortHandler)
	}
}

// apart runs f, for rows that hold requests in a goroutine whose stack ends with it.
func (x *exchange) apart(f func()) {
	if !x.row.Holds {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

// take takes what f returns as the answer, unless that is held. A panic is answered as well.
func (x *exchange) take(f func() (any, error)) {
	outcome, over := "ok", true
	panicked := x.guard(func() {
		v, err := f()
		if held, is := v.(Held); is && err == nil {
			x.held, over = held, false
			return
		}
		outcome = x.settle(v, err)
	})
	if panicked != nil {
		x.log().ErrorContext(x.r.Context(), "panic", "value", fmt.Sprint(panicked), "stack", x.stack)
		outcome = string(internal.Code)
		x.abort = x.guard(func() { x.reply.fail(internal) }) != nil || x.abort
	}
	if over {
		x.end(outcome)
	}
}

// guard runs f and returns what it panicked with, unless that is to break the connection off.
// Nothing may get past it: in a goroutine of ours that would end the server.
func (x *exchange) guard(f func()) (panicked any) {
	defer func() {
		switch p := recover(); {
		case p == http.ErrAbortHandler:
			x.abort = true
		case p != nil:
			panicked, x.stack = p, string(debug.Stack())
		}
	}()
	f()
	return nil
}

// settle writes the answer or what failed, and says how the request ended.
func (x *exchange) settle(v any, err error) (outcome string) {
	switch err := x.answer(v, err); {
	case err == nil:
		return "ok"
	case errors.Is(err, errClientGone):
		return "client_gone"
	default:
		answer := x.public(x.r.Context(), x.log, err)
		x.fail(x.reply, x.r, answer)
		return string(answer.Code)
	}
}

// log is made when it is needed: a poll would hold it for a minute.
func (x *exchange) log() *slog.Logger {
	return x.site.log.With("route", x.row.ID.String(), "request", x.reply.id)
}

// end gives back what the request took.
func (x *exchange) end(outcome string) {
	if x.held != nil {
		x.held.End()
		x.held = nil
	}
	for n := len(x.undo) - 1; n >= 0; n-- {
		x.undo[n]()
	}
	x.undo = nil
	x.site.observe(x.row.ID.String(), outcome, time.Since(x.begin))
}

// start lets the request in and has it handled.
func (x *exchange) start() (any, error) {
	ctx, c, release, err := x.admit(x.r)
	if err != nil {
		x.stranger(err)
		return nil, err
	}
	x.ctx, x.undo = ctx, append(x.undo, release)
	if refusal := x.authorize(c); refusal != nil {
		if x.site.gate != nil && c.Principal.Agent != "" {
			x.site.gate.Refused(ctx, c.Principal, x.row, refusal)
		}
		return nil, refusal
	}
	who := caller(c.Principal, x.r)
	leave, err := x.site.enter(x.row, who, x.begin)
	if err != nil {
		if x.site.listener == Agents && !x.site.proxied(x.r) {
			x.site.tooSoon(x.r.Context())
		}
		return nil, err
	}
	x.undo = append(x.undo, leave)
	if x.row.MaxUpload > 0 {
		c.Upload, err = newUpload(x.reply, x.r, x.row)
	} else {
		c.Body, err = readBody(x.reply, x.r, x.row)
	}
	if err != nil {
		return nil, err
	}
	v, err := x.handle(ctx, c)
	x.site.pace.left(x.row, who, x.begin, err)
	if c.Principal.Kind == EnrolmentToken {
		x.stranger(err)
	}
	return v, err
}

// enter counts a request of a caller, unless it comes too soon or beside too many others. leave is
// to be called when it is done.
func (s *site) enter(row Row, caller string, now time.Time) (leave func(), err error) {
	if err := s.pace.enter(row, caller, now); err != nil {
		return nil, err
	}
	return s.flight.enter(row, caller)
}

// stranger tells of a caller who shows nothing that lets anybody in. One in quarantine is known.
func (x *exchange) stranger(err error) {
	switch code := api.CodeOf(err); code {
	case api.CodeNoCertificate, api.CodeBadCertificate, api.CodeBadToken, api.CodeRevoked:
		x.site.refused(string(code), x.r.RemoteAddr)
	}
}

// answer writes what the handler returned. Where admission was withdrawn meanwhile, that is
// what the caller is told.
func (x *exchange) answer(v any, err error) error {
	if err == nil {
		err = x.reply.answer(x.ctx, x.r, v)
	}
	var withdrawn *api.Error
	if err != nil && x.ctx != nil && errors.As(context.Cause(x.ctx), &withdrawn) {
		return withdrawn
	}
	return err
}
