package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stavily/agents/orchestrator/internal/ca"
	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fails runs a server that must not start and wants this in its error.
func fails(t *testing.T, o server.Options, says string) {
	t.Helper()
	o.Logger = slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o.Ready = func(net.Addr) { cancel() }
	err := server.Run(ctx, o)
	if err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("Run = %v, want an error with %q", err, says)
	}
}

func TestOneServerPerDirectory(t *testing.T) {
	s := servertest.Start(t)
	fails(t, server.Options{DataDir: s.DataDir, Listen: "127.0.0.1:0"}, "lock is held by process")
	s.Enrol(api.Sensor, "sensor-1", "a") // the first one is unharmed
}

func TestStartThatCannotBe(t *testing.T) {
	s := servertest.Start(t)
	fails(t, server.Options{DataDir: t.TempDir(), Listen: s.Addr}, "--listen")
	fails(t, server.Options{DataDir: filepath.Join(t.TempDir(), strings.Repeat("x", 120)), Listen: "127.0.0.1:0"}, "shorter --data-dir")
	fails(t, server.Options{DataDir: t.TempDir(), Listen: "127.0.0.1:0", TrustDomain: "Not A Domain"}, "trust domain")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fails(t, server.Options{DataDir: file, Listen: "127.0.0.1:0"}, "data directory")
}

// TestWhatTheDatabaseNeedsIsNotMadeAnew starts where the CA or the keys of secrets are not, as
// with a mistyped --shared-dir: new ones would lock every agent out and open no secret.
func TestWhatTheDatabaseNeedsIsNotMadeAnew(t *testing.T) {
	accept := ""
	s := servertest.StartWith(t, func(o *server.Options) { o.AcceptCA = accept })
	agent := s.Enrol(api.Sensor, "sensor-1", "a")
	s.Do(http.MethodPut, "/api/v1/secrets/api", operatorapi.SecretRequest{Value: "a value"}, nil)
	s.Stop()
	o := server.Options{DataDir: s.DataDir, Listen: "127.0.0.1:0"}
	in := func(dir string, of ...string) string { return filepath.Join(append([]string{dir}, of...)...) }

	elsewhere := o
	elsewhere.SharedDir = t.TempDir()
	fails(t, elsewhere, in(elsewhere.SharedDir, "ca")+" has no certificate authority, and the database has enrolled agents (1)")
	if found, err := filepath.Glob(in(elsewhere.SharedDir, "ca", "*")); err != nil || len(found) > 0 {
		t.Errorf("it made %q, %v", found, err)
	}

	for name, says := range map[string]string{"ca": "--shared-dir", "secrets.key": "the database has secrets (1)"} {
		lost := t.TempDir()
		if err := os.Rename(in(s.DataDir, name), in(lost, name)); err != nil {
			t.Fatal(err)
		}
		fails(t, o, in(s.DataDir, name))
		fails(t, o, says)
		if err := errors.Join(os.RemoveAll(in(s.DataDir, name)), os.Rename(in(lost, name), in(s.DataDir, name))); err != nil {
			t.Fatal(err)
		}
	}
	s.Restart()
	s.Reconnect(agent)

	// A key that somebody made is what a new CA is wanted by.
	s.Stop()
	key, err := pki.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	text, err := pki.EncodeKey(key)
	if err := errors.Join(err, os.RemoveAll(in(s.DataDir, "ca")), os.Mkdir(in(s.DataDir, "ca"), 0o700), os.WriteFile(in(s.DataDir, "ca", ca.FirstKey), text, 0o600)); err != nil {
		t.Fatal(err)
	}
	fails(t, o, "until the first one is")
	accept = fingerprint(t, in(s.DataDir, "ca"))
	s.Restart()
}

// fingerprint is that of the CA in a directory.
func fingerprint(t *testing.T, dir string) string {
	t.Helper()
	authority, err := ca.Open(dir, ca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return authority.Fingerprint()
}

// TestACAOfAnotherServer starts with a CA that is complete, and not the one that the agents of the database
// were enrolled under.
func TestACAOfAnotherServer(t *testing.T) {
	accept := ""
	s, other := servertest.StartWith(t, func(o *server.Options) { o.AcceptCA = accept }), servertest.Start(t)
	s.Stop()
	other.Stop()
	own, foreign := filepath.Join(s.DataDir, "ca"), filepath.Join(other.DataDir, "ca")
	o := server.Options{DataDir: s.DataDir, Listen: "127.0.0.1:0"}
	s.Restart()
	agent := s.Enrol(api.Sensor, "sensor-1", "a")
	s.Enrol(api.Sensor, "sensor-2", "a")
	s.Do(http.MethodPost, "/api/v1/agents/sensor-2/revoke", operatorapi.RevokeRequest{}, nil)
	s.Stop()

	elsewhere := o
	elsewhere.SharedDir = other.DataDir
	fails(t, elsewhere, foreign+" has the certificate authority "+fingerprint(t, foreign)+", and all enrolled agents of the database (1) have certificates of another one")
	fails(t, elsewhere, "--accept-ca "+fingerprint(t, foreign))
	elsewhere.AcceptCA = fingerprint(t, own) // which is not the one that is there
	fails(t, elsewhere, "--shared-dir")
	s.Restart()
	s.Reconnect(agent) // nothing was changed

	// The own one is lost. Until an agent is enrolled again somebody says that it is.
	s.Stop()
	if err := errors.Join(os.RemoveAll(own), os.Rename(foreign, own)); err != nil {
		t.Fatal(err)
	}
	fails(t, o, "until the first one is")
	accept = fingerprint(t, own)
	s.Restart()
	s.Enrol(api.Sensor, "sensor-3", "a")
	accept = ""
	s.Restart()
}

// TestARotatedCAIsThatOfItsAgents goes through a rotation with a restart after each step, with an agent that
// is away for all of it.
func TestARotatedCAIsThatOfItsAgents(t *testing.T) {
	s := servertest.Start(t)
	s.Enrol(api.Sensor, "sensor-1", "a")
	for _, step := range ca.Steps() {
		s.Do(http.MethodPost, "/api/v1/ca/rotate", operatorapi.RotateCARequest{Step: step, Force: true}, nil)
		s.Restart()
	}
}

func TestOnlyTheOwnerMayOpenTheSocket(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no permission bits; the directory's ACL guards the socket")
	}
	s := servertest.Start(t)
	for name, want := range map[string]os.FileMode{operatorapi.SocketName: 0o600, "stavily.db": 0o600, "ca": 0o700, "ca/ca.key": 0o600} {
		info, err := os.Stat(filepath.Join(s.DataDir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %v", name, info.Mode().Perm(), err, want)
		}
	}
}

// TestLeftoverOfAKilledServer starts where a socket file was left behind.
func TestLeftoverOfAKilledServer(t *testing.T) {
	s := servertest.Start(t)
	s.Stop()
	l, err := net.Listen("unix", filepath.Join(s.DataDir, operatorapi.SocketName))
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	s.Restart()
	s.Runs()
}

// TestSpareConnectionsDoNotHoldUpTheStop opens connections that send nothing, as HTTP
// clients do to have one to spare.
func TestSpareConnectionsDoNotHoldUpTheStop(t *testing.T) {
	s := servertest.Start(t)
	for network, address := range map[string]string{"unix": filepath.Join(s.DataDir, operatorapi.SocketName), "tcp": s.Addr} {
		c, err := net.Dial(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	s.Runs() // by when the server has accepted the connection before
	begin := time.Now()
	s.Stop()
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("the stop took %s", took)
	}
}

// TestStartSaysThreeLines holds that a start says where, who and how to operate, and
// nothing else; and that secrets are not among it.
func TestStartSaysThreeLines(t *testing.T) {
	dir, err := os.MkdirTemp("", "stavily")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	var log lockedBuffer
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err = server.Run(ctx, server.Options{
		DataDir: dir, Listen: "127.0.0.1:0", Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Ready: func(net.Addr) { cancel() },
	})
	if err != nil {
		t.Fatalf("Run ended with %v, want nil when it is asked to stop", err)
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 3 || !strings.Contains(log.String(), "fingerprint=sha256:") || !strings.Contains(log.String(), "operator.sock") {
		t.Errorf("a start says %d lines, want three:\n%s", len(lines), log.String())
	}
}

// lockedBuffer is a bytes.Buffer for several writers.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestServesBothProtocols holds that plain HTTP/1.1 clients work as HTTP/2 ones do.
func TestServesBothProtocols(t *testing.T) {
	s := servertest.Start(t)
	sensor := s.Enrol(api.Sensor, "sensor-1", "a")
	for _, protocol := range []string{"h2", "http/1.1"} {
		client := s.HTTP(sensor)
		transport := client.Transport.(*http.Transport)
		if protocol == "http/1.1" {
			transport.ForceAttemptHTTP2 = false
			transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		}
		resp, err := client.Post(s.URL()+"/agents/v1/sensor-1/heartbeat", "application/json", strings.NewReader(`{"status": "online"}`))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		client.CloseIdleConnections()
		if resp.StatusCode != http.StatusOK || (resp.ProtoMajor == 2) != (protocol == "h2") {
			t.Errorf("%s: %s over %s", protocol, resp.Status, resp.Proto)
		}
	}
}
