package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/shared/internal/catalog"
	"github.com/stavily/agents/shared/internal/pyenv"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// slot is what is known of one plugin. Plugins.mu guards it.
type slot struct {
	id       api.PluginID
	store    *catalog.Store // that has the current version; nil while there is none
	source   string         // the directory that people edit; empty: it was installed
	current  *plugin.Plugin // nil: there is none that can be used
	disabled bool
	since    time.Time // when the current version came into use
	proven   bool      // it stood its first minute, now or before

	// Why there is no current version or, where there is one, why something else is not.
	refused  string
	declined string // the digest of what was refused
	again    bool   // it may be taken later without having changed
	loading  bool   // something new is looked at
}

func (s *slot) usable(program string) error {
	switch {
	case s.disabled:
		return fmt.Errorf("plugin %s is disabled on this agent: `%s plugins enable %s` lets it run again", s.id, program, s.id)
	case s.current == nil && s.loading:
		return fmt.Errorf("plugin %s is being installed", s.id)
	case s.current == nil:
		return fmt.Errorf("plugin %s cannot be used: %s", s.id, s.refused)
	}
	return nil
}

// The states of api.PluginInfo.
const (
	pluginReady    = "ready"
	pluginRefused  = "refused"
	pluginDisabled = "disabled"
	pluginLoading  = "loading"
)

func (s *slot) info() api.PluginInfo {
	info := api.PluginInfo{ID: s.id, State: pluginReady, Message: s.refused}
	if s.current != nil {
		info.Version, info.Digest, info.Type = s.current.Version, s.current.Digest, string(s.current.Kind)
		if s.refused != "" {
			info.Message = "version " + s.current.Version + " goes on: " + s.refused
		}
	}
	switch {
	case s.disabled:
		info.State = pluginDisabled
	case s.current == nil && s.loading:
		info.State = pluginLoading
	case s.current == nil:
		info.State = pluginRefused
	}
	return info
}

// turns puts the changes of one plugin in order.
type turns struct {
	mu    sync.Mutex // guards locks
	locks map[api.PluginID]*turn
}

type turn struct {
	sync.Mutex
	waiting int
}

// take waits for the turn of a plugin, which ends with a call of what it returns.
func (t *turns) take(id api.PluginID) (end func()) {
	t.mu.Lock()
	if t.locks == nil {
		t.locks = map[api.PluginID]*turn{}
	}
	l := t.locks[id]
	if l == nil {
		l = &turn{}
		t.locks[id] = l
	}
	l.waiting++
	t.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		t.mu.Lock()
		defer t.mu.Unlock()
		if l.waiting--; l.waiting == 0 {
			delete(t.locks, id)
		}
	}
}

// slotOf gives a copy of what is known of a plugin.
func (p *Plugins) slotOf(id api.PluginID) slot {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if s := p.slots[id]; s != nil {
		return *s
	}
	return slot{id: id}
}

// alter changes what is known of a plugin, which need not be known yet.
func (p *Plugins) alter(id api.PluginID, f func(*slot)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.slots[id]
	if s == nil {
		s = &slot{id: id}
		p.slots[id] = s
	}
	f(s)
	p.notify()
}

// use makes a version the one that whatever begins from now on runs. What runs goes on
// with the version that it began with.
func (p *Plugins) use(store *catalog.Store, next *plugin.Plugin, source string, python pyenv.Interpreter) {
	e := store.Entry(next.ID)
	p.alter(next.ID, func(s *slot) {
		s.store, s.source, s.current, s.disabled = store, source, next, e.Disabled || source != "" && p.paused[next.ID]
		s.since, s.proven = time.Now(), e.Proven
		s.refused, s.declined, s.again, s.loading = e.Damage, "", false, false
		p.pythons[next.Dir] = python
	})
	p.pool.Drop(next.ID, next.Digest)
	p.cold.Delete(next.ID)
	if e.Damage != "" {
		p.tellRefused(next.ID, e.Damage, "look at the disk; `"+p.rt.Role.Program+" plugins show "+string(next.ID)+"` tells what is there")
		return
	}
	p.rt.Health.Clear(conditionOf(next.ID))
	p.rt.admitted(deniedPlugin, string(next.ID))
}

// refuse keeps in /health, heartbeats and the log why something was not taken.
func (p *Plugins) refuse(id api.PluginID, source, digest, why string, again bool) {
	known := p.slotOf(id)
	p.alter(id, func(s *slot) {
		if s.current == nil {
			s.source = source
		}
		s.refused, s.declined, s.again, s.loading = why, digest, again, false
	})
	if known.refused == why {
		return
	}
	p.tellRefused(id, why, "correct it: a change is noticed by itself")
}

func (p *Plugins) tellRefused(id api.PluginID, why, remedy string) {
	message := "plugin " + string(id) + ": " + why
	if s := p.slotOf(id); s.current != nil {
		message += "; version " + s.current.Version + " goes on"
	}
	p.rt.Health.Set(conditionOf(id), Degraded, false, message, remedy)
	p.rt.Log.Warn("plugin refused", telemetry.KeyPlugin, id, "reason", why)
	p.rt.denied(deniedPlugin, string(id), why)
}

// conditionOf names the condition of a plugin.
func conditionOf(id api.PluginID) string { return "plugin_" + string(id) }

// adopt uses what a store has active, without starting it: it was in use before.
func (p *Plugins) adopt(ctx context.Context, store *catalog.Store, e catalog.Entry, source string) {
	v, found := e.Of(e.Active)
	if !found {
		return
	}
	m, err := catalog.Load(v)
	if err == nil {
		err = p.policy().Check(m)
	}
	var python pyenv.Interpreter
	if err == nil {
		python, err = p.environment(ctx, m, nil)
	}
	if err != nil {
		p.refuse(e.ID, source, v.Digest, err.Error(), false)
		return
	}
	p.use(store, m, source, python)
}

// forget drops a plugin that is not here any more.
func (p *Plugins) forget(id api.PluginID) {
	p.mu.Lock()
	delete(p.slots, id)
	p.notify()
	p.mu.Unlock()
	p.pool.Drop(id, "")
	p.rt.Health.Clear(conditionOf(id))
}

// logWarnings tells what a manifest says and nobody reads.
func (p *Plugins) logWarnings(id api.PluginID, warnings strictyaml.Errors) {
	for _, w := range warnings {
		p.rt.Log.Warn("plugin manifest", telemetry.KeyPlugin, id, "warning", w.Error())
	}
}

// inUse reports whether a version is the one that the next run takes.
func (p *Plugins) inUse(m *plugin.Plugin) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	s := p.slots[m.ID]
	return s == nil || s.current != nil && s.current.Dir == m.Dir // what is not installed has no other version
}
