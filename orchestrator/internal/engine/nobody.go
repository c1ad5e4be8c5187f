package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// maxNamed is how many agents a sentence names.
const maxNamed = 3

// WhyNobody says why no agent can be offered an instruction now: the first of what keeps
// them all away, its target, its plugin or its sandbox. It is empty when some agent can
// be offered it, which then has to ask. It reads every agent of the organisation, so it is
// for people who look and for what ends, not for each dispatch.
func WhyNobody(r store.AgentReader, plugin api.PluginID, target instruction.Target) (string, error) {
	agents, err := r.Agents()
	if err != nil {
		return "", err
	}
	var fit, able []store.Agent
	for _, a := range agents {
		switch {
		case a.Type != api.Action || a.State == store.Revoked || !target.Fits(a.ID, a.Hostname, a.Tags):
		case !a.CouldTake(plugin, target):
			fit = append(fit, a)
		case a.CanTake(plugin, target):
			return "", nil
		default:
			able = append(able, a)
		}
	}
	switch {
	case len(able) > 0:
		return fmt.Sprintf("needs sandbox %s; %s", target.Sandbox, named(able, "report less as well", func(a store.Agent) string {
			return fmt.Sprintf("%s reports %s", a.ID, described(a.Sandbox))
		})), nil
	case len(fit) > 0:
		return named(fit, "have not either", func(a store.Agent) string { return unable(a, plugin, target) }), nil
	}
	return "no action agent " + asked(target), nil
}

// named tells of the first few agents, and how many more there are.
func named(agents []store.Agent, more string, tell func(store.Agent) string) string {
	var out []string
	for _, a := range agents[:min(len(agents), maxNamed)] {
		out = append(out, tell(a))
	}
	if rest := len(agents) - maxNamed; rest > 0 {
		out = append(out, fmt.Sprintf("%d more %s", rest, more))
	}
	return strings.Join(out, "; ")
}

func unable(a store.Agent, plugin api.PluginID, target instruction.Target) string {
	if target.Secrets && a.SecretsKey == "" {
		return fmt.Sprintf("agent %s has told no key that secrets could be sealed to", a.ID)
	}
	i := slices.IndexFunc(a.Plugins, func(p api.PluginInfo) bool { return p.ID == plugin })
	if i < 0 {
		return fmt.Sprintf("agent %s has no plugin %s", a.ID, plugin)
	}
	p := a.Plugins[i]
	if !target.Takes(p.Version) {
		said := fmt.Sprintf("agent %s has %s of plugin %s, needs %s", a.ID, p.Version, plugin, target.Version)
		if p.Message != "" { // such as why a newer one is refused
			said += ": " + p.Message
		}
		return said
	}
	return fmt.Sprintf("agent %s cannot run plugin %s: %s", a.ID, plugin, p.Message)
}

// asked is what a target asks for, after "no action agent".
func asked(t instruction.Target) string {
	var parts []string
	if len(t.Agents) > 0 {
		ids := make([]string, len(t.Agents))
		for i, id := range t.Agents {
			ids[i] = string(id)
		}
		parts = append(parts, "is named "+strings.Join(ids, " or "))
	}
	if t.Host != "" {
		parts = append(parts, "is on host "+t.Host)
	}
	if len(t.Tags) > 0 {
		parts = append(parts, "has the tags "+strings.Join(t.Tags, ", "))
	}
	if len(parts) == 0 {
		return "is enrolled"
	}
	return strings.Join(parts, " and ")
}
