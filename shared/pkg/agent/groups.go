package agent

import (
	"errors"
	"fmt"
	"hash/fnv"
	"maps"

	"github.com/stavily/agents/shared/internal/cgroup"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// openGroups finds where the kernel can hold plugins to their limits, and ends what an
// earlier agent of the same base directory, whose lock this one holds, left running
// there.
func (p *Plugins) openGroups() {
	groups, err := cgroup.Open(groupsOf(p.rt.Config().Agent.BaseDir))
	if errors.Is(err, errors.ErrUnsupported) {
		return
	}
	if err != nil {
		p.confinement.ungrouped = err.Error()
		p.rt.Log.Info("no control groups: a watchdog holds plugins to their limits", "reason", err.Error())
		return
	}
	p.confinement.groups = groups
	switch n, err := groups.Sweep(); {
	case err != nil:
		p.rt.Log.Warn("control groups", telemetry.KeyError, err)
	case n > 0:
		p.rt.Log.Info("removed control groups that an earlier agent left", "count", n)
	}
}

// close is called when no plugin runs any more.
func (p *Plugins) close() {
	p.end()
	p.looking.Wait()
	p.logs.close()
	p.connections.close()
	if g := p.confinement.groups; g != nil {
		if err := g.Close(); err != nil {
			p.rt.Log.Warn("control groups", telemetry.KeyError, err)
		}
	}
}

// groupsOf names the group of an agent's launches: by its base directory, which only
// one agent at a time uses.
func groupsOf(base string) string {
	h := fnv.New64a()
	h.Write([]byte(base))
	return fmt.Sprintf("stavily-%016x", h.Sum64())
}

// tell says in a posture what holds the limits of a process tree.
func (c *confinement) tell(p *api.Posture) {
	g := c.groups
	if g == nil && c.ungrouped != "" {
		missing := map[string]string{"memory": c.ungrouped}
		maps.Copy(missing, p.Missing)
		p.Missing = missing
	}
	if g == nil {
		return
	}
	p.Memory = g.Version()
	p.Achieved = append(p.Achieved, api.AchievedMemory)
	for layer, controller := range map[string]string{"memory": cgroup.Memory, "processes": cgroup.PIDs, "cpu": cgroup.CPU} {
		if g.Has(controller) {
			p.Layers[layer] = api.LayerEnforced + ": " + g.Describe()
		}
	}
}

// group makes a control group for one launch; nil where there are none.
func (c *confinement) group(name string, l sandbox.Limits) (*cgroup.Group, error) {
	if c.groups == nil {
		return nil, nil
	}
	return c.groups.New(name, cgroup.Limits{Memory: l.Memory, CPU: l.CPUShare, Processes: l.Processes})
}
