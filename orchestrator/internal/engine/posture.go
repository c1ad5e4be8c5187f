package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

const (
	// maxLacks is how many bytes of one agent's reasons a sentence repeats: a layer or two.
	// The whole list is with the agent.
	maxLacks = 200

	// maxNamed is how many agents such a sentence names.
	maxNamed = 3
)

// postureTexts are the words of a posture that sentences and records repeat whole.
func postureTexts(p *api.Posture) []string {
	if p == nil {
		return nil
	}
	return append([]string{string(p.Level)}, p.Achieved...)
}

// lacks is what a posture misses, as a clause.
func lacks(p *api.Posture) string {
	text := strings.ToValidUTF8(strings.Join(p.Lacks(), "; "), "\uFFFD")
	if len(text) > maxLacks {
		text = strings.ToValidUTF8(text[:maxLacks], "") + "…"
	}
	return text
}

// described is a posture in a sentence: "confined+memory: namespaces: refused".
func described(p *api.Posture) string {
	if why := lacks(p); why != "" {
		return p.String() + ": " + why
	}
	return p.String()
}

// shortfall says why no agent can be offered what asks for a sandbox, when that is the
// reason: agents could take it but for what they reported last. Otherwise it is empty.
func shortfall(r store.AgentReader, plugin api.PluginID, target instruction.Target) (string, error) {
	if target.Sandbox == "" {
		return "", nil
	}
	agents, err := r.Agents()
	if err != nil {
		return "", err
	}
	var found []string
	for _, a := range agents {
		switch {
		case a.State == store.Revoked || !a.CouldTake(plugin, target):
		case a.CanTake(plugin, target):
			return "", nil
		default:
			found = append(found, fmt.Sprintf("%s reports %s", a.ID, described(a.Sandbox)))
		}
	}
	if len(found) == 0 {
		return "", nil
	}
	if more := len(found) - maxNamed; more > 0 {
		found = append(found[:maxNamed], fmt.Sprintf("%d more report less as well", more))
	}
	return fmt.Sprintf("needs sandbox %s; %s", target.Sandbox, strings.Join(found, "; ")), nil
}

// postureChanged audits that an agent confines its plugins differently than it said
// before. What it says first is no change.
func (t *tx) postureChanged(id pki.Identity, before, now *api.Posture) error {
	if before == nil || before.String() == now.String() {
		return nil
	}
	return t.audit(actor(id), "sandbox."+direction(before, now), string(id.Agent), before.String()+" → "+described(now))
}

// direction is which way a posture went. One that is not told any more is taken for
// the worse.
func direction(before, now *api.Posture) string {
	var none api.Posture
	if now == nil {
		now = &none
	}
	if now.Level != before.Level {
		if now.Level.AtLeast(before.Level) && before.Level.Valid() {
			return "improved"
		}
		return "degraded"
	}
	lost := func(from, to []string) bool {
		return slices.ContainsFunc(from, func(a string) bool { return !slices.Contains(to, a) })
	}
	if lost(before.Achieved, now.Achieved) {
		return "degraded"
	}
	return "improved"
}

// heldToMinimum audits an agent that ran a step with less than the step accepts. It
// cannot be undone, but somebody must hear of it.
func (t *tx) heldToMinimum(id pki.Identity, i instruction.Instruction, r api.Result) error {
	ran := slices.Contains([]api.InstructionStatus{api.Completed, api.Failed, api.TimedOut}, r.Status)
	if !ran || r.Sandbox.Satisfies(i.Target.Sandbox) {
		return nil
	}
	return t.audit(actor(id), "sandbox.below_minimum", string(i.ID), fmt.Sprintf("step %s of run %s needs %s and ran with %s", i.Step, i.RunID, i.Target.Sandbox, described(r.Sandbox)))
}
