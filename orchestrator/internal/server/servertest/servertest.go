// Package servertest runs a whole orchestrator for tests: the real server on a port
// of 127.0.0.1 and a data directory of the test, with agents that talk to it through
// the real client over mutual TLS.
//
// It is imported by tests only. Whatever it starts ends with the test.
package servertest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// Server is a running orchestrator.
type Server struct {
	DataDir  string
	Addr     string // 127.0.0.1:port, the same after Restart
	Operator *operatorapi.Client

	t    testing.TB
	log  io.Writer
	stop func()

	change func(*server.Options)
}

// Start starts an orchestrator that stops with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	return StartWith(t, func(*server.Options) {})
}

// StartWith starts one with options that change sets.
func StartWith(t testing.TB, change func(*server.Options)) *Server {
	t.Helper()
	// Not t.TempDir: with a long test name the path of the operator socket would be
	// longer than sockets take.
	dir, err := os.MkdirTemp("", "stavily")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &Server{DataDir: dir, Addr: "127.0.0.1:0", t: t, log: t.Output(), change: change}
	s.Operator = operatorapi.NewClient(filepath.Join(dir, operatorapi.SocketName), "default")
	s.start()
	t.Cleanup(func() {
		s.Operator.Close()
		s.stop()
	})
	return s
}

// Stop stops the orchestrator.
func (s *Server) Stop() {
	s.t.Helper()
	s.stop()
}

// Restart stops the orchestrator and starts it again on the same directory and port.
func (s *Server) Restart() {
	s.t.Helper()
	s.stop()
	s.start()
}

func (s *Server) start() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	ready, ended := make(chan net.Addr, 1), make(chan error, 1)
	options := server.Options{
		DataDir: s.DataDir, Listen: s.Addr, WebListen: "127.0.0.1:0", Hostnames: []string{"127.0.0.1"},
		Logger: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Ready:  func(a net.Addr) { ready <- a },
	}
	s.change(&options)
	go func() { ended <- server.Run(ctx, options) }()
	select {
	case a := <-ready:
		s.Addr = a.String()
	case err := <-ended:
		cancel()
		s.t.Fatalf("start the server: %v", err)
	}
	s.stop = func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				s.t.Errorf("the server ended with: %v", err)
			}
		case <-time.After(time.Minute):
			s.t.Error("the server did not stop")
		}
		s.stop = func() {}
	}
}

// URL is where agents connect.
func (s *Server) URL() string { return "https://" + s.Addr }

// Do calls the operator API.
func (s *Server) Do(method, path string, in, out any) {
	s.t.Helper()
	if err := s.Operator.Do(s.t.Context(), method, path, url.Values{}, in, out); err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
}

// Organisation is the same server, operated in another organisation.
func (s *Server) Organisation(org api.OrgID) *Server {
	other := *s
	other.Operator = operatorapi.NewClient(filepath.Join(s.DataDir, operatorapi.SocketName), org)
	s.t.Cleanup(other.Operator.Close)
	return &other
}

// HTTP returns a bare client that shows the agent's certificate, or none when agent
// is nil, and follows no redirect.
func (s *Server) HTTP(agent *Agent) *http.Client {
	s.t.Helper()
	conf := &tls.Config{RootCAs: x509.NewCertPool()}
	ca, err := os.ReadFile(filepath.Join(s.DataDir, "ca", "ca.crt"))
	if err != nil || !conf.RootCAs.AppendCertsFromPEM(ca) {
		s.t.Fatalf("read the CA: %v", err)
	}
	if agent != nil {
		// Whatever the server says that it accepts.
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &agent.Cert, nil }
	}
	if agent != nil && agent.Late {
		conf.NextProtos = []string{api.ProtocolLate, "http/1.1"}
	}
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: agent == nil || !agent.Late},
		Timeout:       10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Audit lists the first 50 audit records.
func (s *Server) Audit() []operatorapi.Audit {
	s.t.Helper()
	var rows []operatorapi.Audit
	s.Do(http.MethodGet, "/api/v1/audit", nil, &rows)
	return rows
}

// Token makes an enrolment token; agent may be empty.
func (s *Server) Token(typ api.AgentType, agent api.AgentID) operatorapi.NewToken {
	s.t.Helper()
	var token operatorapi.NewToken
	s.Do(http.MethodPost, "/api/v1/tokens", operatorapi.TokenRequest{AgentType: typ, AgentID: agent}, &token)
	return token
}

// Agent is an enrolled agent.
type Agent struct {
	*api.Client
	ID    api.AgentID
	Key   crypto.Signer
	Cert  tls.Certificate
	Roots *x509.CertPool
	Late  bool // HTTP asks for a late renewal
}

// Enrol enrols an agent on a host of the name host.
func (s *Server) Enrol(typ api.AgentType, id api.AgentID, host string) *Agent {
	s.t.Helper()
	token := s.Token(typ, id)
	key, err := pki.GenerateKey()
	if err != nil {
		s.t.Fatal(err)
	}
	answer, err := s.EnrolWith(token, id, key, host)
	if err != nil {
		s.t.Fatalf("enrol %s: %v", id, err)
	}
	return s.Connect(id, key, answer)
}

// EnrolWith enrols an agent with a given token and key.
func (s *Server) EnrolWith(token operatorapi.NewToken, id api.AgentID, key crypto.Signer, host string) (api.EnrollResponse, error) {
	s.t.Helper()
	csr, err := pki.NewCSR(key, id)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.EnrolRequest(token, api.EnrollRequest{AgentID: id, AgentType: token.AgentType, CSRPEM: string(csr), Hostname: host, Tags: []string{"host:" + host}})
}

// EnrolRequest sends an enrolment request as it is.
func (s *Server) EnrolRequest(token operatorapi.NewToken, r api.EnrollRequest) (api.EnrollResponse, error) {
	s.t.Helper()
	conf, err := pki.PinnedTLS(token.CAFingerprint, "127.0.0.1")
	if err != nil {
		s.t.Fatal(err)
	}
	client := s.client(r.AgentID, conf)
	defer client.CloseIdle()
	return client.Enroll(s.t.Context(), token.Token, r)
}

// Connect returns an agent that uses the certificate of an enrolment or renewal.
func (s *Server) Connect(id api.AgentID, key crypto.Signer, answer api.EnrollResponse) *Agent {
	s.t.Helper()
	certs, err := pki.ParseCertificates([]byte(answer.CertificatePEM))
	if err != nil {
		s.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(answer.CAPEM)) {
		s.t.Fatalf("no CA in %q", answer.CAPEM)
	}
	cert := tls.Certificate{Certificate: [][]byte{certs[0].Raw}, PrivateKey: key, Leaf: certs[0]}
	client := s.client(id, &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{cert}})
	s.t.Cleanup(client.CloseIdle)
	return &Agent{Client: client, ID: id, Key: key, Cert: cert, Roots: roots}
}

func (s *Server) client(id api.AgentID, conf *tls.Config) *api.Client {
	s.t.Helper()
	client, err := api.NewClient(api.ClientOptions{
		BaseURL: s.URL(), TLS: conf, Agent: id, Timeout: 10 * time.Second, UserAgent: "servertest", RequestsPerSecond: 1000, Burst: 1000,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return client
}

// Apply applies a workflow.
func (s *Server) Apply(text string) {
	s.t.Helper()
	s.Do(http.MethodPost, "/api/v1/workflows", operatorapi.ApplyRequest{File: "test.yaml", Text: strings.TrimLeft(text, "\n")}, nil)
}

// Publish publishes a package.
func (s *Server) Publish(content []byte) operatorapi.Published {
	s.t.Helper()
	var p operatorapi.Published
	if err := s.Operator.Upload(s.t.Context(), "/api/v1/plugins", bytes.NewReader(content), &p); err != nil {
		s.t.Fatalf("publish: %v", err)
	}
	return p
}

// Assign lets agents have a plugin.
func (s *Server) Assign(id api.PluginID, r operatorapi.AssignRequest) operatorapi.Assigned {
	s.t.Helper()
	var a operatorapi.Assigned
	s.Do(http.MethodPost, "/api/v1/plugins/"+string(id)+"/assignments", r, &a)
	return a
}

// Runs lists the runs, newest first.
func (s *Server) Runs() []operatorapi.Run {
	s.t.Helper()
	var runs []operatorapi.Run
	s.Do(http.MethodGet, "/api/v1/runs", nil, &runs)
	return runs
}

// Run shows one run.
func (s *Server) Run(id api.RunID) operatorapi.RunDetail {
	s.t.Helper()
	var run operatorapi.RunDetail
	s.Do(http.MethodGet, "/api/v1/runs/"+string(id), nil, &run)
	return run
}

// Reconnect returns an agent of another server of the same database, connected to this one.
func (s *Server) Reconnect(a *Agent) *Agent {
	s.t.Helper()
	client := s.client(a.ID, &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: a.Roots, Certificates: []tls.Certificate{a.Cert}})
	s.t.Cleanup(client.CloseIdle)
	return &Agent{Client: client, ID: a.ID, Key: a.Key, Cert: a.Cert, Roots: a.Roots}
}
