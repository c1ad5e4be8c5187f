package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/stavily/agents/internal/destination"
	"github.com/stavily/agents/shared/internal/egress"
	"github.com/stavily/agents/shared/internal/pyenv"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/pkg/plugin"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// openEnvironments prepares what gives Python plugins their interpreters. That there is
// none is a condition: plugins in other languages run all the same.
func (p *Plugins) openEnvironments(ctx context.Context) error {
	rt, cfg := p.rt, p.rt.Config().Plugins.Python
	interpreters := pyenv.NewInterpreters(cfg.Interpreter, cfg.Interpreters)
	var err error
	if p.python, err = interpreters.First(ctx); err != nil {
		rt.Health.Set("no_python", Degraded, false, err.Error(), "install Python 3.8 or newer, or set plugins.python.interpreter")
		rt.Log.Warn("no Python", telemetry.KeyError, err)
	}
	p.environments, err = pyenv.New(pyenv.Options{
		Dir:          filepath.Join(rt.DataDir("cache"), "env"),
		Temp:         filepath.Join(tempOf(rt.Config().Agent.BaseDir), tempPrefix+"environment-"),
		Interpreters: interpreters,
		Policy: pyenv.Policy{
			WheelDir: cfg.WheelDir, IndexURL: cfg.IndexURL.Reveal(), AllowSdist: cfg.AllowSdist, SystemPackages: cfg.SystemPackages,
		},
		Log: rt.Log, User: p.confinement.user, Confine: p.confineBuild,
	})
	return err
}

// environment is the interpreter that runs a plugin, with the packages that it requires.
// They are installed where that has not been done; progress hears of it.
func (p *Plugins) environment(ctx context.Context, m *plugin.Plugin, progress func(string)) (pyenv.Interpreter, error) {
	return p.environments.Prepare(ctx, m, func(what string) {
		p.rt.Log.Debug("environment", telemetry.KeyPlugin, m.ID, "progress", what)
		if progress != nil {
			progress(what)
		}
	})
}

// interpreterOf is the interpreter of a version. One that is not installed, as on a
// workbench, gets its environment now.
func (p *Plugins) interpreterOf(ctx context.Context, m *plugin.Plugin) (pyenv.Interpreter, error) {
	p.mu.RLock()
	i, known := p.pythons[m.Dir]
	p.mu.RUnlock()
	if known {
		return i, nil
	}
	return p.environment(ctx, m, nil)
}

// pythonOf is interpreterOf where nothing is to be built: the host's own interpreter as
// long as the version has no environment.
func (p *Plugins) pythonOf(m *plugin.Plugin) pyenv.Interpreter {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if i, known := p.pythons[m.Dir]; known {
		return i
	}
	return p.python
}

// collectEnvironments removes those that no version needs any more.
func (p *Plugins) collectEnvironments() {
	var inUse []string
	p.mu.Lock()
	for dir, i := range p.pythons {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			delete(p.pythons, dir)
		} else {
			inUse = append(inUse, i.Environment)
		}
	}
	p.mu.Unlock()
	if err := p.environments.Collect(inUse); err != nil {
		p.rt.Log.Warn("old environments are left", telemetry.KeyError, err)
	}
}

// confineBuild holds a build of an environment as plugins are held, with a way to the
// package index where it is to be online.
func (p *Plugins) confineBuild(ctx context.Context, s *sandbox.Spec, online bool) (release func() error, err error) {
	s.Host, s.Level, s.User = p.confinement.host, p.posture.Level, p.confinement.user
	if online {
		if s.Network, err = p.wayToIndex(ctx); err != nil {
			return nil, err
		}
	}
	g, err := p.confinement.group(filepath.Base(s.Temp), s.Limits)
	if err != nil {
		return nil, fmt.Errorf("make a control group: %w", err)
	}
	if g == nil {
		return func() error { return nil }, nil
	}
	s.Group = g
	return g.Close, nil
}

// alongside are hosts to which a well-known index leads for its files.
var alongside = map[string][]string{"pypi.org": {"files.pythonhosted.org"}}

// wayToIndex leads to the package index and to nothing else where destinations can be
// told apart, else to its port. The owner named it, so it may have a private address.
func (p *Plugins) wayToIndex(ctx context.Context) (sandbox.Network, error) {
	index, err := destination.FromURL(p.rt.Config().Plugins.Python.IndexURL.Reveal())
	if err != nil {
		return sandbox.Network{}, fmt.Errorf("plugins.python.index_url: %w", err)
	}
	to := []destination.Destination{index}
	for _, host := range alongside[index.Host] {
		to = append(to, destination.Destination{Host: host, Port: index.Port})
	}
	switch {
	case p.posture.Level == sandbox.Full:
	case p.posture.Level == sandbox.Confined && p.posture.LandlockABI >= landlockPorts:
		return sandbox.Network{Ports: []uint16{index.Port}}, nil
	default:
		return sandbox.Network{All: true}, nil
	}
	gate, err := egress.New(egress.Options{
		Destinations: to, Allow: egress.ParseAllow(append(slices.Clone(p.rt.Config().Security.Sandbox.AllowPrivate), index.Host)),
		Report: func(c egress.Connection) {
			p.rt.Log.Info("connection to the package index", "destination", c.Destination.String(), "address", c.Address.String(),
				"sent", c.Sent, "received", c.Received, "outcome", c.Outcome, "reason", c.Reason)
		},
	})
	if err != nil {
		return sandbox.Network{}, err
	}
	var out sandbox.Network
	for _, l := range gate.Listen(ctx) {
		out.Listen = append(out.Listen, sandbox.Listen(l))
	}
	return out, nil
}
