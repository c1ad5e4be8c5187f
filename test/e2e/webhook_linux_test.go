package e2e

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// hookSecret is what the build server of these tests signs with.
const hookSecret = "canary-0b5e-of-the-build-server"

// keepsHookSecret sets a secret as a person would.
func (w *world) keepsHookSecret(name string) {
	w.t.Helper()
	file := filepath.Join(w.dir, name+".secret")
	w.must(os.WriteFile(file, []byte(hookSecret), 0o600))
	_, err := w.CLI(w.ctx, "secrets", "set", name, "--file", file)
	w.must(err)
}

// webURL is where people and callers of webhooks connect.
func (w *world) webURL() string {
	w.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(w.DataDir(), "operator.sock"))
	}}}
	answer, err := client.Get("http://stavily/api/v1/health")
	w.must(err)
	defer answer.Body.Close()
	var health struct {
		WebURL string `json:"web_url"`
	}
	w.must(json.NewDecoder(answer.Body).Decode(&health))
	return health.WebURL
}

// calls sends a call of a webhook, signed as docs/workflows.md says.
func (w *world) calls(path, body string) {
	w.t.Helper()
	trusted := x509.NewCertPool()
	text, err := os.ReadFile(filepath.Join(w.DataDir(), "ca", "ca.crt"))
	if w.must(err); !trusted.AppendCertsFromPEM(text) {
		w.t.Fatal("no certificate of the CA")
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: trusted}}}
	r, err := http.NewRequestWithContext(w.ctx, http.MethodPost, w.webURL()+"/api/v1/webhooks/default/"+path, strings.NewReader(body))
	w.must(err)
	seconds := strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, []byte(hookSecret))
	fmt.Fprintf(mac, "%s.%s", seconds, body)
	r.Header.Set("Stavily-Timestamp", seconds)
	r.Header.Set("Stavily-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	answer, err := client.Do(r)
	w.must(err)
	defer answer.Body.Close()
	if text, err := io.ReadAll(answer.Body); answer.StatusCode != http.StatusOK {
		w.t.Fatalf("webhook %s: %s %s %v", path, answer.Status, text, err)
	}
}
