package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stavily/agents/internal/cluster"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

// stranger is a server that is not the orchestrator.
func stranger(t *testing.T, authority *pkitest.Authority, answer http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(answer)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what is asked for
	s.TLS = &tls.Config{Certificates: []tls.Certificate{authority.Issue(pkitest.Server())}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

// Whoever answers in the orchestrator's place, or nobody: the agent says which kind of
// trouble it is and where, keeps what its plugins notice, and delivers it in the end.
func TestNotTheOrchestrator(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.apply("name: count\ntriggers:\n  - event: count.tick\nactions:\n  - {id: none, plugin: nobody-has-it}\n")
	a := w.agent("lost-s", api.Sensor, []string{"counting-sensor"}, map[string]string{
		"count": "plugin: counting-sensor\nconfig: {pause: 0.02}\n",
	})
	out := w.home("lost-s", "counting-sensor", "accepted")
	config := filepath.Join(a.Base, "config", "agent.yaml")

	known, foreign := pkitest.New(t, "known"), pkitest.New(t, "foreign")
	bundle := filepath.Join(a.Base, "certificates", "ca.crt")
	text, err := os.ReadFile(bundle)
	w.must(err)
	w.must(os.WriteFile(bundle, append(text, pkitest.PEM(known.Cert)...), 0o600))

	html := func(status int) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "text/html")
			rw.WriteHeader(status)
			fmt.Fprint(rw, "<html>Please log in</html>")
		}
	}
	plain := httptest.NewServer(html(200))
	t.Cleanup(plain.Close)
	gone := httptest.NewServer(html(200))
	gone.Close()
	for _, c := range []struct {
		name, url string
		kind      api.Kind
		says      string
	}{
		{"away", strings.Replace(gone.URL, "http:", "https:", 1), api.KindNetwork, "is the orchestrator running"},
		{"HTML", stranger(t, known, html(200)), api.KindNotStavily, "text/html and not the Agent API's JSON"},
		{"redirect", stranger(t, known, http.RedirectHandler("https://login.example.com/", http.StatusFound).ServeHTTP), api.KindNotStavily, "redirects are not followed"},
		{"gateway", stranger(t, known, html(502)), api.KindProxy, "a proxy or load balancer answered for the orchestrator"},
		{"another authority", stranger(t, foreign, html(200)), api.KindCertificate, "certificate of " + "127.0.0.1"},
		{"no TLS", strings.Replace(plain.URL, "http:", "https:", 1), api.KindTLS, "TLS"},
	} {
		had := len(effects(t, out))
		agent := inBackground(t, program("sensor-agent", "--config", config, "--base-url", c.url))
		w.await(c.name+": the condition and accepted events", func() error {
			for _, held := range conditions(t, "sensor-agent", config) {
				if held.Name != "orchestrator_unreachable" {
					continue
				}
				if !strings.HasPrefix(held.Message, string(c.kind)+": ") || !strings.Contains(held.Message, c.says) ||
					!strings.Contains(held.Message, strings.TrimPrefix(c.url, "https://")) || !strings.Contains(held.Remedy, "nothing is lost") {
					t.Fatalf("%s: %+v: want kind %s, %q and %s", c.name, held, c.kind, c.says, c.url)
				}
				if n := len(effects(t, out)); n < had+3 {
					return fmt.Errorf("%d events accepted", n)
				}
				return nil
			}
			return fmt.Errorf("no condition")
		})
		agent.stop()
	}
	w.must(os.Remove(filepath.Join(a.Base, "config", "plugins", "count.yaml"))) // no new events
	w.start("lost-s")
	accepted := effects(t, out)
	w.await("every accepted event recorded", func() error { return recordedOnce(w, accepted) })

	w.Kill(cluster.ServerName)
	w.must(w.Process("lost-s").Stop()) // its farewell finds nobody, if its open poll has not noticed before
	text, err = os.ReadFile(filepath.Join(a.Base, "logs", "agent.log"))
	w.must(err)
	want := regexp.MustCompile(`"msg":"no contact with the orchestrator","agent":"lost-s","error":"network: (cannot connect to|the answer of) ` + strings.TrimPrefix(w.URL(), "https://"))
	if !want.Match(text) {
		t.Errorf("the log does not say %s:\n%s", want, text)
	}
}
