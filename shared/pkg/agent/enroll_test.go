//go:build unix

package agent

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stavily/agents/internal/lockfile"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/pki"
	"github.com/stavily/agents/shared/pkg/pki/pkitest"
)

// registrar is an orchestrator that enrols: a token is for the key that used it first,
// and gets that key the same certificate again.
type registrar struct {
	*httptest.Server
	t        *testing.T
	ca       *pkitest.Authority
	identity string      // of the certificates that it issues
	cut      func() bool // whether to hang up instead of answering; nil: never
	callers  atomic.Int32

	mu     sync.Mutex
	asked  []api.EnrollRequest
	issued map[string][]byte // by the hash of the key
}

func newRegistrar(t *testing.T) *registrar {
	r := &registrar{t: t, ca: pkitest.New(t, "ca"), identity: "acme/sensor/web-01", issued: map[string][]byte{}}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(r.serve))
	r.TLS = &tls.Config{Certificates: []tls.Certificate{r.ca.Issue(pkitest.Server())}, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		r.callers.Add(1)
		return nil, nil
	}}
	r.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what is asked for
	r.StartTLS()
	t.Cleanup(r.Close)
	return r
}

func (r *registrar) serve(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var request api.EnrollRequest
	if err := json.NewDecoder(q.Body).Decode(&request); err != nil || q.URL.Path != api.PathEnroll {
		r.t.Errorf("%s %s: %v", q.Method, q.URL, err)
	}
	r.asked = append(r.asked, request)
	csr, err := pki.ParseCSR([]byte(request.CSRPEM))
	if err != nil {
		r.t.Error(err)
		return
	}
	key, err := pki.KeyHash(csr.PublicKey)
	if err != nil {
		r.t.Error(err)
	}
	w.Header().Set("Content-Type", "application/json")
	if len(r.issued) > 0 && r.issued[key] == nil {
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(map[string]any{"error": api.Errorf(api.CodeForbidden, "the token was used with another key")})
		return
	}
	if r.issued[key] == nil {
		r.issued[key] = pkitest.PEM(r.ca.Sign(pkitest.Agent("spiffe://stavily/org/"+r.identity), csr.PublicKey))
	}
	if r.cut != nil && r.cut() {
		panic(http.ErrAbortHandler)
	}
	_ = json.NewEncoder(w).Encode(api.EnrollResponse{
		AgentID: request.AgentID, OrganizationID: "acme", CertificatePEM: string(r.issued[key]), CAPEM: string(pkitest.PEM(r.ca.Cert)),
	})
}

// enrol runs the command as it is pasted.
func (r *registrar) enrol(ctx context.Context, base string, more ...string) (string, error) {
	var out strings.Builder
	cmd := newCommand(sensorRole)
	cmd.SetOut(&out)
	cmd.SetArgs(append([]string{"enroll", "--agent-id", "web-01", "--base-dir", base, "--base-url", r.URL, "--token", "svt_1", "--ca-fingerprint", pki.Fingerprint(r.ca.Cert)}, more...))
	err := cmd.ExecuteContext(ctx)
	return out.String(), err
}

func certificates(t *testing.T, base string) []string {
	return names(t, filepath.Join(base, "certificates"))
}

func TestEnrolment(t *testing.T) {
	r, base := newRegistrar(t), filepath.Join(t.TempDir(), "base")
	out, err := r.enrol(t.Context(), base)
	if err != nil {
		t.Fatal(err)
	}
	configFile := filepath.Join(base, "config", "agent.yaml")
	if !strings.Contains(out, "web-01 in organisation acme") || !strings.Contains(out, "sensor-agent --config "+configFile) {
		t.Errorf("the command says %q, want who it is and how to start it", out)
	}
	if got := certificates(t, base); !slices.Equal(got, []string{"ca.crt", "client.crt", "client.key"}) {
		t.Errorf("certificates: %q", got)
	}
	if told := r.asked[0].Sandbox; told == nil || !told.Level.Valid() || len(told.Layers) == 0 {
		t.Errorf("it tells %+v of what confines plugins", told)
	}
	// What was written starts this agent: it loads alone, and finds its certificate.
	written := read(t, configFile)
	if info, err := os.Stat(configFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("it has mode %v, %v, want 0600 (R122)", info.Mode(), err)
	}
	loaded, err := config.Load(config.LoadOptions{Type: api.Sensor, Hostname: "host", Environ: []string{"STAVILY_CONFIG=" + configFile}})
	if err != nil {
		t.Fatalf("%v:\n%s", err, written)
	}
	rt := &Runtime{Role: sensorRole}
	rt.config.Store(&loaded.Config)
	if creds, err := rt.loadIdentity(); err != nil || creds.Identity().Org != "acme" {
		t.Errorf("loadIdentity: %v", err)
	}
	if c := loaded.Config; c.API.BaseURL != r.URL || c.Agent.OrganizationID != "acme" || c.Agent.BaseDir != base {
		t.Errorf("the configuration holds\n%s", written)
	}
	// Enrolled anew, with another key: what people wrote into the file stays.
	write(t, configFile, written+"logging: {level: debug}\n")
	r.issued = map[string][]byte{}
	if _, err := r.enrol(t.Context(), base); err != nil || !strings.HasSuffix(read(t, configFile), "{level: debug}\n") {
		t.Errorf("enrolled again: %v, the file is now\n%s", err, read(t, configFile))
	}
	if a := r.asked; len(a) != 2 || a[0].AgentType != api.Sensor || a[0].Hostname == "" || a[0].CSRPEM == a[1].CSRPEM {
		t.Errorf("asked with %+v", a)
	}
}

// The file that the command was given is the one that it tells people to start with.
func TestEnrolmentWithAFileElsewhere(t *testing.T) {
	r, base, mine := newRegistrar(t), filepath.Join(t.TempDir(), "base"), filepath.Join(t.TempDir(), "mine.yaml")
	write(t, mine, "agent: {tags: [\"rack:7\"]}\n")
	out, err := r.enrol(t.Context(), base, "--config", mine)
	if err != nil || !strings.Contains(out, "sensor-agent --config "+mine) {
		t.Errorf("%v, %q; want %s to be named", err, out, mine)
	}
	if got := names(t, filepath.Join(base, "config")); !slices.Equal(got, []string{"plugins"}) {
		t.Errorf("a second file was written: %q", got)
	}
	if !slices.Equal(r.asked[0].Tags, []string{"rack:7"}) {
		t.Errorf("tags %q were sent", r.asked[0].Tags)
	}
}

// A reply that is lost, at once or for good, costs nothing: the same key gets the same
// certificate, by the command itself and by a person who repeats it.
func TestALostReplyIsRepeated(t *testing.T) {
	r, base := newRegistrar(t), filepath.Join(t.TempDir(), "base")
	ctx, giveUp := context.WithCancel(t.Context())
	r.cut = func() bool { giveUp(); return true }
	if _, err := r.enrol(ctx, base); err == nil {
		t.Fatal("no error without an answer")
	}
	if got := certificates(t, base); !slices.Equal(got, []string{pendingKey}) {
		t.Errorf("after the lost reply: %q, want the key alone", got)
	}
	if info, err := os.Stat(filepath.Join(base, "certificates", pendingKey)); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the pending key: %v, %v, want it private", info.Mode(), err)
	}
	lost := len(r.asked)
	r.cut = func() bool { return len(r.asked) == lost+1 } // the next is lost once more
	if _, err := r.enrol(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	if len(r.issued) != 1 || len(r.asked) != lost+2 {
		t.Errorf("%d certificates for %d requests, want 1 for %d", len(r.issued), len(r.asked), lost+2)
	}
	for _, pem := range r.issued {
		if got := read(t, filepath.Join(base, "certificates", "client.crt")); got != string(pem) {
			t.Errorf("stored %s, want %s", got, pem)
		}
	}
	if got := certificates(t, base); !slices.Equal(got, []string{"ca.crt", "client.crt", "client.key"}) {
		t.Errorf("afterwards: %q", got)
	}
}

// A refused enrolment leaves no certificate and no configuration, and what was there.
func TestARefusedEnrolmentStoresNothing(t *testing.T) {
	other := pki.Fingerprint(pkitest.New(t, "other").Cert)
	for _, c := range []struct {
		name, identity string
		more           []string
		want           string
	}{
		{"another authority", "acme/sensor/web-01", []string{"--ca-fingerprint", other}, "fingerprint"},
		{"half a fingerprint", "acme/sensor/web-01", []string{"--ca-fingerprint", other[:20]}, "fingerprint"},
		{"the certificate of another agent", "acme/sensor/web-02", nil, `for agent "web-02"`},
		{"the certificate of another type", "acme/action/web-01", nil, "of type action"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, base := newRegistrar(t), filepath.Join(t.TempDir(), "base")
			r.identity = c.identity
			_, err := r.enrol(t.Context(), base, c.more...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("err = %v, want %q", err, c.want)
			}
			if got := certificates(t, base); len(got) > 0 && !slices.Equal(got, []string{pendingKey}) {
				t.Errorf("certificates: %q, want at most the pending key", got)
			}
			if got := names(t, filepath.Join(base, "config")); !slices.Equal(got, []string{"plugins"}) {
				t.Errorf("config: %q, want no file", got)
			}
			if n := r.callers.Load(); n > 1 {
				t.Errorf("the server was called %d times: what a person must mend is not repeated", n)
			}
			if c.more != nil && len(r.asked) > 0 {
				t.Error("the token was sent to a server that is not the right one")
			}
		})
	}
}

// An agent that waits for its certificate has the base directory's lock; the command
// that it tells people to run works all the same. Two of them at once do not.
func TestEnrolmentBesideAWaitingAgent(t *testing.T) {
	r, base := newRegistrar(t), filepath.Join(t.TempDir(), "base")
	release, err := openBase(base)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	second, err := lockfile.Lock(filepath.Join(base, stateDir, "enroll.lock"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.enrol(t.Context(), base); !errors.Is(err, lockfile.ErrHeld) {
		t.Errorf("beside another enrolment: %v, want that the lock is held", err)
	}
	if err := second(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.enrol(t.Context(), base); err != nil {
		t.Errorf("beside an agent: %v", err)
	}
}

// Where the last step fails, the same command mends it: the key is kept until then.
func TestAnEnrolmentThatCannotBeFinishedIsRepeated(t *testing.T) {
	r, base := newRegistrar(t), filepath.Join(t.TempDir(), "base")
	write(t, filepath.Join(base, "config"), "in the way of the directory")
	if _, err := r.enrol(t.Context(), base); err == nil {
		t.Fatal("no error though no configuration can be written")
	}
	if err := os.Remove(filepath.Join(base, "config")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.enrol(t.Context(), base); err != nil || len(r.issued) != 1 {
		t.Errorf("repeated: %v with %d keys, want none and one key", err, len(r.issued))
	}
	if _, err := os.Stat(filepath.Join(base, "certificates", pendingKey)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the pending key is left: %v", err)
	}
}

// A person waits for as many attempts as api.retry says, and no more (R054).
func TestEnrolmentIsTriedSoOften(t *testing.T) {
	t.Setenv("STAVILY_API_RETRY_INITIAL_INTERVAL", "1ms")
	t.Setenv("STAVILY_API_RETRY_MAX_INTERVAL", "1ms")
	for text, want := range map[string]int{"2": 2} {
		t.Setenv("STAVILY_API_RETRY_MAX_ATTEMPTS", text)
		r := newRegistrar(t)
		r.cut = func() bool { return true }
		if _, err := r.enrol(t.Context(), filepath.Join(t.TempDir(), "base")); err == nil || len(r.asked) != want {
			t.Errorf("max_attempts %q: %d requests and %v, want %d and an error", text, len(r.asked), err, want)
		}
	}
}

// The key may be RSA 4096, encrypted, or held by a command (R163, R168, R169); what is
// stored starts the agent, and no key lies about in the clear.
func TestEnrolmentWithOtherKeys(t *testing.T) {
	held := filepath.Join(t.TempDir(), "held")
	key, err := pki.EncodeKey(pkitest.Key(t))
	if err != nil {
		t.Fatal(err)
	}
	write(t, held, string(key))
	passphrase := filepath.Join(t.TempDir(), "passphrase")
	write(t, passphrase, "open sesame\n")
	signer, err := filepath.Abs(filepath.Join("..", "..", "..", "configs", "signers", "openssl.py"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		environ []string
		flags   []string
		begins  string // of the key file; "" for none
		kind    pki.KeyType
	}{
		"RSA":       {nil, []string{"--key-type", "rsa-4096"}, "-----BEGIN PRIVATE", pki.RSA4096},
		"encrypted": {[]string{"STAVILY_API_AUTH_KEY_PASSPHRASE_FILE=" + passphrase}, nil, "-----BEGIN ENCRYPTED PRIVATE", pki.P384},
		"held":      {[]string{"STAVILY_API_AUTH_SIGNER_COMMAND=" + signer + "," + held}, nil, "", pki.P384},
	} {
		t.Run(name, func(t *testing.T) {
			for _, variable := range c.environ {
				name, value, _ := strings.Cut(variable, "=")
				t.Setenv(name, value)
			}
			r, base := newRegistrar(t), filepath.Join(t.TempDir(), "base")
			if _, err := r.enrol(t.Context(), base, c.flags...); err != nil {
				t.Fatal(err)
			}
			stored := certificates(t, base)
			if want := []string{"ca.crt", "client.crt", "client.key"}[:len(stored)]; !slices.Equal(stored, want) || (len(stored) == 3) != (c.begins != "") {
				t.Errorf("stored: %q", stored)
			}
			if c.begins != "" {
				if text := read(t, filepath.Join(base, "certificates", "client.key")); !strings.HasPrefix(text, c.begins) {
					t.Errorf("the key begins with %.40q", text)
				}
			}
			auth := loadConfig(t, api.Sensor, append(c.environ, "STAVILY_BASE_DIR="+base)...).Config.API.Auth
			creds, err := pki.LoadCredentials(credentialFiles(auth))
			if err != nil || pki.TypeOf(creds.Leaf().PublicKey) != c.kind {
				t.Errorf("what is stored: %v", err)
			}
		})
	}
	if _, err := newRegistrar(t).enrol(t.Context(), filepath.Join(t.TempDir(), "base"), "--key-type", "dsa"); err == nil || !strings.Contains(err.Error(), "rsa-4096") {
		t.Errorf("a key of type dsa: %v", err)
	}
}
