package route

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// later is an answer after some waits, or a panic.
type later struct {
	waits  int
	panics bool
	ends   int
}

func (l *later) Await(context.Context) { l.waits-- }

func (l *later) Answer(context.Context) (any, error) {
	if l.waits > 0 {
		return l, nil
	}
	if l.panics {
		panic("ours")
	}
	return map[string]string{"said": "late"}, nil
}

func (l *later) End() { l.ends++ }

// TestAHeldAnswer holds that an answer that is waited for comes when it is there, and that a
// request gives back what it took, once, however it ends.
func TestAHeldAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		later later
		holds bool
		code  int
	}{
		"at once":                {later{}, true, http.StatusOK},
		"after three waits":      {later{waits: 3}, true, http.StatusOK},
		"on the caller's stack":  {later{waits: 3}, false, http.StatusOK},
		"that ends in a panic":   {later{waits: 2, panics: true}, true, http.StatusInternalServerError},
		"a panic in the handler": {later{waits: -1}, true, http.StatusInternalServerError},
	} {
		t.Run(name, func(t *testing.T) {
			observed, l := 0, c.later
			s := &site{listener: Operator, log: slog.New(slog.NewTextHandler(io.Discard, nil)), flight: newFlight(), pace: newPace(Operator), observe: func(string, string, time.Duration) { observed++ }}
			handle := func(ctx context.Context, _ *Call) (any, error) {
				if l.waits < 0 {
					panic("ours")
				}
				return &l, nil
			}
			e := &endpoint{row: Row{ID: Instructions, Listener: Operator, Allow: []Kind{LocalOperator}, InFlight: 1, Holds: c.holds}, handle: handle, site: s}
			server := httptest.NewServer(e)
			defer server.Close()
			for range 2 { // the second finds the place of the first
				l = c.later
				answer, err := http.Get(server.URL)
				if err != nil {
					t.Fatal(err)
				}
				answer.Body.Close()
				if answer.StatusCode != c.code {
					t.Errorf("answered %d, want %d", answer.StatusCode, c.code)
				}
				if want := min(c.later.waits, 0) + 1; l.ends != want {
					t.Errorf("ended %d times, want %d", l.ends, want)
				}
			}
			if observed != 2 {
				t.Errorf("%d requests observed, want 2", observed)
			}
		})
	}
}

// TestABrokenAnswerEndsTheConnectionOnly holds that an answer that cannot be written, in a
// goroutine of ours, breaks its connection off and leaves the server as it is.
func TestABrokenAnswerEndsTheConnectionOnly(t *testing.T) {
	s := &site{listener: Operator, log: slog.New(slog.NewTextHandler(io.Discard, nil)), flight: newFlight(), pace: newPace(Operator), observe: func(string, string, time.Duration) {}}
	for name, handle := range map[string]Handler{
		"an answer": func(context.Context, *Call) (any, error) { return "x", nil },
		"an error":  func(context.Context, *Call) (any, error) { return nil, internal },
		"a panic":   func(context.Context, *Call) (any, error) { panic("ours") },
	} {
		e := &endpoint{row: Row{ID: Instructions, Listener: Operator, Allow: []Kind{LocalOperator}, InFlight: 1, Holds: true}, handle: handle, site: s}
		func() {
			defer func() {
				if p := recover(); p != http.ErrAbortHandler {
					t.Errorf("%s: recovered %v, want that the connection is broken off", name, p)
				}
			}()
			e.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/x", nil)) // which knows no deadlines
		}()
	}
}
