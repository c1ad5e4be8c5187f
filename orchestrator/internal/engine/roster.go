package engine

import (
	"context"
	"reflect"
	"slices"
	"sync"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// roster keeps the records of agents that have called: every request looks at one, and to
// read and decode it would cost more than the rest of a poll. A record leaves it once a
// transaction that changed it is committed and before anybody hears of that, so that who
// was told of a revocation meets it. Where other servers may change records it is of no use:
// what they tell comes a moment after they answer. Certificates are left out, which nobody needs here.
type roster struct {
	mu      sync.Mutex                // guards the fields below
	changes uint64                    // counts what made a record that is being read old
	known   map[agentKey]*store.Agent // nobody changes what one points to
	sets    map[agentKey]string       // versions of what agents are to have, as long as neither they nor it changed

	postures alike[*api.Posture]
	plugins  alike[[]api.PluginInfo]
	healths  alike[*api.Health]

	work map[api.OrgID]uint64 // counts what came to wait for agents
	idle map[agentKey]uint64  // that count when an agent, as it is, had and found nothing
	calm map[api.OrgID]uint64 // that count when nothing waited or ran for any agent
}

// alike lets equal values be kept once: of thousands of agents most say the same of themselves.
type alike[T any] struct {
	last []T // that came, in no order
	next int // the place of the next that is new
}

// mostAlike is how many different values are compared with: what fleets have kinds of hosts.
const mostAlike = 32

// one is v, or the equal value that is kept already.
func (a *alike[T]) one(v T) T {
	for _, kept := range a.last {
		if reflect.DeepEqual(kept, v) {
			return kept
		}
	}
	if len(a.last) < mostAlike {
		a.last = append(a.last, v)
		return v
	}
	a.last[a.next] = v
	a.next = (a.next + 1) % mostAlike
	return v
}

// restless reports whether there may be work for an agent. at is for rest.
func (r *roster) restless(key agentKey) (at uint64, may bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at = r.work[key.org]
	if calm, known := r.calm[key.org]; known && calm == at {
		return at, false
	}
	idle, known := r.idle[key]
	return at, !known || idle != at
}

// rest notes that an agent had nothing and found nothing in a look that began at a count, as
// long as its record is what the look saw, and that there was nothing for any, where that is so.
func (r *roster) rest(key agentKey, at uint64, calm bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, as := r.known[key]; !as {
		return
	}
	if r.idle == nil {
		r.idle, r.calm = map[agentKey]uint64{}, map[api.OrgID]uint64{}
	}
	if calm {
		r.calm[key.org] = at
	}
	r.idle[key] = at
}

// worked counts that something waits for agents.
func (r *roster) worked(org api.OrgID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.work == nil {
		r.work = map[api.OrgID]uint64{}
	}
	r.work[org]++
}

func (r *roster) find(key agentKey) (a *store.Agent, changes uint64, found bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, found = r.known[key]
	return a, r.changes, found
}

// keep takes a record that was read after find, unless any has changed since.
func (r *roster) keep(key agentKey, a store.Agent, changes uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if changes != r.changes {
		return
	}
	if r.known == nil {
		r.known = map[agentKey]*store.Agent{}
	}
	a.CertificatePEM, a.NextCertificatePEM = "", ""
	a.Sandbox, a.Plugins, a.Health = r.postures.one(a.Sandbox), r.plugins.one(a.Plugins), r.healths.one(a.Health)
	r.known[key] = &a
}

// forgetAgent has an agent's record read anew: it has changed, and says when it was seen.
func (e *Engine) forgetAgent(org api.OrgID, id api.AgentID) {
	e.roster.mu.Lock()
	defer e.roster.mu.Unlock()
	e.roster.changes++
	delete(e.roster.known, agentKey{org, id})
	delete(e.roster.sets, agentKey{org, id})
	delete(e.roster.idle, agentKey{org, id})
	e.heard.forget(agentKey{org, id})
}

// forgetSets has what agents are to have be looked up anew: packages or their assignments
// changed.
func (e *Engine) forgetSets() {
	e.roster.mu.Lock()
	defer e.roster.mu.Unlock()
	e.roster.changes++
	clear(e.roster.sets)
}

// version is that of the set that an agent is to have.
func (e *Engine) version(ctx context.Context, id pki.Identity) (string, error) {
	r, key := &e.roster, agentKey{id.Org, id.Agent}
	r.mu.Lock()
	version, found := r.sets[key]
	changes := r.changes
	r.mu.Unlock()
	if found {
		return version, nil
	}
	set, err := e.desired(ctx, id)
	if _, shared := e.store.(store.Shared); err != nil || shared {
		return set.Version, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if changes == r.changes {
		if r.sets == nil {
			r.sets = map[agentKey]string{}
		}
		r.sets[key] = set.Version
	}
	return set.Version, nil
}

// agent is the record of an agent, without its certificates. Nobody changes what is in it.
func (e *Engine) agent(ctx context.Context, id pki.Identity) (*store.Agent, error) {
	key := agentKey{id.Org, id.Agent}
	known, changes, found := e.roster.find(key)
	if found {
		return known, nil
	}
	var a store.Agent
	err := e.View(ctx, id.Org, func(r store.Reader) (err error) {
		a, err = r.Agent(id.Agent)
		return err
	})
	if _, shared := e.store.(store.Shared); err == nil && !shared { // another server may change it unheard
		e.roster.keep(key, a, changes)
	}
	return &a, err
}

// PutAgent notes whose record changes, and whether it may count otherwise among all.
func (t *tx) PutAgent(a store.Agent) error {
	was, _, known := t.engine.roster.find(agentKey{t.org, a.ID})
	if !known || was.State != a.State || was.Type != a.Type || !slices.Equal(was.Tags, a.Tags) {
		t.fleetChanges = true
	}
	t.agents = append(t.agents, a.ID)
	return t.Tx.PutAgent(a)
}
