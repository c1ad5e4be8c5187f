package agent

import (
	"context"
	"encoding/json"

	"github.com/stavily/agents/shared/internal/egress"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/internal/warm"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// newPool makes the pool that executions of SDK plugins are forked from.
func (p *Plugins) newPool() *warm.Pool {
	rt, cfg := p.rt, p.rt.Config().Plugins.Warm
	pool := warm.New(warm.Options{
		Zygotes: cfg.Max, Idle: cfg.Idle.Duration(), Age: cfg.Age.Duration(), Executions: cfg.Runs,
		Dir: tempOf(rt.Config().Agent.BaseDir), Prefix: tempPrefix + "warm-",
		Refused: func(id api.PluginID, reason string) {
			p.cold.Store(id, reason)
			rt.Log.Info("runs of a plugin start cold", telemetry.KeyPlugin, id, "reason", reason)
			rt.BeatSoon()
		},
		Gone: func(id api.PluginID, reason warm.Reason, err error) {
			rt.counts.zygotes.WithLabelValues(string(reason)).Inc()
			if err != nil {
				rt.Log.Warn("a warm process of a plugin crashed; runs start cold until there is another", telemetry.KeyPlugin, id, telemetry.KeyError, err)
			}
		},
	})
	if !p.forks() && cfg.Max > 0 {
		rt.Log.Info("runs of all plugins start cold", "reason", "the sandbox of this host cannot keep runs that are forked from one process from signalling one another", "landlock_abi", p.posture.LandlockABI)
	}
	rt.Metrics.GaugeFunc("zygotes", "Processes of plugins that runs are forked from.", func() float64 { return float64(pool.Zygotes()) })
	return pool
}

// actWarm runs a task in a process that is forked from one that has imported the
// plugin. The error wraps warm.ErrCold where that cannot be.
func (p *Plugins) actWarm(ctx context.Context, t Task, whole map[string]json.RawMessage) (acted, error) {
	if !p.mayBeWarm(t.Plugin) {
		return acted{}, warm.ErrCold
	}
	plan, err := p.plan(t, whole)
	if err != nil {
		return acted{}, err
	}
	t.seat = p.pool.Seat(&plan)
	if t.seat == nil {
		return acted{}, warm.ErrCold
	}
	defer func() { go p.makeAhead(t.seat, t.outfit.spec) }() // ends before its zygote does, which waits for the seat
	ran, err := p.act(ctx, t, whole)
	if err == nil {
		p.rt.counts.runs.WithLabelValues("warm").Inc()
	}
	return ran, err
}

// actCold runs a task in a process of its own, and asks for a warm one for the next
// where this one showed that it is the SDK's.
func (p *Plugins) actCold(ctx context.Context, t Task, whole map[string]json.RawMessage) (acted, error) {
	ran, err := p.act(ctx, t, whole)
	if err != nil {
		return ran, err
	}
	p.rt.counts.runs.WithLabelValues("cold").Inc()
	if ran.Info.Protocol != plugin.Protocol || !p.mayBeWarm(t.Plugin) || !p.inUse(t.Plugin) {
		return ran, nil
	}
	if plan, err := p.plan(t, whole); err == nil {
		p.pool.Prepare(plan)
	}
	return ran, nil
}

// landlockSignals is the version of Landlock that has a scope for signals (Linux 6.12).
const landlockSignals = 6

// Executions are the processes of runs that were forked, also of those that have not come yet: the
// processes stand by. Who has left the session of the process that it was forked from is among them.
func (p *Plugins) Executions() []int { return p.pool.Executions() }

// forks reports whether runs may be forked from one process. At level limited no process can
// signal another, so that none could end what it forked; at the others a run could end the runs
// beside it, and the process that it comes from, where Landlock holds no signals.
func (p *Plugins) forks() bool {
	switch p.posture.Level {
	case api.SandboxLimited:
		return false
	case api.SandboxNone:
		return true
	}
	return p.posture.LandlockABI >= landlockSignals
}

// mayBeWarm reports whether the host, its owner and a plugin's manifest allow it: a sensor
// keeps its one process anyway, and only Python is forked.
func (p *Plugins) mayBeWarm(m *plugin.Plugin) bool {
	return p.forks() && p.rt.Config().Plugins.Warm.Max > 0 && m.Kind != plugin.Sensor && m.Runtime.Type == plugin.Python && m.Runtime.Contract != plugin.Script && !m.Runtime.Cold
}

// plan is what all runs of a task's plugin have in common, whatever the instruction.
func (p *Plugins) plan(t Task, whole map[string]json.RawMessage) (warm.Plan, error) {
	t.Instruction = nil
	log := p.logOf(t)
	spec := t.outfit.spec
	spec.Limits.Time = 0
	spec.Network = p.reach(t.outfit.network)
	plan := warm.Plan{
		Plugin: t.Plugin.ID, Digest: t.Plugin.Digest, Spec: spec, Environment: t.outfit.env, Config: whole, Log: log,
		Network: func(ctx context.Context) (sandbox.Network, *egress.Gate, error) {
			return p.network(ctx, t, t.outfit.network)
		},
		Groups: p.confinement.groups,
	}
	for _, d := range t.outfit.network.Destinations {
		plan.Destinations = append(plan.Destinations, d.String())
	}
	return plan, nil
}

// environment is what tells a process that was forked its environment; nil for any other.
func (t Task) environment(r *room) ([]byte, error) {
	if t.seat == nil {
		return nil, nil
	}
	return t.seat.Environment(r.spec.Env)
}
