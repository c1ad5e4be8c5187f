package agent

import (
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

// What http-check finds is what the server does, through the agent and, where hosts cannot
// be told apart, without it; also that the server is gone.
func TestOfficialHTTPCheckAsks(t *testing.T) {
	t.Parallel()
	var status atomic.Int32
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(int(status.Load()))
		fmt.Fprint(w, "all is well")
	}))
	defer server.Close()
	authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	settings := "config: {url: \"" + server.URL + "\", body: ^all, checks: 1, ca_files: [DIR/ca.pem]}\n"
	atBothLevels(t, "sensors/http-check", settings, func(t *testing.T, o *official) {
		write(t, o.dir+"/ca.pem", authority)
		becomes := func(code int32) func() { return func() { status.Store(code) } }
		becomes(200)()
		o.expect(t, o.watch(t, becomes(500), becomes(200)), "", "http.down", "http.up")
	})
	server.Close()
	atBothLevels(t, "sensors/http-check", settings, func(t *testing.T, o *official) {
		write(t, o.dir+"/ca.pem", authority)
		o.expect(t, o.watch(t), "http.down")
	})
}

// At level full the agent takes every connection: that nobody is behind it is told all
// the same.
func TestOfficialTCPCheckTellsWhoIsThere(t *testing.T) {
	t.Parallel()
	somebody := greeter(t)
	unused, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := unused.Addr().(*net.TCPAddr).Port
	unused.Close()
	for want, settings := range map[string]string{
		"":         fmt.Sprintf("config: {address: \"127.0.0.1:%d\", checks: 1}\n", somebody),
		" ":        fmt.Sprintf("config: {address: \"127.0.0.1:%d\", checks: 1, expect: ^hello$}\n", somebody),
		"tcp.down": fmt.Sprintf("config: {address: \"127.0.0.1:%d\", checks: 1}\n", nobody),
	} {
		atBothLevels(t, "sensors/tcp-check", settings, func(t *testing.T, o *official) {
			o.expect(t, o.watch(t), strings.TrimSpace(want))
		})
	}
}

// Of the two certificates that expire, one is in a file and the other is shown by a server;
// the file is a link, as certbot makes them, to another one after the renewal.
func TestOfficialCertificateExpiryReadsAndAsks(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	settings := fmt.Sprintf("config: {files: [DIR/web.pem], directories: [DIR], servers: [%q], days: 1000000}\n", server.Listener.Addr())
	atBothLevels(t, "sensors/certificate-expiry", settings, func(t *testing.T, o *official) {
		renew := func(name, text string) {
			write(t, filepath.Join(o.dir, name), text)
			link := filepath.Join(o.dir, "web.pem")
			os.Remove(link) // there is none at first
			if err := os.Symlink(name, link); err != nil {
				t.Fatal(err)
			}
		}
		renew("web1.pem", text)
		got := o.watch(t, func() {}, func() { renew("web2.pem", "no certificate") })
		o.expect(t, got, "certificate.expiring certificate.expiring", "", "error: web.pem: has no certificate in PEM")
		for _, e := range got[0].events {
			if want := server.Certificate().NotAfter.UTC().Format(`"2006-01-02T15:04:05Z"`); string(e.Data["not_after"]) != want {
				t.Errorf("%s ends %s, want %s", e.Key, e.Data["not_after"], want)
			}
		}
	})
}

// prometheus-query asks and prometheus-pushgateway pushes over the one way that each has.
func TestOfficialPrometheusIsAskedAndPushedTo(t *testing.T) {
	t.Parallel()
	var value atomic.Int32
	pushed := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/query" {
			fmt.Fprintf(w, `{"status": "success", "data": {"resultType": "vector", "result": [{"metric": {"job": %q}, "value": [1, "%d"]}]}}`, r.FormValue("query"), value.Load())
			return
		}
		body, _ := io.ReadAll(r.Body)
		pushed <- r.URL.Path + " " + string(body)
	}))
	defer server.Close()
	atBothLevels(t, "sensors/prometheus-query", fmt.Sprintf("config: {url: %q, query: q, above: 5}\n", server.URL), func(t *testing.T, o *official) {
		value.Store(3)
		got := o.watch(t, func() { value.Store(7) }, func() { value.Store(5) })
		o.expect(t, got, "", "prometheus.high", "prometheus.ok")
		if key := got[1].events[0].Key; key != `{job="q"}` {
			t.Errorf("key %s", key)
		}
	})
	atBothLevels(t, "outputs/prometheus-pushgateway", fmt.Sprintf("config: {url: %q, job: j}\n", server.URL), func(t *testing.T, o *official) {
		o.ended(o.run(t, `{"metrics": {"up": 1}}`), api.Completed, "")
		if got := <-pushed; got != "/metrics/job/j # TYPE up gauge\nup 1\n" {
			t.Errorf("pushed %q", got)
		}
	})
}
