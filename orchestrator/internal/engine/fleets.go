package engine

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// fleetAge is how old a count of agents may be. This server's own changes of who is enrolled,
// and of tags, are counted at once; another server's by then.
const fleetAge = 10 * time.Second

// fleets keeps how many action agents have some tags, of which limits.targets is a part: to
// read all records at each decision would take longer than all else.
type fleets struct {
	mu     sync.Mutex // guards counts
	counts map[fleetKey]fleetCount
}

type fleetKey struct {
	org  api.OrgID
	tags string
}

type fleetCount struct {
	agents int
	at     time.Time
}

// count is called in transitions only, one at a time in an organisation, so that what it
// keeps is no older than what forget has seen.
func (f *fleets) count(r store.Reader, tags []string) (int, error) {
	t := r.(*tx)
	key := fleetKey{t.org, strings.Join(tags, "\x00")}
	f.mu.Lock()
	known, found := f.counts[key]
	f.mu.Unlock()
	if age := t.now.Sub(known.at); found && age >= 0 && age < fleetAge && !t.fleetChanges {
		return known.agents, nil
	}
	n, err := countAgents(r, tags)
	if err != nil || t.fleetChanges {
		return n, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.counts == nil {
		f.counts = map[fleetKey]fleetCount{}
	}
	f.counts[key] = fleetCount{n, t.now}
	return n, nil
}

// forget has the agents of an organisation counted anew.
func (f *fleets) forget(org api.OrgID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key := range f.counts {
		if key.org == org {
			delete(f.counts, key)
		}
	}
}

// countAgents counts the action agents that have all the tags.
func countAgents(r store.Reader, tags []string) (n int, err error) {
	agents, err := r.Agents()
	for _, a := range agents {
		lacks := func(tag string) bool { return !slices.Contains(a.Tags, tag) }
		if a.Type == api.Action && a.State != store.Revoked && !slices.ContainsFunc(tags, lacks) {
			n++
		}
	}
	return n, err
}
