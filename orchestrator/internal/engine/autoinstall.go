package engine

import (
	"fmt"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// autoInstall assigns the plugin of a step to one agent that may run it, where none that may
// has it. It takes only what people have published and approved, whatever a workflow asks
// for, and touches no agent that another assignment gives the plugin; the agent itself still
// takes only what a key that it trusts has signed. The step waits as for any agent.
func (t *tx) autoInstall(s instruction.Spec) error {
	agents, err := t.Agents()
	if err != nil {
		return err
	}
	assignments, err := t.Assignments()
	if err != nil {
		return err
	}
	var to api.AgentID
	for _, a := range agents {
		if a.Type != api.Action || a.State == store.Revoked || !s.Target.Fits(a.ID, a.Hostname, a.Tags) {
			continue
		}
		if _, assigned := closest(assignments, s.Plugin, a); assigned || a.Plugins != nil && a.CouldTake(s.Plugin, s.Target) {
			return nil // it has it, or is about to
		}
		online := a.TakesPackages && a.Status != StatusOffline && t.now.Sub(a.LastSeen) < onlineWithin
		if online && to == "" && a.Sandbox.Satisfies(s.Target.Sandbox) {
			to = a.ID
		}
	}
	best, err := t.bestApproved(s.Plugin, s.Version)
	if err != nil || best.Version == "" || to == "" {
		return err // explain says what the agents lack
	}
	actor := t.actor
	t.actor = fmt.Sprintf("workflow %s, run %s", s.Workflow, s.RunID)
	_, err = t.assign(AssignSpec{Plugin: s.Plugin, Range: best.Version, Selector: store.OfAgent(to)})
	t.actor = actor
	return err
}

// bestApproved is the highest version of a plugin in a range that people have approved.
func (t *tx) bestApproved(id api.PluginID, within string) (store.Package, error) {
	published, err := t.Packages(id)
	if err != nil {
		return store.Package{}, err
	}
	var approved []store.Package
	for _, p := range published {
		if !p.ApprovedAt.IsZero() {
			approved = append(approved, p)
		}
	}
	if within == "" {
		within = "*"
	}
	return highest(approved, within)
}
