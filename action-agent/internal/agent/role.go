package agent

import (
	"github.com/stavily/agents/shared/pkg/agent"
	"github.com/stavily/agents/shared/pkg/api"
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

func components(rt *agent.Runtime) ([]agent.Component, error) {
	journal, err := rt.OpenJournal()
	if err != nil {
		return nil, err
	}
	if err := rt.OpenSecretsKey(); err != nil {
		return nil, err
	}
	w := newWorker(rt, journal)
	w.resume()
	return []agent.Component{{Name: "poll", Run: w.poll}, {Name: "report", Run: w.report}}, nil
}
