package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/stavily/agents/shared/internal/catalog"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// followDirectories looks at the directories that people edit and takes what changed. A
// second try of what may go better without a change is for who calls with again. The
// error says that they cannot be looked at; then everything stays.
func (p *Plugins) followDirectories(ctx context.Context, again bool) error {
	found, err := p.scanner.Scan()
	if err != nil {
		return err
	}
	there := map[api.PluginID]bool{}
	for i := range found {
		f := &found[i]
		id := p.idOf(f)
		if f.Refused != "" && there[id] {
			continue // another directory has the version that is used
		}
		if f.Refused != "" && slices.ContainsFunc(found, func(o catalog.Installed) bool { return o.Refused == "" && o.ID() == id }) {
			p.rt.Log.Warn("plugin refused", telemetry.KeyPlugin, id, "reason", f.Refused)
			continue
		}
		there[id] = true
		p.aside(id, func() { p.followDirectory(ctx, id, f, again) })
	}
	p.dropVanished(ctx, there)
	return nil
}

// followInstalled uses what was installed and is not in use yet: at the start, and where
// its environment could not be made then.
func (p *Plugins) followInstalled(ctx context.Context) {
	for _, e := range p.store.Entries() {
		if s := p.slotOf(e.ID); e.Active == "" || s.current != nil || s.source != "" {
			continue
		}
		p.aside(e.ID, func() {
			defer p.turns.take(e.ID)()
			if s := p.slotOf(e.ID); s.current == nil && s.source == "" {
				p.adopt(ctx, p.store, p.store.Entry(e.ID), "")
			}
		})
	}
}

// maxAside is how many plugins are looked at at the same time.
const maxAside = 4

// aside looks at one plugin beside the others: one that is slow to start, or whose
// environment takes minutes, holds up no other. A plugin that is being looked at is
// looked at once more then.
func (p *Plugins) aside(id api.PluginID, look func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, busy := p.busy[id]; busy {
		p.busy[id] = true
		return
	}
	p.busy[id] = false
	if p.slots[id] == nil {
		p.slots[id] = &slot{id: id, loading: true}
	}
	p.looking.Go(func() {
		p.lookers <- struct{}{}
		look()
		<-p.lookers
		p.mu.Lock()
		again := p.busy[id]
		delete(p.busy, id)
		if s := p.slots[id]; s != nil && s.loading {
			s.loading = false
			p.notify()
		}
		p.mu.Unlock()
		if again {
			select {
			case p.lookAgain <- struct{}{}:
			default:
			}
		}
	})
}

// await waits until everything was looked at, but not for ever.
func (p *Plugins) await(limit time.Duration) {
	done := make(chan struct{})
	go func() { p.looking.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(limit):
		p.rt.Log.Info("plugins are still being loaded; the agent works meanwhile")
	}
}

// idOf is the plugin that a directory holds. One that cannot be read holds what it held
// before.
func (p *Plugins) idOf(f *catalog.Installed) api.PluginID {
	if f.Plugin != nil {
		return f.ID()
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	for id, s := range p.slots {
		if s.source == f.Dir && s.current != nil {
			return id
		}
	}
	for _, e := range p.mirror.Entries() { // by the agent before this one
		if v, found := e.Of(e.Active); found && v.Origin.From == f.Dir {
			return e.ID
		}
	}
	return f.ID()
}

// followDirectory takes what is in one directory, if it is new and can be used.
func (p *Plugins) followDirectory(ctx context.Context, id api.PluginID, f *catalog.Installed, again bool) {
	defer p.turns.take(id)()
	s := p.slotOf(id)
	if s.current == nil {
		if e := p.mirror.Entry(id); e.Active != "" {
			p.adoptMirror(ctx, f, e)
			s = p.slotOf(id)
		}
	}
	if f.Refused != "" {
		digest := ""
		if f.Plugin != nil {
			digest = f.Plugin.Digest
		}
		p.refuse(id, f.Dir, digest, f.Refused, false)
		return
	}
	same := s.current != nil && s.current.Digest == f.Plugin.Digest && s.source == f.Dir
	switch {
	case same && s.refused == "":
		return
	case !same && s.declined == f.Plugin.Digest && !(again && s.again):
		return // it was refused, and has not changed
	}
	p.logWarnings(id, f.Warnings)
	if err := p.copyAndTake(ctx, f); err != nil && ctx.Err() == nil {
		p.refuse(id, f.Dir, f.Plugin.Digest, err.Error(), mayGoBetter(err))
	}
}

// adoptMirror uses the copy that was in use before the agent started, where it is of
// this directory.
func (p *Plugins) adoptMirror(ctx context.Context, f *catalog.Installed, e catalog.Entry) {
	if v, _ := e.Of(e.Active); v.Origin.From == f.Dir {
		p.adopt(ctx, p.mirror, e, f.Dir)
	}
}

var errChanging = errors.New("changes while it is copied: it is looked at again")

// copyAndTake needs the turn of the plugin.
func (p *Plugins) copyAndTake(ctx context.Context, f *catalog.Installed) error {
	name, err := catalog.NameOf(f.Plugin)
	if err != nil {
		return err
	}
	if v, known := p.mirror.Entry(f.Plugin.ID).Of(name); known && v.Failed != "" {
		return fmt.Errorf("version %s failed in its first minute in use: %s", v.Version, v.Failed)
	}
	aside, err := p.mirror.Aside()
	if err != nil {
		return err
	}
	defer os.RemoveAll(aside) // nothing is left to remove where it was taken
	if err := catalog.Copy(ctx, f.Dir, aside); err != nil {
		return err
	}
	m, _, err := plugin.Load(aside)
	if err != nil || m.Digest != f.Plugin.Digest {
		return errors.Join(&loadError{errChanging}, err)
	}
	_, err = p.take(ctx, p.mirror, m, f.Dir, catalog.Origin{Kind: catalog.FromDirectory, From: f.Dir, Approved: approvedByOwner}, func(string) {})
	return err
}

// dropVanished gives up the plugins whose directories are gone. One that was installed
// besides is used again.
func (p *Plugins) dropVanished(ctx context.Context, there map[api.PluginID]bool) {
	var gone []api.PluginID
	p.mu.RLock()
	for id, s := range p.slots {
		if s.source != "" && !there[id] {
			gone = append(gone, id)
		}
	}
	p.mu.RUnlock()
	for _, id := range gone {
		p.dropOne(ctx, id)
	}
	for _, e := range p.mirror.Entries() { // of directories that vanished while no agent ran
		if !there[e.ID] && e.Active != "" {
			p.unmirror(e.ID)
		}
	}
}

func (p *Plugins) dropOne(ctx context.Context, id api.PluginID) {
	defer p.turns.take(id)()
	p.rt.Log.Info("plugin gone", telemetry.KeyPlugin, id, "directory", p.slotOf(id).source)
	p.forget(id)
	p.unmirror(id)
	if e := p.store.Entry(id); e.Active != "" {
		p.adopt(ctx, p.store, e, "")
	}
	p.collect()
}

func (p *Plugins) unmirror(id api.PluginID) {
	e := p.mirror.Entry(id)
	if e.Active == "" {
		return
	}
	v, _ := e.Of(e.Active)
	p.rt.Audit.Note(AuditPluginRemoved, append(versionFields(v), slog.String("reason", "its directory is gone"))...)
	if err := p.mirror.Remove(id); err != nil {
		p.rt.Log.Warn("copies of a plugin are left", telemetry.KeyPlugin, id, telemetry.KeyError, err)
	}
}
