package agent

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
)

// Bare is what a runtime needs where everything around an agent is simulated.
type Bare struct {
	Role    Role
	ID      api.AgentID
	BaseDir string
	Environ []string // settings besides, as STAVILY_* variables

	Log       *slog.Logger
	Now       func() time.Time  // the clock on the wall of this host
	Random    func() float64    // see [Runtime.Random]
	Transport http.RoundTripper // leads to the orchestrator
}

// Open makes a Runtime with an API client, a base directory and an audit log, without an
// identity, plugins and listeners. close closes what it and its role opened.
func (b Bare) Open() (rt *Runtime, closeAll func() error, err error) {
	loaded, err := config.Load(config.LoadOptions{Type: b.Role.Type, Hostname: string(b.ID), Environ: append([]string{
		"STAVILY_AGENT_ID=" + string(b.ID), "STAVILY_BASE_DIR=" + b.BaseDir, "STAVILY_API_BASE_URL=https://simulated.invalid",
	}, b.Environ...)})
	if err != nil {
		return nil, nil, fmt.Errorf("configure agent %s: %w", b.ID, err)
	}
	release, err := openBase(b.BaseDir)
	if err != nil {
		return nil, nil, err
	}
	cfg := &loaded.Config
	if rt, err = newRuntime(cfg, b.Role, b.Log); err != nil {
		return nil, nil, err
	}
	rt.now, rt.random = b.Now, b.Random
	rt.API, err = api.NewClient(api.ClientOptions{
		BaseURL: cfg.API.BaseURL, TLS: &tls.Config{MinVersion: tls.VersionTLS13}, Agent: b.ID, Transport: b.Transport,
		Timeout: cfg.API.Timeout.Duration(), UserAgent: userAgent(b.Role),
		RequestsPerSecond: cfg.API.RateLimit.RequestsPerSecond, Burst: cfg.API.RateLimit.Burst,
	})
	if err != nil {
		return nil, nil, err
	}
	rt.openAudit()
	return rt, func() error { return errors.Join(rt.closeRole(), rt.closeAudit(), release()) }, nil
}
