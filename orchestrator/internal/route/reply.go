package route

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
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

	tagged    bool          // documents get an entity tag
	pingEvery time.Duration // of streams of server-sent events
}

func newReply(w http.ResponseWriter) *reply {
	r := &reply{w: w, control: http.NewResponseController(w), id: rand.Text(), pingEvery: pingEvery}
	w.Header().Set("X-Request-Id", r.id)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	return r
}

// answer writes what a handler returned.
func (r *reply) answer(ctx context.Context, request *http.Request, v any) error {
	switch v := v.(type) {
	case Stream:
		return r.stream(ctx, request, v)
	case Answer:
		if v.Next != "" {
			r.w.Header().Set("Link", "<"+nextPage(request, v.Next)+`>; rel="next"`)
		}
		return r.value(request, v.Value, v.Tag)
	case *File:
		return r.file(request, v)
	case *Document:
		return r.page(v)
	}
	return r.value(request, v, "")
}

// Answer is a value with what the header says of it.
type Answer struct {
	Value any
	Tag   string // names the state of what is shown; empty: the hash of the answer does
	Next  string // the cursor of the next page of a list; empty: there is none
}

// nextPage is the address of the page that cursor leads to.
func nextPage(request *http.Request, cursor string) string {
	query := request.URL.Query()
	query.Set("cursor", cursor)
	return request.URL.EscapedPath() + "?" + query.Encode()
}

// value answers 200 with v, 204 without a body when v is nil, or 304 when the client has it.
func (r *reply) value(request *http.Request, v any, tag string) error {
	if v == nil {
		r.begun = true
		r.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	if r.tagged {
		if tag == "" {
			sum := sha256.Sum256(b)
			tag = hex.EncodeToString(sum[:16])
		}
		r.w.Header().Set("Etag", `"`+tag+`"`)
		if Matches(request.Header.Get("If-None-Match"), tag) {
			r.begun = true
			r.w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	return r.document(http.StatusOK, b)
}

// Matches reports whether a header If-Match or If-None-Match names a tag. That one is weak
// makes no difference: proxies that compress answers make them so.
func Matches(header, tag string) bool {
	for one := range strings.SplitSeq(header, ",") {
		if one = strings.TrimPrefix(strings.TrimSpace(one), "W/"); one == "*" || one == `"`+tag+`"` {
			return true
		}
	}
	return false
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
	b, err := json.Marshal(api.ErrorBody{Error: e})
	if err == nil {
		err = r.document(e.Status(), b)
	}
	if err != nil {
		panic(http.ErrAbortHandler) // breaks the connection, which says at least that much
	}
}

func (r *reply) document(status int, b []byte) error {
	if err := r.control.SetWriteDeadline(time.Now().Add(transferLimit)); err != nil {
		return err
	}
	r.w.Header().Set("Content-Type", "application/json")
	r.w.Header().Set("Content-Length", strconv.Itoa(len(b)+1))
	r.begun = true
	r.w.WriteHeader(status)
	if _, err := r.w.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("%w: %w", errClientGone, err)
	}
	return nil
}
