package operatorapi_test

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/shared/pkg/api"
)

// serveAt answers every request on a new operator socket with h.
func serveAt(t *testing.T, h http.HandlerFunc) *operatorapi.Client {
	t.Helper()
	dir, err := os.MkdirTemp("", "stavily") // short: a socket's path is bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, operatorapi.SocketName)
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(h)
	srv.Listener = l
	srv.Start()
	t.Cleanup(srv.Close)
	client := operatorapi.NewClient(socket, "default")
	t.Cleanup(client.Close)
	return client
}

func TestNobodyAnswers(t *testing.T) {
	client := operatorapi.NewClient(filepath.Join(t.TempDir(), operatorapi.SocketName), "default")
	err := client.Do(t.Context(), "GET", "/api/v1/runs", nil, nil, nil)
	if !errors.Is(err, operatorapi.ErrUnreachable) || !strings.Contains(err.Error(), "stavily server") {
		t.Errorf("Do = %v, want that no server answers and what to do", err)
	}
}

func TestAnswersOfStrangers(t *testing.T) {
	for what, c := range map[string]struct {
		status int
		body   string
		says   string
	}{
		"HTML":             {500, "<html>", "is it a stavily server"},
		"an error of none": {500, `{"error": null}`, "is it a stavily server"},
		"half an answer":   {200, `{"id": `, "invalid JSON"},
		"an error of ours": {409, `{"error": {"code": "conflict", "message": "Already."}}`, "Already."},
	} {
		client := serveAt(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			w.Write([]byte(c.body))
		})
		var run operatorapi.Run
		err := client.Do(t.Context(), "GET", "/api/v1/runs/x", nil, nil, &run)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want an error with %q", what, err, c.says)
		}
		if what == "an error of ours" && api.CodeOf(err) != api.CodeConflict {
			t.Errorf("%s: its class is %q", what, api.CodeOf(err))
		}
	}
}

// TestListGoesOnAfterAnEmptyPage: the server looks at so many records for a page, and a filter may
// have let none of them through.
func TestListGoesOnAfterAnEmptyPage(t *testing.T) {
	client := serveAt(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("cursor") == "" {
			w.Header().Set("Link", `</api/v1/audit?cursor=2000>; rel="next"`)
			w.Write([]byte("[]"))
			return
		}
		w.Write([]byte(`[{"seq": 2001}]`))
	})
	for _, most := range []int{0, 1} {
		rows, err := operatorapi.List[operatorapi.Audit](t.Context(), client, "/api/v1/audit", nil, most)
		if err != nil || len(rows) != 1 || rows[0].Seq != 2001 {
			t.Errorf("at most %d: %+v, %v, want the record of the second page", most, rows, err)
		}
	}
}

// TestCutStream holds that a stream that breaks is not taken for its end.
func TestCutStream(t *testing.T) {
	client := serveAt(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte("{}\n"))
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	lines := 0
	err := client.Follow(t.Context(), "/api/v1/events/follow", nil, func(json.RawMessage) error {
		lines++
		return nil
	})
	if lines != 1 || !errors.Is(err, operatorapi.ErrUnreachable) {
		t.Errorf("followed %d lines and %v, want one and that the server is gone", lines, err)
	}
}
