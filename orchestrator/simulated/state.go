package simulated

import (
	"context"

	"github.com/stavily/agents/orchestrator/internal/fsck"
	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// page is more than a simulated life has of anything.
const page = 1000

// State is what operators are shown.
type State struct {
	Events       []store.Event // in the order in which they were recorded
	Gaps         []store.Gap
	Runs         []store.Run // oldest first
	Instructions []instruction.Instruction
}

// State reads everything. Sensors are those whose gaps are looked for.
func (s *Server) State(ctx context.Context, sensors []api.AgentID) (out State, err error) {
	err = s.engine.View(ctx, Org, func(r store.Reader) error {
		if out.Events, err = r.Events(store.EventQuery{Limit: page}); err != nil {
			return err
		}
		for _, id := range sensors {
			gaps, err := r.Gaps(id)
			if err != nil {
				return err
			}
			out.Gaps = append(out.Gaps, gaps...)
		}
		runs, err := r.Runs(store.RunQuery{Limit: page})
		for n := len(runs) - 1; n >= 0 && err == nil; n-- {
			var of []instruction.Instruction
			of, err = r.RunInstructions(runs[n].ID)
			out.Runs, out.Instructions = append(out.Runs, runs[n]), append(out.Instructions, of...)
		}
		return err
	})
	return out, err
}

// Check is what `stavily fsck` finds.
func (s *Server) Check(ctx context.Context) ([]string, error) {
	report, err := fsck.Check(ctx, s.store)
	var out []string
	for _, f := range report.Findings {
		out = append(out, f.String())
	}
	return out, err
}
