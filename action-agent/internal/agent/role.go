package agent

import (
	"context"

	"github.com/stavily/agents/shared/pkg/agent"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// Role is the action agent.
func Role() agent.Role {
	return agent.Role{
		Type:       api.Action,
		Program:    "action-agent",
		Summary:    "Takes instructions from the orchestrator and runs action and output plugins",
		Components: components,
	}
}

// Host is what runs the plugins of instructions: [agent.Plugins], or what stands for it where
// time is simulated.
type Host interface {
	CanInstall(*api.Instruction) error
	Acquire(api.PluginID) (found *plugin.Plugin, release func(), err error)
	Confines(least api.SandboxLevel) error
	SettingsOf(api.PluginID) config.PluginFile
	Examine(agent.Task) (agent.Task, error)
	MakeRoom(context.Context, agent.Task) (leave func(), err error)
	Execute(context.Context, agent.Task) api.Result
	Change(context.Context, agent.Task) api.Result
}

func components(rt *agent.Runtime) ([]agent.Component, error) { return Components(rt, rt.Plugins) }

// Components are the loops of the action agent, over this host.
func Components(rt *agent.Runtime, host Host) ([]agent.Component, error) {
	journal, err := rt.OpenJournal()
	if err != nil {
		return nil, err
	}
	if err := rt.OpenSecretsKey(); err != nil {
		return nil, err
	}
	w := newWorker(rt, journal, host)
	w.resume()
	return []agent.Component{{Name: "poll", Run: w.poll}, {Name: "report", Run: w.report}}, nil
}
