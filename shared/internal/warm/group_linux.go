package warm

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/stavily/agents/shared/internal/cgroup"
	"github.com/stavily/agents/shared/internal/sandbox"
)

// group is the control group of a zygote and its executions, if there is one. It
// allows what as many executions as ever ran at a time may take together, so that one
// alone is held to its limits by the kernel; which of several takes too much is found
// by the watch over each.
type group struct {
	*cgroup.Group
	each sandbox.Limits // of one execution
	fits int            // executions
}

// baseMemory is what a zygote takes with what was forked from it and does nothing yet, and with
// the page cache of what they import: twice what large libraries need.
const baseMemory = 128 << 20

// limits hold n executions and their zygote.
func (g *group) limits(n int) cgroup.Limits {
	l := cgroup.Limits{CPU: g.each.CPUShare * float64(n), Parts: true}
	if g.each.Memory > 0 {
		l.Memory = g.each.Memory*int64(n) + baseMemory
	}
	if g.each.Processes > 0 {
		l.Processes = (g.each.Processes + 1) * (n + 1)
	}
	return l
}

// joinGroup makes a control group for a zygote.
func (z *zygote) joinGroup(plan *Plan, s *sandbox.Spec) (err error) {
	if plan.Groups == nil {
		return nil
	}
	z.group = group{each: plan.Spec.Limits, fits: 1}
	z.group.Group, err = plan.Groups.New(filepath.Base(z.dir), z.group.limits(1))
	if err != nil {
		return fmt.Errorf("make a control group: %w", err)
	}
	s.Group = z.group.Group
	return nil
}

// network makes the listeners of a zygote's network.
func (z *zygote) network(ctx context.Context, plan *Plan, s *sandbox.Spec) (err error) {
	if plan.Network != nil {
		s.Network, z.gate, err = plan.Network(ctx)
	}
	return err
}

// OOMKills is how many processes the kernel killed for memory.
func (g *group) OOMKills() int {
	if g.Group == nil {
		return 0
	}
	return g.Group.OOMKills()
}

// fit makes room for n executions at a time.
func (g *group) fit(n int) error {
	if g.Group == nil || n <= g.fits {
		return nil
	}
	if err := g.Grow(g.limits(n)); err != nil {
		return fmt.Errorf("make room for %d runs: %w", n, err)
	}
	g.fits = n
	return nil
}

func (g *group) close() {
	if g.Group != nil {
		g.Close()
	}
}
