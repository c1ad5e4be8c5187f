package warm

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"github.com/stavily/agents/shared/internal/cgroup"
	"github.com/stavily/agents/shared/internal/egress"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/internal/supervise"
	"github.com/stavily/agents/shared/pkg/api"
)

// Plan is what the executions of one zygote have in common.
type Plan struct {
	Plugin      api.PluginID
	Digest      string                     // of the plugin's files
	Spec        sandbox.Spec               // of a cold run, without what belongs to one execution
	Environment sandbox.Environment        // of a cold run, without what belongs to one execution
	Config      map[string]json.RawMessage // for initialize
	Log         supervise.LogSink          // of the zygote itself: what the plugin prints while it is imported

	// Network makes the listeners for Destinations, which are served until ctx ends, and
	// tells the gate that serves them; nil is the Spec's own network.
	Network      func(ctx context.Context) (sandbox.Network, *egress.Gate, error)
	Destinations []string
	Groups       *cgroup.Parent // of control groups; nil where the kernel has none for us
}

// key tells plans apart: one zygote never serves two.
type key [sha256.Size]byte

func (p *Plan) key() (key, error) {
	s := p.Spec
	text, err := json.Marshal([]any{
		p.Plugin, p.Digest, p.Environment, p.Config, s.Network.All, s.Network.Ports, p.Destinations, s.Limits, s.Level, s.User, s.Home,
		s.Path, s.Args, s.Dir, s.Code, s.Read, s.Write, s.Stat, s.Sockets, s.Masks, s.Mounts,
	})
	if err != nil {
		return key{}, fmt.Errorf("tell the zygote of %s from others: %w", p.Plugin, err)
	}
	return sha256.Sum256(text), nil
}

// withinLimits makes the limits of the tree that holds the zygote and all its
// executions from those of one execution. Each execution is held to its own besides.
func withinLimits(l sandbox.Limits) sandbox.Limits {
	l.Time, l.CPU = 0, 0 // the zygote lives on
	l.Memory *= maxSeats + 1
	l.Processes *= maxSeats + 1
	l.TempSize *= maxSeats + 1
	l.TempFiles *= maxSeats + 1
	return l
}
