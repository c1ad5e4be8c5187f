package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// maxLacks is how many bytes of one agent's reasons a sentence repeats: a layer or two.
// The whole list is with the agent.
const maxLacks = 200

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
