package agent

import "github.com/stavily/agents/shared/pkg/api"

// Role is what makes one agent a sensor agent and the other an action agent.
type Role struct {
	Type    api.AgentType
	Program string // the binary's name, for example sensor-agent
	Summary string // one sentence for --help

	// Components makes the loops that only this role has. They run once the agent
	// is enrolled, and may use everything in the Runtime. Called once.
	Components func(*Runtime) ([]Component, error)

	requireEnrolled bool // --require-enrolled: an agent without a certificate ends
}
