package engine

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// word is what a transition has others do, here and, where several servers share a store, on
// every other. Whoever does not hear it finds the same in the store, later.
type word struct {
	Waiting   []work                     `json:",omitempty"` // that waits for an agent
	Due       time.Time                  `json:",omitzero"`  // the reaper must look then
	Events    bool                       `json:",omitempty"`
	Runs      bool                       `json:",omitempty"`
	Delivered bool                       `json:",omitempty"`
	Monitors  bool                       `json:",omitempty"` // workflows want others, or want them elsewhere
	Ended     map[api.AgentID]*api.Error `json:",omitempty"`
}

func (t *tx) word() word {
	return word{t.waiting, t.due, t.events, t.runs, t.delivered, t.monitors, t.expelled}
}

// tell gives the word to the other servers, with the commit.
func (t *tx) tell() error {
	if _, shared := t.engine.store.(store.Shared); !shared {
		return nil
	}
	text, err := json.Marshal(t.word())
	if err != nil || string(text) == "{}" {
		return err
	}
	return t.Tell(text)
}

// end ends what is open of an agent, with that answer.
func (t *tx) end(agent api.AgentID, answer *api.Error) {
	if t.expelled == nil {
		t.expelled = map[api.AgentID]*api.Error{}
	}
	t.expelled[agent] = answer
}

// heed wakes who waits for what a transition did.
func (e *Engine) heed(ctx context.Context, org api.OrgID, w word) {
	for agent, answer := range w.Ended {
		e.end(agentKey{org, agent}, answer)
	}
	for _, work := range w.Waiting {
		e.spread(ctx, org, work)
	}
	e.alarm.set(w.Due)
	if w.Events {
		e.events.beat()
	}
	if w.Runs {
		e.runs.beat()
	}
	if w.Monitors {
		e.programs.current.drop(org)
	}
	if w.Delivered || w.Monitors {
		e.deliveries.each(org, (*poll).wake)
	}
}

// forget drops what is remembered of an organisation: another server has changed it. It
// runs in a transaction, beside which there is no other.
func (e *Engine) forget(org api.OrgID) {
	e.programs.current.drop(org)
	e.waits.drop(org)
}

// unreachable is the answer while there is no database.
func unreachable() *api.Error {
	a := api.Errorf(api.CodeUnavailable, "The orchestrator cannot reach its database; nothing is lost, try again.")
	a.RetryAfter = time.Second
	return a
}

// hear heeds what another server tells. What was not heard may have been anything.
func (e *Engine) hear(ctx context.Context, n store.Notice) {
	var w word
	if n.Org != "" && len(n.Text) > 0 && json.Unmarshal(n.Text, &w) == nil {
		e.heed(ctx, n.Org, w)
		return
	}
	e.alarm.set(e.now())
	e.events.beat()
	e.runs.beat()
	e.polls.all((*poll).wake)
	e.deliveries.all((*poll).wake)
	if n.Org == "" && !n.Deaf { // a revocation may be among it: agents come again and are looked at
		e.requests.all(func(end *context.CancelCauseFunc) { (*end)(comeAgain()) })
	}
}

func comeAgain() *api.Error {
	a := api.Errorf(api.CodeUnavailable, "The orchestrator has lost sight of its other servers; try again.")
	a.RetryAfter = time.Second
	return a
}

// meetPeers hears and leads as long as the engine runs, where several servers share its
// store. The function that it returns ends that.
func (e *Engine) meetPeers(ctx context.Context) (leave func()) {
	shared, ok := e.store.(store.Shared)
	if !ok {
		e.leads.Store(true)
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var deaf atomic.Bool
	var peers sync.WaitGroup
	peers.Go(func() {
		shared.Follow(ctx, func(n store.Notice) {
			deaf.Store(n.Deaf)
			e.hear(ctx, n)
		})
	})
	peers.Go(func() { e.campaign(ctx, shared, &deaf) })
	return func() {
		cancel()
		peers.Wait()
	}
}

// campaign takes the office of the leader when it is free, and keeps it.
func (e *Engine) campaign(ctx context.Context, shared store.Shared, deaf *atomic.Bool) {
	for ctx.Err() == nil {
		asked := time.Now()
		ask, cancel := context.WithTimeout(ctx, store.LeaseLife/3)
		leads, err := shared.Lead(ask)
		cancel()
		if err != nil && ctx.Err() == nil {
			e.log.WarnContext(ctx, "asking who leads the servers", "error", err)
		}
		led := e.leads.Swap(leads)
		if leads != led {
			e.log.InfoContext(ctx, "leadership of the servers", "leads", leads)
		}
		if leads && (!led || deaf.Load()) {
			e.alarm.set(e.now()) // what was due before, and what others could not tell
		}
		select {
		case <-time.After(time.Until(asked.Add(store.LeaseLife / 3))):
		case <-ctx.Done():
		}
	}
}
