package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/internal/catalog"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// PluginState is one line of `plugins list`.
type PluginState struct {
	api.PluginInfo
	Origin catalog.Origin `json:"origin"`
}

// PluginDetails are what `plugins show` tells.
type PluginDetails struct {
	PluginState
	Name        string         `json:"name,omitempty"`
	Description string         `json:"description,omitempty"`
	Directory   string         `json:"directory,omitempty"` // of the version in use
	Source      string         `json:"source,omitempty"`    // the directory that its owner edits
	Since       api.Time       `json:"since"`               // when this agent began to use the version
	OnTrial     bool           `json:"on_trial,omitempty"`  // it has not stood its first minute yet
	Asks        []string       `json:"asks"`                // its manifest, to reach
	Granted     []string       `json:"granted"`             // what became of each, here
	Environment string         `json:"environment,omitempty"`
	Packages    []string       `json:"packages"` // that were installed for it
	Settings    []string       `json:"settings"` // the files that configure it
	Versions    []PluginStored `json:"versions"`
}

// PluginStored is one version that is kept.
type PluginStored struct {
	catalog.Version
	Active   bool `json:"active,omitempty"`
	Rollback bool `json:"rollback,omitempty"` // the one to which rollback goes back
}

// States lists what is installed.
func (p *Plugins) States() []PluginState {
	out := []PluginState{}
	for _, info := range p.Infos() {
		out = append(out, PluginState{info, p.originOf(p.slotOf(info.ID))})
	}
	return out
}

func (p *Plugins) originOf(s slot) catalog.Origin {
	switch _, _, assigned := p.rt.assigned.of(s.id); {
	case s.store != nil:
	case s.source != "":
		return catalog.Origin{Kind: catalog.FromDirectory, From: s.source}
	case assigned:
		return catalog.Origin{Kind: catalog.FromOrchestrator}
	default:
		return catalog.Origin{}
	}
	e := s.store.Entry(s.id)
	v, _ := e.Of(e.Active)
	return v.Origin
}

// Details tells everything about one plugin.
func (p *Plugins) Details(id api.PluginID) (PluginDetails, error) {
	if err := id.Validate(); err != nil {
		return PluginDetails{}, err
	}
	i := slices.IndexFunc(p.Infos(), func(i api.PluginInfo) bool { return i.ID == id })
	if i < 0 {
		return PluginDetails{}, fmt.Errorf("plugin %s is not installed on this agent: %w", id, fs.ErrNotExist)
	}
	s := p.slotOf(id)
	d := PluginDetails{PluginState: PluginState{p.Infos()[i], p.originOf(s)}, Source: s.source, Asks: []string{}, Packages: []string{}, Granted: []string{}, Settings: []string{}, Versions: []PluginStored{}}
	for _, f := range p.Settings() {
		if f.Plugin == id {
			d.Settings = append(d.Settings, f.File)
		}
	}
	if s.store != nil {
		e := s.store.Entry(id)
		for _, v := range e.Versions {
			d.Versions = append(d.Versions, PluginStored{v, v.Name == e.Active, v.Name == cmp.Or(e.Previous, e.LastGood)})
		}
	}
	if s.current == nil {
		return d, nil
	}
	m := s.current
	d.Name, d.Description, d.Directory, d.Since, d.OnTrial, d.Asks = m.Name, m.Description, m.Dir, api.At(s.since), !s.proven, append(d.Asks, m.Asks()...)
	if python := p.pythonOf(m); m.Runtime.Type == "python" {
		d.Environment = fmt.Sprintf("Python %s, %s", python.Version, python.Path)
		e, err := p.environments.Environment(python.Environment)
		if err != nil {
			d.Environment += ": " + err.Error()
		}
		for _, installed := range e.Packages {
			d.Packages = append(d.Packages, installed.Name+" "+installed.Version)
		}
		if e.System {
			d.Packages = append(d.Packages, "those of the system")
		}
	}
	g, err := p.grants(Task{Plugin: m, Settings: p.SettingsOf(id)})
	if err != nil {
		d.Granted = append(d.Granted, "it cannot be said: "+err.Error())
	}
	for _, decision := range g.Account {
		d.Granted = append(d.Granted, decision.String())
	}
	return d, nil
}

// SetEnabled lets a plugin run or keeps it from running, over restarts. What runs of a
// sensor ends; an instruction under way is carried out.
func (p *Plugins) SetEnabled(id api.PluginID, enabled bool) error {
	defer p.turns.take(id)()
	s := p.slotOf(id)
	if s.store == nil && s.refused == "" {
		return fmt.Errorf("plugin %s is not installed on this agent: %w", id, fs.ErrNotExist)
	}
	err := p.rt.Audit.Record(AuditPluginSwitched, slog.String("plugin", string(id)), slog.Bool("enabled", enabled))
	if err != nil {
		return err
	}
	if s.source != "" {
		err = p.setPaused(id, !enabled)
	} else {
		err = s.store.SetEnabled(id, enabled)
	}
	if err != nil {
		return err
	}
	p.alter(id, func(s *slot) { s.disabled = !enabled })
	if !enabled {
		p.pool.Drop(id, "")
	}
	p.rt.Log.Info("plugin enabled or disabled by the host's owner", telemetry.KeyPlugin, id, "enabled", enabled)
	return nil
}

// Rollback goes back to the version that was in use before this one or, where that failed
// or is gone, to the last good one.
func (p *Plugins) Rollback(ctx context.Context, id api.PluginID) (Change, error) {
	s := p.slotOf(id)
	switch {
	case s.source != "":
		return Change{}, fmt.Errorf("plugin %s runs from %s, which its owner edits: put the files there back", id, s.source)
	case s.store == nil:
		return Change{}, fmt.Errorf("plugin %s is not installed on this agent: %w", id, fs.ErrNotExist)
	}
	e := s.store.Entry(id)
	before, found := e.Of(cmp.Or(e.Previous, e.LastGood))
	if !found {
		return Change{}, fmt.Errorf("plugin %s has no version to go back to: `%s plugins show %s` lists those that it has", id, p.rt.Role.Program, id)
	}
	change, err := p.reactivate(ctx, before)
	if err == nil {
		p.rt.Log.Info("plugin rolled back by the host's owner", telemetry.KeyPlugin, id, "version", before.Version, "before", change.Before)
		p.collect()
	}
	return change, err
}

// pausedName is where it is kept which plugins that run from directories are disabled;
// of the others the store knows.
const pausedName = "disabled-plugins.json"

const maxPaused = 1 << 20

func (p *Plugins) readPaused() (map[api.PluginID]bool, error) {
	out := map[api.PluginID]bool{}
	text, err := limits.ReadFile(filepath.Join(p.rt.DataDir("state"), pausedName), maxPaused)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	var ids []api.PluginID
	if err == nil {
		err = limits.UnmarshalJSON(text, &ids)
	}
	if err != nil {
		return out, fmt.Errorf("read which plugins are disabled: %w", err)
	}
	for _, id := range ids {
		out[id] = true
	}
	return out, nil
}

func (p *Plugins) setPaused(id api.PluginID, paused bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := maps.Clone(p.paused)
	delete(next, id)
	if paused {
		next[id] = true
	}
	text := encoded(slices.Sorted(maps.Keys(next)))
	if err := atomicfile.Write(filepath.Join(p.rt.DataDir("state"), pausedName), text, 0o600); err != nil {
		return fmt.Errorf("note which plugins are disabled: %w", err)
	}
	p.paused = next
	return nil
}
