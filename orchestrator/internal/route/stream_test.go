package route

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestStreams holds what a client of either kind of stream reads.
func TestStreams(t *testing.T) {
	type value struct {
		N    int    `json:"n"`
		Text string `json:"text"`
	}
	slow := Stream(func(ctx context.Context, emit func(any) error) error {
		if err := emit(Item{Place: "7", Value: value{1, "two\nlines"}}); err != nil {
			return err
		}
		select {
		case <-time.After(60 * time.Millisecond): // several pings
		case <-ctx.Done():
		}
		return emit(value{N: 2})
	})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reply := newReply(w)
		reply.pingEvery = 5 * time.Millisecond
		if err := reply.stream(r.Context(), r, slow); err != nil {
			t.Error(err)
		}
	}))
	defer srv.Close()
	for accept, want := range map[string]string{
		"":                  `{"n":1,"text":"two\nlines"}` + "\n" + `{"n":2,"text":""}` + "\n",
		"text/event-stream": "id: 7\ndata: " + `{"n":1,"text":"two\nlines"}` + "\n\ndata: " + `{"n":2,"text":""}` + "\n\nevent: end\ndata: {}\n\n",
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", accept)
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		pings := strings.Count(string(body), ":\n\n")
		if got := strings.ReplaceAll(string(body), ":\n\n", ""); err != nil || got != want {
			t.Errorf("Accept %q: %q, %v, want %q", accept, got, err, want)
		}
		if (pings > 0) != (accept != "") {
			t.Errorf("Accept %q: %d pings", accept, pings)
		}
	}
}

func TestMatches(t *testing.T) {
	for header, want := range map[string]bool{
		``: false, `"a"`: true, `W/"a"`: true, `"b", "a"`: true, `"b","a"`: true, `*`: true, `"b"`: false, `a`: false, `"ab"`: false,
	} {
		if got := Matches(header, "a"); got != want {
			t.Errorf("Matches(%q) = %v, want %v", header, got, want)
		}
	}
}

// TestTagsOfListeners holds that agents are answered as before: they ask for what is new.
func TestTagsOfListeners(t *testing.T) {
	answer := func(context.Context, *Call) (any, error) { return map[string]int{"n": 1}, nil }
	operators, err := Build(Operator, handlers(Operator, answer), Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	people := httptest.NewServer(operators)
	defer people.Close()
	agents := serveAgents(t, &testGate{principal: web01}, io.Discard, answer)
	for url, want := range map[string]int{people.URL + "/api/v1/runs": http.StatusNotModified, agents.URL + "/agents/v1/web-01/plugins": http.StatusOK} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("If-None-Match", "*")
		resp, err := agents.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want || (resp.Header.Get("Etag") != "") != (want == http.StatusNotModified) {
			t.Errorf("%s: %s with the tag %q, want %d", url, resp.Status, resp.Header.Get("Etag"), want)
		}
	}
}
