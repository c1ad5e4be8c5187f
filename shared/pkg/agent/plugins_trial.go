package agent

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/stavily/agents/shared/internal/pyenv"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// breakage is a version that failed while it was in use, and how.
type breakage struct {
	plugin *plugin.Plugin
	why    string
}

// Broke says that a process of a plugin ended or broke its contract without having been
// made to. Within the first minute of a version that takes it out of use, where there is
// a good one to go back to.
func (p *Plugins) Broke(m *plugin.Plugin, why string) {
	if !p.onTrial(m) {
		return
	}
	select {
	case p.broken <- breakage{m, why}:
	default: // it is being gone back from
	}
}

func (p *Plugins) onTrial(m *plugin.Plugin) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	s := p.slots[m.ID]
	return s != nil && s.current != nil && s.current.Dir == m.Dir && !s.proven && time.Since(s.since) < p.trial
}

// watchTrials ends the first minutes of versions: well, or by going back.
func (p *Plugins) watchTrials(ctx context.Context) error {
	changed, stop := p.Changes()
	defer stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case b := <-p.broken:
			p.goBack(ctx, b)
		case <-changed:
		case <-timer.C:
		}
		timer.Reset(p.endTrials())
	}
}

// endTrials notes which versions stood their first minute, and says when to look again.
func (p *Plugins) endTrials() time.Duration {
	next := time.Hour
	var stood []api.PluginID
	p.mu.RLock()
	for id, s := range p.slots {
		if s.current == nil || s.proven {
			continue
		}
		if left := p.trial - time.Since(s.since); left > 0 {
			next = min(next, left)
		} else {
			stood = append(stood, id)
		}
	}
	p.mu.RUnlock()
	for _, id := range stood {
		p.prove(id)
	}
	return next
}

func (p *Plugins) prove(id api.PluginID) {
	defer p.turns.take(id)()
	s := p.slotOf(id)
	if s.current == nil || s.proven || time.Since(s.since) < p.trial {
		return // another took its place meanwhile
	}
	if err := s.store.Prove(id); err != nil {
		p.rt.Log.Warn("that a version is good is not noted", telemetry.KeyPlugin, id, telemetry.KeyError, err)
	}
	p.mu.Lock()
	if now := p.slots[id]; now != nil {
		now.proven = true
	}
	p.mu.Unlock()
	p.collect()
}

// goBack replaces a version that failed in its first minute by the last good one or,
// without one, by the one before that did not fail.
func (p *Plugins) goBack(ctx context.Context, b breakage) {
	id := b.plugin.ID
	defer p.turns.take(id)()
	if !p.onTrial(b.plugin) {
		return
	}
	s := p.slotOf(id)
	e := s.store.Entry(id)
	if err := s.store.Fail(id, e.Active, b.why); err != nil {
		p.rt.Log.Warn("that a version failed is not noted", telemetry.KeyPlugin, id, telemetry.KeyError, err)
	}
	back := cmp.Or(e.LastGood, e.Previous)
	if back == "" {
		return // there is no other that did not fail: it is started again and again
	}
	why := fmt.Sprintf("version %s failed in its first minute in use: %s", b.plugin.Version, b.why)
	var python pyenv.Interpreter
	good, err := s.store.Activate(ctx, id, back, func(ctx context.Context, m *plugin.Plugin) (err error) {
		python, err = p.interpreterOf(ctx, m)
		return err
	})
	if err != nil {
		p.refuse(id, s.source, b.plugin.Digest, fmt.Sprintf("%s; the version before cannot be used either: %v", why, err), false)
		return
	}
	p.noteGoneBack(e, back, b.plugin.Version, why)
	p.use(s.store, good, s.source, python)
	p.refuse(id, s.source, b.plugin.Digest, why, false)
	p.collect()
}
