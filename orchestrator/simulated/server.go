package simulated

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"

	"github.com/stavily/agents/orchestrator/internal/agentapi"
	"github.com/stavily/agents/orchestrator/internal/ca"
	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/store/sqlite"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// Org is the organisation of everything here.
const Org api.OrgID = "default"

// Options of a server.
type Options struct {
	Dir    string // as init or the former life left it
	Now    func() time.Time
	Lease  time.Duration
	Log    *slog.Logger
	Commit func(Moment) (die bool) // asked around every commit, of which there is one at a time; nil: no
}

// Server is one life of the orchestrator's process.
type Server struct {
	engine  *engine.Engine
	store   *mortal
	handler http.Handler
	roots   []*x509.Certificate
}

// Open starts a server over a directory, which is filled when it is empty.
func Open(ctx context.Context, o Options) (*Server, error) {
	authority, err := ca.Open(filepath.Join(o.Dir, "ca"), ca.Options{})
	if err != nil {
		return nil, err
	}
	st, err := sqlite.Open(ctx, filepath.Join(o.Dir, "stavily.db"))
	if err != nil {
		return nil, err
	}
	s := &Server{store: &mortal{Store: st, ask: o.Commit}}
	s.engine = engine.New(s.store, authority, engine.Options{Logger: o.Log, Now: o.Now, LeaseTTL: o.Lease})
	if s.handler, err = agentapi.Handler(s.engine, o.Log, nil); err == nil {
		s.roots, err = pki.ParseCertificates([]byte(authority.PEM()))
	}
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return s, nil
}

// Run reaps until ctx ends.
func (s *Server) Run(ctx context.Context) error { return s.engine.Run(ctx) }

// Close closes the files. A server that has died is closed too, so that nothing is left open.
func (s *Server) Close() error { return s.store.Close() }

// Kill ends the process between two commits; snapshot takes what is on the disk then.
func (s *Server) Kill(snapshot func()) { s.store.kill(snapshot) }

// Serve answers a request of the agent with this certificate, as over mutual TLS.
func (s *Server) Serve(w http.ResponseWriter, r *http.Request, leaf *x509.Certificate) {
	r.TLS = &tls.ConnectionState{
		Version: tls.VersionTLS13, HandshakeComplete: true,
		PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{append([]*x509.Certificate{leaf}, s.roots...)},
	}
	s.handler.ServeHTTP(w, r)
}

// Enrol enrols an agent of a host that all share, and returns its certificate.
func (s *Server) Enrol(ctx context.Context, typ api.AgentType, id api.AgentID) (*x509.Certificate, error) {
	token, _, err := s.engine.CreateToken(ctx, Org, engine.TokenSpec{Type: typ, Agent: id})
	if err != nil {
		return nil, err
	}
	key, err := pki.GenerateKey()
	if err != nil {
		return nil, err
	}
	request, err := pki.NewCSR(key, id)
	if err != nil {
		return nil, err
	}
	answer, err := s.engine.Enroll(ctx, token, api.EnrollRequest{AgentID: id, AgentType: typ, CSRPEM: string(request), Hostname: "host"})
	if err != nil {
		return nil, err
	}
	certs, err := pki.ParseCertificates([]byte(answer.CertificatePEM))
	if err != nil {
		return nil, err
	}
	return certs[0], nil
}

// Apply makes the text of a workflow the current one.
func (s *Server) Apply(ctx context.Context, text string) error {
	_, _, err := s.engine.Apply(ctx, Org, "sim.yaml", []byte(text))
	return err
}

// Cancel asks that a run ends.
func (s *Server) Cancel(ctx context.Context, id api.RunID) error {
	_, err := s.engine.CancelRun(ctx, Org, id)
	return err
}
