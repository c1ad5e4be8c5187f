package sandbox

import (
	"golang.org/x/sys/unix"

	"github.com/stavily/agents/shared/internal/cgroup"
)

// join puts the process into its group before anything of it can fork.
func (p *program) join(g *cgroup.Group) {
	if g == nil {
		return
	}
	if p.cgroup = g.FD(); p.cgroup >= 0 {
		return // born in it
	}
	for _, f := range g.Procs() {
		p.hold = append(p.hold, f)
		p.call("join "+f.Name(), unix.SYS_WRITE, num(f.Fd()), p.text("0"), num(1))
	}
}
