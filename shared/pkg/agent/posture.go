package agent

import (
	"fmt"
	"strings"

	"github.com/stavily/agents/shared/pkg/api"
)

// Posture is what confines plugins here.
func (p *Plugins) Posture() *api.Posture { return &p.posture }

// Confines reports whether plugins are confined here as far as an instruction asks; the
// error says how far they are, and what to do. The orchestrator has looked before it
// offered, at what it was told then: this is what is true now.
func (p *Plugins) Confines(least api.SandboxLevel) error {
	switch {
	case p.posture.Satisfies(least):
		return nil
	case !least.Valid():
		return fmt.Errorf("the step needs sandbox %.40q, which this version of the agent does not know: update the agent", least)
	}
	why := ""
	if lacks := p.posture.Lacks(); len(lacks) > 0 {
		why = ": " + strings.Join(lacks, "; ")
	}
	return fmt.Errorf("the step needs sandbox %s and this agent gives %s%s (`%s sandbox check` says what to change)", least, &p.posture, why, p.rt.Role.Program)
}

// tellPosture lets everybody who looks at this agent see what confines its plugins.
func (rt *Runtime) tellPosture(p *api.Posture) {
	rt.counts.tellPosture(p)
	rt.Health.confined(p)
}

// tellPosture sets a series for each level, of which one is 1, and one for each layer.
func (c *counts) tellPosture(p *api.Posture) {
	for _, l := range []api.SandboxLevel{api.SandboxNone, api.SandboxLimited, api.SandboxConfined, api.SandboxFull} {
		c.level.WithLabelValues(string(l)).Set(one(l == p.Level))
	}
	for layer, state := range p.Layers {
		c.layer.WithLabelValues(layer).Set(one(strings.HasPrefix(state, api.LayerEnforced)))
	}
}

// one is how a metric says yes.
func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
