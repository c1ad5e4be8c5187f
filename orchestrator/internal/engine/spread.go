package engine

import (
	"context"
	"time"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// spreadGrace is how long the agent that is chosen for work has it for itself. It has only to
// ask again, over a connection that may be dead by now.
const spreadGrace = 200 * time.Millisecond

// work is what agents need to know of an instruction to come for it.
type work struct {
	ID     api.InstructionID
	Plugin api.PluginID
	Target instruction.Target
}

func workOf(s instruction.Spec) work { return work{s.ID, s.Plugin, s.Target} }

// spread wakes who can take work. Where several can, it is the one that has the least in hand
// and, of those, waits longest; the others are woken when that one does not come. Agents ask
// only for as much as their own limit leaves room for, so one that is full is not among them.
func (e *Engine) spread(ctx context.Context, org api.OrgID, work work) {
	several := len(work.Target.Agents) != 1 && work.Target.Host == ""
	if !several {
		e.wake(org, work.Target)
		return
	}
	best, fit := e.best(org, work, func(*poll) bool { return true })
	if best == nil {
		return
	}
	best.wake()
	if fit > 1 {
		unasked := context.WithoutCancel(ctx) // who asked for it may be gone by then
		time.AfterFunc(spreadGrace, func() {
			if e.stillPending(unasked, org, work.ID) {
				e.wake(org, work.Target)
			}
		})
	}
}

// best is who is to have work of those that wait, can take it and are eligible, and how many
// of these fit at all.
func (e *Engine) best(org api.OrgID, work work, eligible func(*poll) bool) (best *poll, fit int) {
	e.polls.each(placeFor(org, work.Target), func(p *poll) {
		if !p.fits(work.Target) || !eligible(p) {
			return
		}
		fit++
		if best != nil && !p.before(best) { // first, as what is asked below takes longer, and thousands may wait
			return
		}
		if a, _, known := e.roster.find(agentKey{org, p.agent.ID}); !known || a.CanTake(work.Plugin, work.Target) {
			best = p
		}
	})
	return best, fit
}

// before reports whether p is to have work rather than other.
func (p *poll) before(other *poll) bool {
	if mine, theirs := p.load.Load(), other.load.Load(); mine != theirs {
		return mine < theirs
	}
	return p.since.Before(other.since)
}

// stillPending reports whether nobody has been offered an instruction; also where that
// cannot be told.
func (e *Engine) stillPending(ctx context.Context, org api.OrgID, id api.InstructionID) bool {
	ctx, cancel := context.WithTimeout(ctx, spreadGrace)
	defer cancel()
	var i instruction.Instruction
	err := e.View(ctx, org, func(r store.Reader) (err error) {
		i, err = r.Instruction(id)
		return err
	})
	return err != nil || i.Status == api.Pending
}
