package engine

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// autoInstall assigns the plugin of a step to one agent that may run it, where none that may
// has it in the step's range: to one that lacks it, before one that has another version. It
// takes only what people have published and approved, whatever a workflow asks for, and
// touches no agent that another assignment gives the plugin; the agent itself still takes
// only what a key that it trusts has signed. The step waits as for any agent.
func (t *tx) autoInstall(s instruction.Spec) error {
	agents, err := t.Agents()
	if err != nil {
		return err
	}
	assignments, err := t.Assignments()
	if err != nil {
		return err
	}
	var to, instead api.AgentID // that has no version of it, or else another one
	for _, a := range agents {
		if a.Type != api.Action || a.State == store.Revoked || !s.Target.Fits(a.ID, a.Hostname, a.Tags) {
			continue
		}
		by, assigned := closest(assignments, s.Plugin, a)
		coming := cmp.Or(by.State.Target.Version, by.State.For(a.ID).Version)
		if assigned && s.Target.Takes(coming) || a.Plugins != nil && a.CouldTake(s.Plugin, s.Target) {
			return nil // it has it, or is about to
		}
		online := a.TakesPackages && a.Status != StatusOffline && t.now.Sub(a.LastSeen) < onlineWithin
		if assigned || !online || !a.Sandbox.Satisfies(s.Target.Sandbox) {
			continue
		}
		if slices.ContainsFunc(a.Plugins, func(p api.PluginInfo) bool { return p.ID == s.Plugin }) {
			instead = cmp.Or(instead, a.ID)
		} else {
			to = cmp.Or(to, a.ID)
		}
	}
	to = cmp.Or(to, instead)
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
