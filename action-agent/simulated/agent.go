package simulated

import (
	"context"
	"errors"
	"sync"

	role "github.com/stavily/agents/action-agent/internal/agent"
	"github.com/stavily/agents/shared/pkg/agent"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// Options of an agent. Bare.Role is set by Run.
type Options struct {
	Bare agent.Bare
	// Prepare takes the time until that process waits for its command; nil: none.
	Prepare func(context.Context, *api.Instruction)
	// Execute stands for the process of a plugin. It is ended by its context, and must then
	// return a result that says so, as a process that is killed does.
	Execute func(context.Context, *api.Instruction) api.Result
}

// Run is the life of an agent's process, from its start until ctx ends.
func Run(ctx context.Context, o Options) (err error) {
	o.Bare.Role = role.Role()
	rt, closeAll, err := o.Bare.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	components, err := role.Components(rt, host{o.Prepare, o.Execute})
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	failed := make([]error, len(components))
	for n, c := range components {
		running.Go(func() { failed[n] = c.Run(ctx) })
	}
	running.Wait()
	return errors.Join(failed...)
}

// host has every plugin and confines it as is asked for.
type host struct {
	prepare func(context.Context, *api.Instruction)
	execute func(context.Context, *api.Instruction) api.Result
}

func (host) CanInstall(*api.Instruction) error { return errors.New("nothing is installed here") }

func (host) Acquire(id api.PluginID) (*plugin.Plugin, func(), error) {
	return &plugin.Plugin{Manifest: plugin.Manifest{ID: id, Version: "1.0.0", Kind: plugin.Action}}, func() {}, nil
}

func (host) Confines(api.SandboxLevel) error { return nil }

func (host) SettingsOf(api.PluginID) config.PluginFile { return config.PluginFile{} }

func (host) Examine(t agent.Task) (agent.Task, error) { return t, nil }

func (host) MakeRoom(context.Context, agent.Task) (func(), error) { return func() {}, nil }

func (h host) Execute(ctx context.Context, t agent.Task) api.Result {
	if h.prepare != nil {
		h.prepare(ctx, t.Instruction)
	}
	if err := t.Ready(); err != nil {
		return api.Result{Status: api.Failed, ErrorMessage: err.Error()}
	}
	return h.execute(ctx, t.Instruction)
}

func (host) Change(context.Context, agent.Task) api.Result { return api.Result{Status: api.Failed} }
