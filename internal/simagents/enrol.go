package simagents

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// Server is where the agents enrol.
type Server struct {
	DataDir string // its operator socket is there
	URL     string // of its agents' listener
}

// Spec is an agent to be.
type Spec struct {
	ID   api.AgentID
	Type api.AgentType
	Host string
	Tags []string
}

// Agent is one that is enrolled.
type Agent struct {
	Spec
	*api.Client
	notAfter time.Time
	trusted  []string      // fingerprint of the CA
	asked    time.Duration // by the server, until the next heartbeat
}

// enrolling is how many enrol at a time: as many as the server lets one address.
const enrolling = 4

// callTimeout is long: on a machine that is measured at its limit calls wait.
const callTimeout = time.Minute

// Enrol enrols agents, connects them and returns them in the same order. each, unless it is
// nil, gets every agent as soon as it is connected: one that stays silent for long loses
// its connection, and all at once are more than the server takes of one address before
// it knows them.
func Enrol(ctx context.Context, s Server, specs []Spec, each func(*Agent)) ([]*Agent, error) {
	operator := operatorOf(s.DataDir)
	defer operator.CloseIdleConnections()
	agents := make([]*Agent, len(specs))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(enrolling)
	for n, spec := range specs {
		group.Go(func() (err error) {
			if agents[n], err = enrol(ctx, operator, s.URL, spec); err != nil {
				return fmt.Errorf("enrol simulated agent %s: %w", spec.ID, err)
			}
			if each != nil {
				each(agents[n])
			}
			return nil
		})
	}
	return agents, group.Wait()
}

// Close closes the connections of agents.
func Close(agents []*Agent) {
	for _, a := range agents {
		a.CloseIdle()
	}
}

func enrol(ctx context.Context, operator *http.Client, url string, spec Spec) (*Agent, error) {
	token, err := makeToken(ctx, operator, spec)
	if err != nil {
		return nil, err
	}
	pinned, err := pki.PinnedTLS(token.CAFingerprint, "127.0.0.1")
	if err != nil {
		return nil, err
	}
	client, err := api.NewClient(api.ClientOptions{BaseURL: url, TLS: pinned, Agent: spec.ID, Timeout: callTimeout})
	if err != nil {
		return nil, err
	}
	key, err := pki.GenerateKey()
	if err != nil {
		return nil, err
	}
	csr, err := pki.NewCSR(key, spec.ID)
	if err != nil {
		return nil, err
	}
	var answer api.EnrollResponse
	err = again(ctx, func() (err error) {
		answer, err = client.Enroll(ctx, token.Token, api.EnrollRequest{
			AgentID: spec.ID, AgentType: spec.Type, CSRPEM: string(csr), Hostname: spec.Host, Tags: spec.Tags, Version: api.Version, Sandbox: posture,
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	certs, err := pki.ParseCertificates([]byte(answer.CertificatePEM))
	if err != nil {
		return nil, err
	}
	cas, err := pki.ParseCertificates([]byte(answer.CAPEM))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(cas[0])
	client.Reconnect(&tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: roots, SessionTicketsDisabled: true,
		Certificates: []tls.Certificate{{Certificate: [][]byte{certs[0].Raw}, PrivateKey: key, Leaf: certs[0]}},
	})
	a := &Agent{Spec: spec, Client: client, notAfter: certs[0].NotAfter, trusted: []string{pki.Fingerprint(cas[0])}}
	return a, again(ctx, func() error {
		answer, err := a.Heartbeat(ctx, a.heartbeat())
		a.asked = time.Duration(answer.HeartbeatSeconds) * time.Second
		return err
	})
}

// connectTries is how often a new agent tries to connect: on a busy machine a handshake
// takes longer than the server waits for it.
const connectTries = 5

func again(ctx context.Context, call func() error) (err error) {
	for n := range connectTries {
		if err = call(); err == nil || !api.Retryable(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(n+1) * time.Second):
		}
	}
	return err
}

// operatorOf speaks to the operator socket of a server on this machine.
func operatorOf(dataDir string) *http.Client {
	return &http.Client{Timeout: callTimeout, Transport: &http.Transport{
		MaxIdleConnsPerHost: enrolling,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", filepath.Join(dataDir, "operator.sock"))
		},
	}}
}

type token struct {
	Token         string `json:"token"`
	CAFingerprint string `json:"ca_fingerprint"`
}

func makeToken(ctx context.Context, operator *http.Client, spec Spec) (made token, err error) {
	body, err := json.Marshal(map[string]any{"agent_type": spec.Type, "agent_id": spec.ID})
	if err != nil {
		return made, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://stavily/api/v1/tokens?org=default", bytes.NewReader(body))
	if err != nil {
		return made, err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := operator.Do(request)
	if err != nil {
		return made, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return made, fmt.Errorf("make a token: the server answered %s", answer.Status)
	}
	return made, limits.DecodeJSON(answer.Body, 64<<10, &made)
}
