package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/shared/internal/grant"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// Reenter returns unless this process was started to confine a plugin, and then never.
// A program that opens a [Workbench] calls it before all else, as Main does.
func Reenter() { sandbox.Main() }

// What a workbench tells of a plugin's processes and of what it may reach.
type (
	// Exit is how a process ended and what it took.
	Exit = sandbox.Exit
	// Decision is what became of one entry of a manifest's permissions.
	Decision = grant.Decision
)

// NotThere ends the reason of a Decision on what this host does not have.
const NotThere = grant.NotThere

// Workbench is a plugin host without an agent around it: no orchestrator, no identity,
// nothing installed. What it starts is confined, granted, limited and spoken to by the
// code that does it in an agent. It is for the one who writes a plugin.
type Workbench struct {
	*Plugins
	release func() error
	stop    context.CancelFunc
	ended   sync.WaitGroup
}

// WorkbenchOptions say where and how.
type WorkbenchOptions struct {
	Dir    string               // takes what the base directory of an agent has; its path should be short
	Agent  api.AgentType        // the agent that it stands for
	Log    *slog.Logger         // what an agent would log
	Python string               // the interpreter, as plugins.python.interpreter; empty: the one that an agent takes
	Adjust func(*config.Config) // what the host's owner would set; may be nil

	// Observer is the source of a Python module that every Python process of the plugin
	// imports before all else. Empty: none, as in an agent.
	Observer string
}

// OpenWorkbench prepares one, self-test of the sandbox included. It works until ctx ends
// or it is closed.
func OpenWorkbench(ctx context.Context, o WorkbenchOptions) (*Workbench, error) {
	cfg, err := o.configuration()
	if err != nil {
		return nil, err
	}
	release, err := openBase(cfg.Agent.BaseDir)
	if err != nil {
		return nil, err
	}
	w := &Workbench{release: release}
	rt, err := newRuntime(cfg, Role{Type: o.Agent, Program: string(o.Agent) + "-agent"}, o.Log)
	if err == nil {
		w.Plugins, err = openPlugins(ctx, rt)
	}
	if err == nil {
		rt.Plugins = w.Plugins
		err = w.observe(o.Observer)
	}
	if err != nil {
		return nil, errors.Join(err, release())
	}
	ctx, w.stop = context.WithCancel(ctx)
	w.ended.Go(func() { _ = w.pool.Run(ctx) }) // ends with ctx, and never fails
	return w, nil
}

// Close ends what is left of the plugin and gives the directory back, which stays.
func (w *Workbench) Close() error {
	w.stop()
	w.ended.Wait()
	w.close()
	return w.release()
}

// workbenchAgent is who the plugin is told that its agent is.
const workbenchAgent = "workbench"

func (o WorkbenchOptions) configuration() (*config.Config, error) {
	loaded, err := config.Load(config.LoadOptions{Type: o.Agent, Environ: []string{
		"STAVILY_AGENT_ID=" + workbenchAgent, "STAVILY_BASE_DIR=" + o.Dir, "STAVILY_AGENT_ENVIRONMENT=development",
		"STAVILY_API_BASE_URL=https://localhost", // nothing connects to it
	}})
	if err != nil {
		return nil, fmt.Errorf("configure the workbench: %w", err)
	}
	cfg := &loaded.Config
	if o.Python != "" {
		cfg.Plugins.Python.Interpreter = o.Python
	}
	if o.Adjust != nil {
		o.Adjust(cfg)
	}
	return cfg, nil
}

// observe puts the observer where Python looks for it: sitecustomize is imported by
// every interpreter that finds one, and plugins are shown the SDK's directory.
func (w *Workbench) observe(source string) error {
	if source == "" {
		return nil
	}
	return atomicfile.Write(filepath.Join(w.sdk, "sitecustomize.py"), []byte(source), 0o644)
}

// Prepare makes what a plugin needs to run besides itself: its Python environment, as an
// installation does.
func (w *Workbench) Prepare(ctx context.Context, p *plugin.Plugin, progress func(string)) error {
	python, err := w.environment(ctx, p, progress)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pythons[p.Dir] = python
	return nil
}

// SDK is the directory that PYTHONPATH names for plugins.
func (w *Workbench) SDK() string { return w.sdk }

// Python is the interpreter that runs a plugin of Python, empty where there is none.
func (w *Workbench) Python(p *plugin.Plugin) string { return w.pythonOf(p).Path }

// Home is the directory that all processes of a plugin share.
func (w *Workbench) Home(id api.PluginID) (string, error) { return w.home(id) }

// Warm reports whether a process of a plugin is kept that runs are forked from; where it
// cannot be, why.
func (w *Workbench) Warm(p *plugin.Plugin) (bool, string) {
	if reason, cold := w.cold.Load(p.ID); cold {
		return false, fmt.Sprint(reason)
	}
	return w.mayBeWarm(p) && w.pool.Zygotes() > 0, ""
}

// Reach is what the processes of a task may reach, and why not what was asked for.
type Reach struct {
	Decisions []Decision // one for each entry of the manifest
	Read      []string   // granted, and what every plugin is shown; writing includes reading
	Write     []string   // granted, and its own directories
	Stat      []string
	Sockets   []string
	Mounts    map[string]string // places under which it sees others of the host
	Network   NetworkReach
	Whole     bool // nothing is missing: what every plugin is shown is known on this system
}

// NetworkReach is everything, or the destinations, "host:port" each.
type NetworkReach struct {
	All          bool
	Destinations []string
}

// Reach decides it as for a run. The manifest must not ask for what cannot be decided.
func (w *Workbench) Reach(t Task) (Reach, error) {
	g, err := w.grants(t)
	if err != nil {
		return Reach{}, err
	}
	home, err := w.home(t.Plugin.ID)
	if err != nil {
		return Reach{}, err
	}
	out := Reach{
		Decisions: g.Account, Stat: g.Stat, Sockets: g.Sockets, Mounts: map[string]string{},
		Read:    append(append(sandbox.Shown(), t.Plugin.Dir, w.sdk), g.Read...),
		Write:   append([]string{home, tempOf(w.base)}, g.Write...),
		Network: NetworkReach{All: g.Network.All}, Whole: sandbox.Shown() != nil,
	}
	out.Read = append(out.Read, w.pythonOf(t.Plugin).Prefix...)
	for _, m := range g.Mounts {
		out.Mounts[m.Target] = m.Source
	}
	for _, d := range g.Network.Destinations {
		out.Network.Destinations = append(out.Network.Destinations, d.String())
	}
	return out, nil
}
