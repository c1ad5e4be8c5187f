package agentapi_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
)

// curl is what curl does with -H "Authorization: Bearer …".
func curl(t *testing.T, s *servertest.Server, token, file string) (int, []byte) {
	t.Helper()
	client := s.HTTP(nil)
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+"/v1/agents/certificates/"+file, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, body
}

func (d downloads) wants(what, token, file string, status int, text string) []byte {
	d.t.Helper()
	got, body := curl(d.t, d.s, token, file)
	if got != status || !strings.Contains(string(body), text) {
		d.t.Errorf("%s: %s = %d %.300s, want %d with %q", what, file, got, body, status, text)
	}
	return body
}

type downloads struct {
	t *testing.T
	s *servertest.Server
}

// By default a token fetches the CA, and the certificate of the agent that used it, each
// once; no private key, ever (F22).
func TestDownloadsWithoutKeys(t *testing.T) {
	d := downloads{t, servertest.Start(t)}
	token := d.s.Token(api.Sensor, "web-01")
	d.wants("no token", "", "ca.crt", 401, "needs a token")
	d.wants("a guess", "svt_default_guess", "ca.crt", 401, "unknown")
	d.wants("before enrolment", token.Token, "client.crt", 409, "enrol it with `sensor-agent enroll`")
	d.wants("a key", token.Token, "client.key", 403, "--allow-key-download")
	d.wants("another file", token.Token, "ca.key", 404, "bundle.tar.gz")
	d.wants("the CA", token.Token, "ca.crt", 200, "BEGIN CERTIFICATE")
	d.wants("the CA again", token.Token, "ca.crt", 401, "already")
	enrolled := enrols(t, d.s, "after a download", token, "web-01", newKey(t), "")
	if got := d.wants("the certificate", token.Token, "client.crt", 200, "BEGIN CERTIFICATE"); string(got) != enrolled.CertificatePEM {
		t.Error("the certificate is not the agent's")
	}
	if names := unpacked(t, d.wants("the bundle", token.Token, "bundle.tar.gz", 200, "")); !slices.Equal(names, []string{"ca.crt 644", "client.crt 644"}) {
		t.Errorf("the bundle holds %q", names)
	}
	d.wants("the bundle again", token.Token, "bundle.tar.gz", 401, "already")
}

func unpacked(t *testing.T, bundle []byte) (names []string) {
	t.Helper()
	packed, err := gzip.NewReader(bytes.NewReader(bundle))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(packed); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name+" "+octal(h.Mode))
	}
}

func octal(mode int64) string { return map[int64]string{0o600: "600", 0o644: "644"}[mode] }

// Where the server gives keys away, key and certificate of one token belong together and
// let the agent in; the key is given once, and the token enrols nobody else.
func TestDownloadsWithKeys(t *testing.T) {
	d := downloads{t, servertest.StartWith(t, func(o *server.Options) { o.GiveKeys = true })}
	anyone := d.s.Token(api.Sensor, "")
	d.wants("a token for anybody", anyone.Token, "client.key", 422, "--agent-id")
	token := d.s.Token(api.Sensor, "web-01")
	crt := d.wants("the certificate", token.Token, "client.crt", 200, "BEGIN CERTIFICATE")
	key := d.wants("the key", token.Token, "client.key", 200, "BEGIN PRIVATE KEY")
	d.wants("the key again", token.Token, "client.key", 401, "already")
	d.wants("a bundle after the key", token.Token, "bundle.tar.gz", 410, "another token")
	pair, err := tls.X509KeyPair(crt, key)
	if err != nil {
		t.Fatal(err)
	}
	agent := &servertest.Agent{ID: "web-01", Cert: pair}
	if status, code := call(t, d.s, caller{"", agent, "web-01", ""}, http.MethodPost, "/agents/v1/web-01/logs"); status == 401 || status == 403 {
		t.Errorf("with the downloaded pair: %d %s", status, code)
	}
	enrols(t, d.s, "the token of a download", token, "web-01", newKey(t), api.CodeBadToken)

	whole := d.s.Token(api.Action, "web-02")
	if names := unpacked(t, d.wants("a bundle", whole.Token, "bundle.tar.gz", 200, "")); !slices.Equal(names, []string{"ca.crt 644", "client.crt 644", "client.key 600"}) {
		t.Errorf("the bundle holds %q", names)
	}
	lost := d.s.Token(api.Action, "web-03")
	d.wants("the certificate", lost.Token, "client.crt", 200, "BEGIN CERTIFICATE")
	d.s.Restart()
	d.wants("the key after a restart", lost.Token, "client.key", 410, "restarted")
	found := ""
	for _, row := range d.s.Audit() {
		found += row.Action + " " + row.Object + "\n"
	}
	if !strings.Contains(found, "certificate.download client.key") || strings.Contains(found, token.Token) {
		t.Errorf("on record:\n%s", found)
	}
}

// Who enrols an agent again locks out the one that had its id, at once and not when its
// open poll is over; by a download as by a request of its own.
func TestReplacingAnAgentEndsItsOpenPoll(t *testing.T) {
	s := servertest.StartWith(t, func(o *server.Options) { o.GiveKeys = true })
	for name, replace := range map[string]func(token operatorapi.NewToken){
		"enrolment": func(token operatorapi.NewToken) {
			enrols(t, s, "again", token, "action-1", newKey(t), "")
		},
		"download": func(token operatorapi.NewToken) {
			downloads{t, s}.wants("again", token.Token, "client.crt", 200, "BEGIN CERTIFICATE")
		},
	} {
		action := s.Enrol(api.Action, "action-1", "host-a")
		ended := make(chan error, 1)
		go func() {
			_, err := action.Poll(t.Context(), 10*time.Second, 1)
			ended <- err
		}()
		time.Sleep(200 * time.Millisecond) // lets the poll wait; were it late, it would be refused all the same
		replace(s.Token(api.Action, "action-1"))
		if err := <-ended; api.CodeOf(err) != api.CodeBadCertificate {
			t.Errorf("%s: the open poll ended with %v, want that the agent was replaced", name, err)
		}
	}
}
