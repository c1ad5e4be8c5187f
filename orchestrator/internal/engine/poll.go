package engine

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// Poll offers at most max instructions to the agent. With nothing to offer it waits
// until there is, at most wait, and then returns none.
func (e *Engine) Poll(ctx context.Context, id pki.Identity, wait time.Duration, max int) ([]api.Instruction, error) {
	offers, _, err := e.PollKnowing(ctx, id, wait, max, "")
	return offers, err
}

// PollKnowing is a poll that ends as well when what the agent is to have is not the set of the
// version that it knows, and then gives the version of that; empty, it asks for none.
func (e *Engine) PollKnowing(ctx context.Context, id pki.Identity, wait time.Duration, max int, known string) (offers []api.Instruction, version string, err error) {
	p, err := e.BeginPoll(ctx, id, wait, max, known, nil)
	if err != nil {
		return nil, "", err
	}
	defer p.End()
	for {
		if over, err := p.Look(ctx); over || err != nil {
			return p.Offers, p.Version, err
		}
		p.Await(ctx)
	}
}

// Polling is a poll in its steps: Look, and Await as long as that finds nothing.
type Polling struct {
	Offers  []api.Instruction // once it is over
	Version string            // of what the agent is to have, where it says what it knows

	engine  *Engine
	id      pki.Identity
	max     int
	known   string
	began   time.Time
	wait    time.Duration
	silence func() time.Duration
	waiting *poll
	timer   *time.Timer
	over    bool
	leave   func() // the polls that wait for work
	unheard func() // of those that wait for other packages
}

// BeginPoll begins a poll, which the caller must end. silence tells for how long the agent has said
// nothing on the connection that the poll came by; where it is nil nobody knows, and the poll is
// over when it has waited for HeardWithin.
func (e *Engine) BeginPoll(ctx context.Context, id pki.Identity, wait time.Duration, max int, known string, silence func() time.Duration) (*Polling, error) {
	agent, err := e.agent(ctx, id)
	if err != nil {
		return nil, err
	}
	// There before the first look at the store, so that what is committed after the look
	// wakes it.
	waiting := &poll{agent: sensorOf(*agent), woken: make(chan struct{}, 1), handed: make(chan []api.Instruction, 1), since: e.now()}
	waiting.asked.Store(true) // not while it looks
	p := &Polling{
		engine: e, id: id, max: max, known: known, began: time.Now(), wait: wait, silence: silence,
		waiting: waiting, timer: time.NewTimer(together(min(wait, HeardWithin))), unheard: func() {},
	}
	p.leave = e.polls.enterAll(waiting, placesOf(id.Org, waiting.agent)...)
	if known != "" {
		p.unheard = e.deliveries.enter(id.Org, waiting)
	}
	return p, nil
}

// End has nothing more be offered to the poll.
func (p *Polling) End() {
	p.timer.Stop()
	p.leave()
	p.unheard()
}

// Look takes what there is for the agent, and reports whether the poll is over.
func (p *Polling) Look(ctx context.Context) (over bool, err error) {
	if len(p.Offers) > 0 || ctx.Err() != nil {
		return true, ctx.Err()
	}
	if p.over {
		if lives, err := p.lives(ctx); err != nil || !lives {
			return true, err
		}
	}
	if p.known != "" {
		if p.Version, err = p.engine.version(ctx, p.id); err != nil {
			return true, err
		}
	}
	p.Offers, err = p.engine.offer(ctx, p.id, p.max, &p.waiting.load)
	return err != nil || len(p.Offers) > 0 || p.wait <= 0 || p.Version != p.known, err
}

// lives reports whether a poll whose timer has run out goes on: its time is not over, and the agent
// has said something since. That it lives is noted.
func (p *Polling) lives(ctx context.Context) (bool, error) {
	age := time.Since(p.began)
	silent := age
	if p.silence != nil {
		silent = min(age, p.silence())
	}
	left := min(p.wait-age, HeardWithin-silent)
	if left < tick { // it ended together with others
		return false, nil
	}
	p.timer.Reset(together(left))
	agent, err := p.engine.agent(ctx, p.id)
	if err != nil {
		return false, err
	}
	return true, p.engine.hearOf(ctx, p.id, agent, p.engine.now().Add(-silent))
}

// Await waits until there may be something to take, or it is time to see whether the poll is over.
func (p *Polling) Await(ctx context.Context) {
	p.Offers, p.over = p.waiting.await(ctx, p.timer)
}

// await returns what it is handed, or nothing when it is time to look again or, where it is
// over, to go. What a transition holds for it by then it takes along: nobody else gets that.
func (p *poll) await(ctx context.Context, timer *time.Timer) (offers []api.Instruction, over bool) {
	p.asked.Store(false)
	select {
	case offers = <-p.handed:
		return offers, false
	case <-p.woken:
	case <-timer.C:
		over = true
	case <-ctx.Done():
		over = true
	}
	if !p.asked.CompareAndSwap(false, true) {
		offers = <-p.handed
	}
	return offers, over
}

// handed is what a transition offers to one poll.
type handed struct {
	to     *poll
	offers []api.Instruction
}

// handOut offers work that begins to wait to agents that wait for it, in the transaction that
// decided on it: so the offer costs no transaction of its own, and no look at the store. What
// nobody waits for, or of whom it turns out that they cannot take it, waits as ever.
func (t *tx) handOut() error {
	var left []work
	for _, work := range t.waiting {
		p, offers, err := t.hand(work)
		if p != nil {
			t.handed = append(t.handed, handed{p, offers})
		}
		if err != nil {
			return err
		}
		if len(offers) == 0 {
			left = append(left, work)
		}
	}
	t.waiting = left
	return nil
}

// hand asks the best of the polls that wait to take work, and returns what that is offered.
func (t *tx) hand(work work) (*poll, []api.Instruction, error) {
	if work.ID == "" { // not work but an agent that has changed
		return nil, nil, nil
	}
	p, _ := t.engine.best(t.org, work, func(p *poll) bool { return p.handed != nil && !p.asked.Load() })
	if p == nil || !p.asked.CompareAndSwap(false, true) {
		return nil, nil, nil
	}
	offers, err := t.offerTo(pki.Identity{Org: t.org, Agent: p.agent.ID, Type: api.Action}, []api.InstructionID{work.ID})
	return p, offers, err
}

// handOver answers the polls that were asked, before the transition is durable. An offer is no
// right to start: a claim comes behind it in the store's one writer, and is refused where the
// transition was undone after all. So an agent has what it is offered while the disk has it
// written; that goes out before the commit takes the processor.
func (t *tx) handOver() {
	if len(t.handed) == 0 {
		return
	}
	for _, h := range t.handed {
		h.to.handed <- h.offers
	}
	t.handed = nil
	runtime.Gosched()
}

// withdraw has the polls that were asked wait on, where the transition came to nothing.
func (t *tx) withdraw() {
	if t == nil { // it never began
		return
	}
	for n := range t.handed {
		t.handed[n].offers = nil
	}
	t.handOver()
}

// offer takes what there is for the agent now. It looks before it writes: most polls
// find nothing, and of many that are woken for one instruction only one can have it. Where
// others were faster with all that it saw it looks again. It does not look at all where nothing
// came to wait for anybody since the agent looked last, or since another one saw that there was
// nothing for any.
func (e *Engine) offer(ctx context.Context, id pki.Identity, max int, load *atomic.Int64) ([]api.Instruction, error) {
	key := agentKey{id.Org, id.Agent}
	for {
		at, may := e.roster.restless(key)
		if !may {
			return nil, nil
		}
		agent, err := e.agent(ctx, id) // its plugins change with its heartbeats
		if err != nil {
			return nil, err
		}
		var seen []api.InstructionID
		calm := false // nothing waits or runs for anybody
		err = e.View(ctx, id.Org, func(r store.Reader) (err error) {
			if seen, err = r.Offerable(*agent, e.now(), max); err != nil || len(seen) > 0 {
				return err
			}
			held, err := r.Held(id.Agent)
			load.Store(int64(held))
			if err == nil && held == 0 {
				var due bool
				_, due, err = r.NextDue()
				calm = !due
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		if len(seen) == 0 {
			if load.Load() == 0 {
				e.roster.rest(key, at, calm)
			}
			return nil, nil
		}
		var offers []api.Instruction
		err = e.update(ctx, id.Org, func(t *tx) (err error) {
			offers, err = t.offerTo(id, seen)
			return err
		})
		if err != nil || len(offers) > 0 {
			return offers, err
		}
	}
}

// offerTo offers what was seen, as far as it still waits, the agent still can take it and it
// fits into one answer; one always does (workflow.MaxInputBytes).
func (t *tx) offerTo(id pki.Identity, seen []api.InstructionID) (offers []api.Instruction, err error) {
	agent, err := t.Agent(id.Agent)
	if err != nil {
		return nil, err
	}
	size := 0
	for _, iid := range seen {
		i, err := t.Instruction(iid)
		if err != nil {
			return nil, err
		}
		if i.Status != api.Pending || !i.ExpiresAt.After(t.now) || !agent.CanTake(i.Plugin, i.Target) {
			continue
		}
		if size += inputSize(i); len(offers) > 0 && size > answerBytes {
			break
		}
		if i, err = t.step(i, instruction.Offer{Agent: id.Agent, Lease: newLease(), Now: t.now, TTL: t.engine.ttl}); err != nil {
			return nil, err
		}
		offers = append(offers, wire(i, t.now))
	}
	return offers, nil
}

// answerBytes bounds the inputs in one answer: with their envelopes, and the first
// instruction standing twice for clients of both forms, it stays below
// api.MaxPollBytes, beyond which an agent could not read it.
const answerBytes = api.MaxPollBytes / 3

func inputSize(i instruction.Instruction) int {
	n := 0
	for name, value := range i.Input {
		n += len(name) + len(value)
	}
	return n
}
