package operatorapi_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
)

// Each profile can be taken, is what its tool reads, and is refused where it is asked for wrongly.
func TestProfiles(t *testing.T) {
	t.Parallel() // it waits
	s := busy(t)
	for _, name := range operatorapi.Profiles() {
		resp := get(t, s, "/api/v1/debug/pprof/"+name+"?seconds=1", nil)
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/octet-stream" {
			t.Fatalf("%s: %s, %v: %s", name, resp.Status, err, body)
		}
		if name == "trace" {
			if !bytes.HasPrefix(body, []byte("go 1.")) {
				t.Errorf("the trace begins with %q", body[:min(16, len(body))])
			}
			continue
		}
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			t.Fatalf("%s is no profile: %v", name, err)
		}
		text, err := io.ReadAll(z)
		if err != nil || !strings.Contains(string(text), "count") && !strings.Contains(string(text), "samples") {
			t.Errorf("%s has no counts: %v, %q", name, err, text[:min(200, len(text))])
		}
	}
	for path, status := range map[string]int{
		"cmdline": http.StatusNotFound, "cpu?seconds=0": http.StatusUnprocessableEntity, "cpu?seconds=61": http.StatusUnprocessableEntity,
		"trace?seconds=6": http.StatusUnprocessableEntity, "heap?debug=2": http.StatusUnprocessableEntity,
	} {
		if resp := get(t, s, "/api/v1/debug/pprof/"+path, nil); resp.StatusCode != status {
			t.Errorf("%s: %s, want %d", path, resp.Status, status)
		}
	}
}
