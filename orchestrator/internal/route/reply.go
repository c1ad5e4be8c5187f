package route

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// errClientGone says that an answer could not be delivered: there is nobody left to
// tell, and nothing for an operator to do.
var errClientGone = errors.New("client went away")

// reply writes exactly one answer.
type reply struct {
	w       http.ResponseWriter
	control *http.ResponseController
	id      string // in the header, in an error's body and in the log
	begun   bool
}

func newReply(w http.ResponseWriter) *reply {
	r := &reply{w: w, control: http.NewResponseController(w), id: rand.Text()}
	w.Header().Set("X-Request-Id", r.id)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	return r
}

// answer writes what a handler returned.
func (r *reply) answer(ctx context.Context, request *http.Request, v any) error {
	switch v := v.(type) {
	case Stream:
		return r.stream(ctx, v)
	case *File:
		return r.file(request, v)
	}
	return r.value(v)
}

// value answers 200 with v, or 204 without a body when v is nil.
func (r *reply) value(v any) error {
	if v == nil {
		r.begun = true
		r.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return r.document(http.StatusOK, v)
}

// fail answers with an error. Once an answer has begun it can only be cut off, so
// that the client does not take what it has for the whole.
func (r *reply) fail(e *api.Error) {
	if r.begun {
		panic(http.ErrAbortHandler)
	}
	e = &api.Error{Code: e.Code, Message: e.Message, Details: e.Details, RequestID: r.id, HTTPStatus: e.HTTPStatus, RetryAfter: e.RetryAfter}
	if e.RetryAfter > 0 {
		seconds := int((e.RetryAfter + time.Second - 1) / time.Second)
		r.w.Header().Set("Retry-After", strconv.Itoa(seconds))
	}
	if err := r.document(e.Status(), api.ErrorBody{Error: e}); err != nil {
		panic(http.ErrAbortHandler) // breaks the connection, which says at least that much
	}
}

func (r *reply) document(status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	if err := r.control.SetWriteDeadline(time.Now().Add(transferLimit)); err != nil {
		return err
	}
	r.w.Header().Set("Content-Type", "application/json")
	r.w.Header().Set("Content-Length", strconv.Itoa(len(b)+1))
	r.begun = true
	r.w.WriteHeader(status)
	if _, err = r.w.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("%w: %w", errClientGone, err)
	}
	return nil
}

// stream answers 200 with one line of JSON a value, each sent at once. A reader
// that does not take a line within transferLimit is cut off.
func (r *reply) stream(ctx context.Context, s Stream) error {
	r.w.Header().Set("Content-Type", "application/x-ndjson")
	r.begun = true
	r.w.WriteHeader(http.StatusOK)
	enc := json.NewEncoder(r.w)
	emit := func(v any) error {
		err := r.control.SetWriteDeadline(time.Now().Add(transferLimit))
		if err == nil && v != nil {
			err = enc.Encode(v)
		}
		if err == nil {
			err = r.control.Flush()
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errClientGone, err)
		}
		return nil
	}
	if err := emit(nil); err != nil { // the header, so that a follower knows it is connected
		return err
	}
	return s(ctx, emit)
}
