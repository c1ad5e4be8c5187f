package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/stavily/agents/shared/internal/catalog"
	"github.com/stavily/agents/shared/internal/memo"
	"github.com/stavily/agents/shared/internal/pyenv"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/internal/warm"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/plugin"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// Plugins is the plugin host: what is installed, what the host's owner grants each
// of them, and how a process of one is started with all that belongs to it. It is
// safe for concurrent use; what it found does not change after it was opened.
type Plugins struct {
	rt          *Runtime
	python      pyenv.Interpreter
	sdk         string // directory that holds the Python package stavily
	installed   []catalog.Installed
	settings    []config.PluginFile
	posture     api.Posture
	confinement confinement
	base        string // the base directory, without symbolic links
	logs        pluginLogs
	memos       *memo.Memos
	told        sync.Map // what was logged of grants: name of the settings → text
	pool        *warm.Pool
	connections *connections
	cold        sync.Map // plugins whose runs are never forked → why
}

// openPlugins looks at what is installed. Plugins and files with mistakes are
// reported as conditions and left out; the rest works.
func openPlugins(ctx context.Context, rt *Runtime) (*Plugins, error) {
	p := &Plugins{rt: rt, memos: memo.In(filepath.Join(rt.DataDir("state"), "memo")), logs: pluginLogs{
		dir: filepath.Join(rt.Config.Agent.BaseDir, "logs", "plugins"), options: logOptions(rt.Config), open: map[api.PluginID]io.WriteCloser{},
	}}
	cfg := rt.Config.Plugins
	err := p.confine(ctx)
	if err != nil {
		return nil, err
	}
	p.python, err = pyenv.ResolvePython(ctx, cfg.Python.Interpreter)
	if err != nil {
		rt.Health.Set("no_python", Degraded, false, err.Error(), "install Python 3.8 or newer, or set plugins.python.interpreter")
		rt.Log.Warn("no Python", telemetry.KeyError, err)
	}
	if p.sdk, err = unpackSDK(ctx, rt.DataDir("cache"), p.python); err != nil {
		return nil, err
	}
	if p.sdk, err = filepath.EvalSymlinks(p.sdk); err != nil {
		return nil, fmt.Errorf("find the Python SDK: %w", err)
	}
	if p.base, err = filepath.EvalSymlinks(rt.Config.Agent.BaseDir); err != nil {
		return nil, fmt.Errorf("find the base directory: %w", err)
	}
	p.installed, err = catalog.Scan(cfg.Dir, catalog.Options{Agent: rt.Role.Type, Allows: cfg.Allows, Python: p.python})
	if err != nil {
		return nil, err
	}
	var mistakes []error
	p.settings, mistakes = config.LoadPluginFiles(cfg.ConfigDir)
	p.report(mistakes)
	p.pool, p.connections = p.newPool(), newConnections(rt)
	return p, nil
}

// report tells once what cannot be used, and keeps it in /health.
func (p *Plugins) report(mistakes []error) {
	for _, i := range p.installed {
		for _, w := range i.Warnings {
			p.rt.Log.Warn("plugin manifest", telemetry.KeyPlugin, i.ID(), "warning", w.Error())
		}
		if i.Refused != "" {
			p.rt.Health.Set("plugin_"+string(i.ID()), Degraded, false, "plugin "+string(i.ID())+": "+i.Refused, "correct it and restart the agent")
			p.rt.Log.Warn("plugin refused", telemetry.KeyPlugin, i.ID(), "reason", i.Refused)
		}
	}
	if len(mistakes) > 0 {
		err := errors.Join(mistakes...)
		p.rt.Health.Set("plugin_configuration", Degraded, false, err.Error(), "correct the files and restart the agent")
		p.rt.Log.Warn("plugin configuration refused", telemetry.KeyError, err)
	}
}

// Infos lists what is installed, as heartbeats tell it; never nil.
func (p *Plugins) Infos() []api.PluginInfo {
	out := make([]api.PluginInfo, len(p.installed))
	for i := range p.installed {
		out[i] = p.installed[i].Info()
		if reason, found := p.cold.Load(out[i].ID); found && out[i].Message == "" {
			out[i].Message = fmt.Sprintf("each run starts anew: %s", reason)
		}
	}
	return out
}

// Find gives the plugin with this id, or a sentence that says why it cannot be used.
func (p *Plugins) Find(id api.PluginID) (*plugin.Plugin, error) { return catalog.Find(p.installed, id) }

// Settings are the enabled files of the configuration directory, by name.
func (p *Plugins) Settings() []config.PluginFile {
	var out []config.PluginFile
	for _, f := range p.settings {
		if f.Enabled {
			out = append(out, f)
		}
	}
	return out
}

// SettingsOf is what the host's owner says about a plugin: the first enabled file
// that names it, or the defaults.
func (p *Plugins) SettingsOf(id api.PluginID) config.PluginFile {
	for _, f := range p.Settings() {
		if f.Plugin == id {
			return f
		}
	}
	return config.PluginFile{Plugin: id, Name: string(id)}
}

// configuration applies the manifest's schema to what the host's owner set.
func configuration(p *plugin.Plugin, f config.PluginFile) (explicit, whole map[string]json.RawMessage, err error) {
	explicit, err = plugin.Values(f.Config)
	if err == nil {
		whole, err = p.Configuration.Apply(explicit)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("configuration of %s: %w", p.ID, err)
	}
	return explicit, whole, nil
}

// limits are the smallest of what the agent's owner allows in general, for this
// plugin, and what the manifest asks for; within is what the caller allows besides,
// 0 is no more than that.
func (p *Plugins) limits(m *plugin.Plugin, f config.PluginFile, within time.Duration) sandbox.Limits {
	cfg, owner := p.rt.Config.Plugins, p.rt.Config.Security.Sandbox
	return sandbox.Limits{
		Time:      smallest(cfg.Timeout.Duration(), f.Timeout.Duration(), m.Limits.ExecutionTime, within),
		Memory:    smallest(cfg.MaxMemory.Bytes(), f.Memory.Bytes(), m.Limits.Memory),
		CPUShare:  smallest(cmp.Or(f.CPU, owner.MaxCPU), m.Limits.CPU),
		Processes: cmp.Or(f.Processes, owner.MaxProcesses),
		OpenFiles: maxOpenFiles,
		FileSize:  maxFileSize,
		TempSize:  cmp.Or(f.Temp, owner.MaxTemp).Bytes(),
	}
}

// What a plugin process may take beyond memory and time: far more than one that
// does its job, and little enough that one that does not is no danger to the host.
const (
	maxOpenFiles = 1024
	maxFileSize  = 1 << 30
)

// smallest is the smallest of the values that say something (are above 0).
func smallest[T ~int64 | ~float64](values ...T) T {
	var least T
	for _, v := range values {
		if v > 0 && (least == 0 || v < least) {
			least = v
		}
	}
	return least
}
