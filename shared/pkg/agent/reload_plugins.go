package agent

import (
	"maps"
	"net/http"
	"reflect"
	"slices"
	"sync/atomic"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
)

// reconfigure is the adopter of what the configuration says about plugins. What runs
// goes on as it began, but for monitors, which would never end: they are replaced.
func (p *Plugins) reconfigure(old, next *config.Config) (commit, discard func(), err error) {
	return func() {
		p.logs.use(logOptions(next, p.rt.secrets))
		if old == next {
			return
		}
		a, b := old.Plugins, next.Plugins
		if !reflect.DeepEqual([]any{a.Allowed, a.Blocked, a.Pins}, []any{b.Allowed, b.Blocked, b.Pins}) {
			p.reconsider()
		}
		if !reflect.DeepEqual(old.Security.Sandbox, next.Security.Sandbox) || a.MaxMemory != b.MaxMemory || a.Timeout != b.Timeout {
			p.renew()
		}
	}, nil, nil
}

// reconsider holds what is in use against lists and pins that changed, and looks again at
// what was refused.
func (p *Plugins) reconsider() {
	p.scanner.Use(p.policy())
	p.mu.RLock()
	ids := slices.Collect(maps.Keys(p.slots))
	p.mu.RUnlock()
	p.looking.Go(func() { // a plugin that is being installed has its turn for as long as that takes
		for _, id := range ids {
			p.reconsiderOne(id)
		}
		p.followInstalled(p.life)
		select {
		case p.lookAgain <- struct{}{}:
		default:
		}
	})
}

func (p *Plugins) reconsiderOne(id api.PluginID) {
	defer p.turns.take(id)()
	s := p.slotOf(id)
	if s.current == nil {
		p.alter(id, func(s *slot) { s.declined = "" }) // so that it is looked at anew
		return
	}
	err := p.policy().Check(s.current)
	if err == nil {
		p.alter(id, func(s *slot) { s.declined = "" })
		return
	}
	digest := s.current.Digest
	p.alter(id, func(s *slot) { s.current = nil })
	p.pool.Drop(id, "")
	p.refuse(id, s.source, digest, err.Error(), false)
}

// renew makes what begins from now on begin with the grants and limits that are in force
// now, and monitors begin anew.
func (p *Plugins) renew() {
	p.mu.Lock()
	p.generation++
	ids := slices.Collect(maps.Keys(p.slots))
	p.notify()
	p.mu.Unlock()
	for _, id := range ids {
		p.pool.Drop(id, "")
	}
	p.rt.tellPosture(&p.posture)
}

// Generation rises with each change of what every plugin is granted. A process of a
// plugin that was started in another one has what held then.
func (p *Plugins) Generation() int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.generation
}

// reconfigured serves with the handler that make has made of the configuration in force.
func (rt *Runtime) reconfigured(make func() http.Handler) http.Handler {
	var now atomic.Pointer[http.Handler]
	follow := immediately(func(_, _ *config.Config) {
		h := make()
		now.Store(&h)
	})
	_, _ = rt.whenReconfigured(follow) // cannot fail, and is for as long as the process lives
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*now.Load()).ServeHTTP(w, r) })
}
