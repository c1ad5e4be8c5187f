package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

func TestRetryable(t *testing.T) {
	for status, want := range map[int]bool{
		400: false, 401: false, 403: false, 404: false, 405: false, 409: false, 410: false, 413: false, 422: false, 431: false,
		408: true, 425: true, 429: true, 500: true, 502: true, 503: true, 504: true,
	} {
		for _, err := range []error{&api.Error{HTTPStatus: status}, &api.UnreachableError{Kind: api.KindNotStavily, HTTPStatus: status}} {
			if got := api.Retryable(fmt.Errorf("send: %w", err)); got != want {
				t.Errorf("Retryable(%T of %d) = %v, want %v", err, status, got, want)
			}
		}
	}
	for want, errs := range map[bool][]error{
		true:  {&api.UnreachableError{Kind: api.KindNetwork}, api.Errorf(api.CodeUnavailable, "Later.")},
		false: {nil, io.EOF, context.Canceled, context.DeadlineExceeded, api.Errorf(api.CodeConflict, "No.")},
	} {
		for _, err := range errs {
			if got := api.Retryable(err); got != want {
				t.Errorf("Retryable(%v) = %v, want %v", err, got, want)
			}
		}
	}
}

// Only the orchestrator's own 413 is its word on a body.
func TestTooLargeBetween(t *testing.T) {
	for want, errs := range map[bool][]error{
		true:  {&api.UnreachableError{HTTPStatus: 413}, &api.Error{Code: "413", HTTPStatus: 413}},
		false: {nil, io.EOF, api.Errorf(api.CodeTooLarge, "No."), &api.Error{Code: api.CodeTooLarge, HTTPStatus: 413}, &api.UnreachableError{HTTPStatus: 400}},
	} {
		for _, err := range errs {
			if got := api.TooLargeBetween(err); got != want {
				t.Errorf("TooLargeBetween(%v) = %v, want %v", err, got, want)
			}
		}
	}
}

func TestRetryAfter(t *testing.T) {
	s := newStand(t)
	var header http.Header
	srv := serve(t, s.server, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for name, values := range header {
			w.Header()[name] = values
		}
		reply(w, http.StatusServiceUnavailable, api.ErrorBody{Error: api.Errorf(api.CodeUnavailable, "Later.")})
	}))
	c := dial(t, srv.url, s.client)
	date := "Fri, 02 Jan 2026 15:04:05 GMT" // far from this host's clock
	for value, want := range map[string]time.Duration{
		"":                              0,
		"7":                             7 * time.Second,
		"0":                             0,
		"-5":                            0,
		"soon":                          0,
		"86400":                         time.Hour,
		"99999999999999999999":          time.Hour,
		"Fri, 02 Jan 2026 15:04:35 GMT": 30 * time.Second,
		"Fri, 02 Jan 2026 15:03:05 GMT": 0,
		"Fri, 02 Jan 2099 15:04:35 GMT": time.Hour,
	} {
		header = http.Header{"Date": {date}, "Retry-After": {value}}
		if got := api.RetryAfter(beat(t.Context(), c)); got != want {
			t.Errorf("Retry-After: %s at %s gives %v, want %v", value, date, got, want)
		}
	}
	if got := api.RetryAfter(errors.New("other")); got != 0 {
		t.Errorf("RetryAfter of another error = %v, want 0", got)
	}
}

func longest(n int64) int64 { return n - 1 }

func TestBackoff(t *testing.T) {
	b := api.Backoff{Initial: time.Second, Max: 10 * time.Second, Rand: longest}
	for i, want := range []time.Duration{1, 2, 4, 8, 10, 10, 10} {
		if got := b.Next(0); got != want*time.Second-1 {
			t.Errorf("pause %d is at most %v, want %v", i, got, want*time.Second)
		}
	}
	if got := b.Next(30 * time.Second); got != 40*time.Second-1 {
		t.Errorf("with Retry-After 30s at most %v, want 40s", got)
	}
	if got := b.Next(4 * time.Second); got != 8*time.Second-1 {
		t.Errorf("with Retry-After 4s at most %v, want 8s: it is a pace", got)
	}
	if got := b.Next(time.Second); got != 11*time.Second-1 {
		t.Errorf("with Retry-After 1s at most %v, want 11s: the server is busy", got)
	}
	b.Reset()
	if got := b.Next(0); got != time.Second-1 {
		t.Errorf("after Reset at most %v, want 1s", got)
	}
	b.Rand = func(int64) int64 { return 0 }
	if got := b.Next(0); got != 0 {
		t.Errorf("full jitter begins at %v, want 0", got)
	}
	if got := b.Next(3 * time.Second); got != 3*time.Second {
		t.Errorf("with Retry-After 3s at least %v, want 3s", got)
	}
}

func TestBackoffNeedsNoSettings(t *testing.T) {
	var b api.Backoff
	for range 1000 {
		if d := b.Next(0); d < 0 || d > api.DefaultBackoffMax {
			t.Fatalf("pause %v, want 0 to %v", d, api.DefaultBackoffMax)
		}
	}
	b = api.Backoff{Initial: 1<<63 - 1, Max: 1<<63 - 1, Rand: longest}
	for range 10 {
		if d := b.Next(0); d < 0 {
			t.Fatalf("pause %v overflows", d)
		}
	}
	b = api.Backoff{Initial: time.Minute, Max: time.Second, Rand: longest}
	if d := b.Next(0); d != time.Second-1 {
		t.Errorf("Initial over Max: %v, want Max", d)
	}
}
