package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/plugin"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// desiredMemory is what the orchestrator wanted last, so that sensing goes on while it is away.
const desiredMemory = "desired-monitors"

// recallMonitors has the monitors run that the orchestrator wanted before this start.
func (p *Plugins) recallMonitors() {
	if p.rt.Role.Type != api.Sensor {
		return
	}
	var set api.Monitors
	if err := p.rt.Recall(desiredMemory, &set); err != nil {
		p.rt.Log.Warn("which monitors the orchestrator wants is not known until it tells", telemetry.KeyError, err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.desired = set
}

// followMonitors asks for the monitors that the orchestrator wants, when they are of another
// version than those that it wanted before, and has them run. It is on record first, and
// remembered.
func (rt *Runtime) followMonitors(ctx context.Context, version string) error {
	p := rt.Plugins
	p.mu.RLock()
	before := p.desired
	p.mu.RUnlock()
	if before.Version == version {
		return nil
	}
	var next api.Monitors
	if version != "" {
		var err error
		if next, err = rt.API.Monitors(ctx); err != nil {
			return err
		}
	}
	names := []string{}
	for _, m := range next.Monitors {
		names = append(names, m.Name)
	}
	if err := rt.Audit.Record(AuditMonitors, slog.String("version", next.Version), slog.Any("monitors", names)); err != nil {
		return err
	}
	if err := rt.Remember(desiredMemory, next); err != nil {
		return err
	}
	p.mu.Lock()
	p.desired = next
	p.notify()
	p.mu.Unlock()
	rt.Log.Info("monitors of workflows changed", "monitors", strings.Join(names, ", "))
	return nil
}

// wanted are the settings of the monitors that workflows bring: what the owner's file says of
// the plugin, with the workflow's configuration over that. A file of the same name takes the
// place of one. It needs mu.
func (p *Plugins) wanted() []config.PluginFile {
	var out []config.PluginFile
	for _, d := range p.desired.Monitors {
		if slices.ContainsFunc(p.settings, func(f config.PluginFile) bool { return f.Name == d.Name }) {
			continue
		}
		f := config.PluginFile{Plugin: d.Plugin, Enabled: true}
		if i := slices.IndexFunc(p.settings, func(f config.PluginFile) bool { return f.Plugin == d.Plugin }); i >= 0 {
			f = p.settings[i]
		}
		f.Wanted = &config.Wanted{Workflow: d.Workflow, Version: d.Version, Config: map[string]any{}, Owner: f.Config}
		f.Name, f.Interval, f.File = d.Name, config.Duration(time.Duration(d.Interval*float64(time.Second))), cmp.Or(f.File, "workflow "+d.Workflow)
		f.Config = maps.Clone(f.Config)
		if f.Config == nil {
			f.Config = map[string]any{}
		}
		for name, text := range d.Config {
			var value any
			if err := json.Unmarshal(text, &value); err != nil { // the client has read it once
				continue
			}
			f.Config[name], f.Wanted.Config[name] = value, value
		}
		out = append(out, f)
	}
	return out
}

// mayMonitor holds a monitor of a workflow to what the owner of the host says.
func mayMonitor(m *plugin.Plugin, f config.PluginFile) error {
	if f.Wanted == nil {
		return nil
	}
	if !f.Enabled {
		return fmt.Errorf("%s says enabled: false of plugin %s; workflow %s cannot have it run here", f.File, f.Plugin, f.Wanted.Workflow)
	}
	if within := f.Wanted.Version; within != "" && !inRange(m.Version, within) {
		return fmt.Errorf("workflow %s wants plugin %s in a version of %s, and here is %s", f.Wanted.Workflow, m.ID, within, m.Version)
	}
	for _, property := range m.Configuration {
		if _, said := f.Wanted.Config[property.Name]; said && property.Secret {
			return fmt.Errorf("workflow %s sets %s of plugin %s, which is secret: set it in a file of plugins.config_dir on this host, and leave it out there", f.Wanted.Workflow, property.Name, m.ID)
		}
	}
	return nil
}

func inRange(version, within string) bool {
	constraint, err := semver.NewConstraint(within)
	v, errVersion := semver.NewVersion(version)
	return err == nil && errVersion == nil && constraint.Check(v)
}

// ownersWord is the configuration that permissions are read with: of a monitor that a workflow
// brings what the owner's file or the manifest says, and not the workflow, so that no server can
// have a plugin see what nobody here has named.
func ownersWord(m *plugin.Plugin, f config.PluginFile, whole map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	if f.Wanted == nil {
		return whole, nil
	}
	out, err := plugin.Values(f.Wanted.Owner)
	if err != nil {
		return nil, fmt.Errorf("configuration of %s: %w", m.ID, err)
	}
	if out == nil {
		out = map[string]json.RawMessage{}
	}
	for _, property := range m.Configuration {
		if _, said := out[property.Name]; !said && property.Default != nil {
			out[property.Name] = property.Default
		}
	}
	return out, nil
}
