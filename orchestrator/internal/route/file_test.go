package route

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

type closing struct {
	io.ReadSeeker
	closed *int
}

func (c closing) Close() error { *c.closed++; return nil }

func TestRangesOfFiles(t *testing.T) {
	closed := 0
	srv := serveAgents(t, &testGate{principal: web01}, io.Discard, func(context.Context, *Call) (any, error) {
		return &File{Content: closing{strings.NewReader("0123456789"), &closed}, Tag: "sha256:1", Type: "application/gzip", Header: map[string]string{"Stavily-Digest": "sha256:1"}}, nil
	})
	for _, c := range []struct {
		name, ranges, unless string
		status               int
		body, contentRange   string
	}{
		{"all", "", "", 200, "0123456789", ""},
		{"the rest", "bytes=4-", `"sha256:1"`, 206, "456789", "bytes 4-9/10"},
		{"of another content", "bytes=4-", `"sha256:2"`, 200, "0123456789", ""},
		{"the end", "bytes=-2", "", 206, "89", "bytes 8-9/10"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/agents/v1/web-01/plugins/p/1.0.0", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Range", c.ranges)
		req.Header.Set("If-Range", c.unless)
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || string(body) != c.body || resp.Header.Get("Content-Range") != c.contentRange {
			t.Errorf("%s: %d %q %q, %v; want %d %q %q", c.name, resp.StatusCode, body, resp.Header.Get("Content-Range"), err, c.status, c.body, c.contentRange)
		}
		if resp.Header.Get("Stavily-Digest") != "sha256:1" || resp.Header.Get("Content-Type") != "application/gzip" || resp.Header.Get("Etag") != `"sha256:1"` {
			t.Errorf("%s: header %v", c.name, resp.Header)
		}
	}
	for header, status := range map[string]int{"Range: bytes=10-": 416, "Range: bytes=9-4": 416, `If-Match: "sha256:2"`: 412} {
		name, value, _ := strings.Cut(header, ": ")
		resp, e := send(t, srv, "GET", "/agents/v1/web-01/plugins/p/1.0.0", nil, name, value)
		if resp.StatusCode != status || e == nil || e.Code != api.CodeInvalid {
			t.Errorf("%s: %d %v, want %d as a JSON error", header, resp.StatusCode, e, status)
		}
	}
	if closed != 7 {
		t.Errorf("%d files of 7 were closed", closed)
	}
}

func TestUploads(t *testing.T) {
	var got int64
	site, err := Build(Operator, handlers(Operator, func(_ context.Context, c *Call) (any, error) {
		if c.Body != nil {
			t.Error("the body of an upload was read beforehand")
		}
		n, err := io.Copy(io.Discard, c.Upload)
		got = n
		return nil, err
	}), Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(site)
	defer srv.Close()
	chunked := func(size int) io.Reader { return io.MultiReader(bytes.NewReader(make([]byte, size))) }
	for name, c := range map[string]struct {
		body     io.Reader
		encoding string
		want     int
		length   int64
	}{
		"none":                 {nil, "", 204, 0},
		"some":                 {bytes.NewReader(make([]byte, 3<<20)), "", 204, 3 << 20},
		"chunked at the limit": {chunked(api.MaxPackageBytes), "", 204, api.MaxPackageBytes},
		"chunked over it":      {chunked(api.MaxPackageBytes + 1), "", 413, -1},
		"encoded":              {strings.NewReader("{}"), "gzip", 400, -1},
	} {
		got = -1
		resp, _ := send(t, srv, "POST", "/api/v1/plugins", c.body, "Content-Encoding", c.encoding)
		if resp.StatusCode != c.want || c.length >= 0 && got != c.length {
			t.Errorf("%s: %d with %d bytes at the handler, want %d with %d", name, resp.StatusCode, got, c.want, c.length)
		}
	}
}
