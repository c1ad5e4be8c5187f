package agent

import (
	"fmt"
	"strings"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
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
	return fmt.Errorf("the step needs sandbox %s and this agent gives %s (%s)", least, described(&p.posture), p.rt.toCheck())
}

// Admits reports whether plugins are confined here as far as the host's owner requires
// for the one with these settings. No process of one that is not admitted is started.
func (p *Plugins) Admits(f config.PluginFile) error {
	required := p.required(f)
	if p.posture.Satisfies(required) {
		return nil
	}
	return fmt.Errorf("this host's owner requires sandbox %s of %s and this agent gives %s (%s; `require` or `trusted: true` in the plugin's file accepts less)", required, f.Plugin, described(&p.posture), p.rt.toCheck())
}

// required is the level without which a plugin does not run here.
func (p *Plugins) required(f config.PluginFile) api.SandboxLevel {
	general := p.rt.Config().Security.Sandbox.Require
	switch {
	case f.Require != "":
		return f.Require
	case f.Trusted && general.AtLeast(api.SandboxLimited):
		return api.SandboxLimited
	}
	return general
}

// described is a posture with what it lacks: "confined+memory: namespaces: refused".
func described(p *api.Posture) string {
	if lacks := p.Lacks(); len(lacks) > 0 {
		return p.String() + ": " + strings.Join(lacks, "; ")
	}
	return p.String()
}

func (rt *Runtime) toCheck() string {
	return "`" + rt.Role.Program + " sandbox check` says what to change"
}

// conditionSandbox holds while plugins are confined less than the host's owner requires.
const conditionSandbox = "sandbox_degraded"

// tellPosture lets everybody who looks at this agent see what confines its plugins.
func (rt *Runtime) tellPosture(p *api.Posture) {
	rt.counts.tellPosture(p)
	rt.Health.confined(p)
	rt.auditPosture(p)
	required := rt.Config().Security.Sandbox.Require
	if p.Satisfies(required) {
		rt.Health.Clear(conditionSandbox)
		return
	}
	rt.Health.Set(conditionSandbox, Degraded, false,
		fmt.Sprintf("security.sandbox.require asks for %s and this host gives %s; only plugins whose own file accepts less run", required, described(p)),
		"run `"+rt.Role.Program+" sandbox check`: it says what to change on this host")
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
