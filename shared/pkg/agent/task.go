package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/internal/removal"
	"github.com/stavily/agents/shared/internal/agentsocket"
	"github.com/stavily/agents/shared/internal/catalog"
	"github.com/stavily/agents/shared/internal/egress"
	"github.com/stavily/agents/shared/internal/grant"
	"github.com/stavily/agents/shared/internal/memo"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/internal/supervise"
	"github.com/stavily/agents/shared/internal/warm"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/plugin"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// Task is one plugin process to be: what runs, for whom, and who hears of it.
type Task struct {
	Plugin      *plugin.Plugin
	Settings    config.PluginFile // what the host's owner says about it
	Instruction *api.Instruction  // nil for a sensor
	Forever     bool              // a process that lives on has no time limit of its own

	Trial bool // a process that is started to see whether it starts: what it keeps is not kept

	outfit *outfit    // where it is known already
	found  *found     // by Examine
	seat   *warm.Seat // where set, the process is forked instead of started

	// Ready is called once all is prepared and nothing has been started, and may be called
	// again, at the latest before a process that has started is given its command; its error
	// keeps it from being started, or from being given one. It may be nil.
	Ready func() error

	// Trigger takes a sensor's event and returns once it is durable; nil refuses.
	Trigger func(context.Context, api.Event) (api.EventID, error)
	// Progress hears how far an instruction has come; nil drops it.
	Progress func(plugin.Progress)
	// Line hears each line of the plugin's log besides its log file. Without it lines
	// are copied to the orchestrator as they come.
	Line func(text string)

	// Stray hears lines of standard output that are no part of the contract; they are
	// logged too. Answered hears of the process that has answered an instruction and is
	// still there, Ended how a process ended. All may be nil.
	Stray    func(text string)
	Answered func(pid int)
	Ended    func(Exit)
}

// room is what a plugin process has to itself while it lives.
type room struct {
	spec    sandbox.Spec
	temp    string       // holds its socket and its input
	scratch string       // is its TMPDIR: the same directory, but for a process that is forked
	gate    *egress.Gate // its way to the network, where that has listeners
	log     *pluginLog
	standby *supervise.Standby // the process, where it is forked; nil where it is started
}

// inRoom prepares what the process of a task needs (private directories, socket,
// log, the order for the sandbox), calls use, and takes it away again.
func (p *Plugins) inRoom(ctx context.Context, t Task, use func(*room) error) error {
	c, err := p.chamberFor(t)
	if err != nil {
		return err
	}
	defer p.clear(t.Plugin.ID, c.dir)
	defer c.leave()
	log := p.logOf(t)
	socket := agentsocket.Options{Plugin: t.Plugin.ID, Kind: t.Plugin.Kind, Monitor: t.Settings.Name, Handler: &caller{p, t, log}, Memo: p.memo(t)}
	if t.Instruction != nil {
		socket.Instruction = t.Instruction.ID
	}
	return c.socket.Serve(ctx, socket, func(path string) error {
		r := &room{temp: c.dir, scratch: c.dir, log: log, standby: c.standby}
		if t.seat != nil {
			r.scratch = t.seat.Temp()
		}
		if err := p.furnish(ctx, t, r, path); err != nil {
			return err
		}
		if t.seat != nil {
			return use(r) // in the group of its zygote
		}
		return p.inGroup(r, use)
	})
}

// inGroup has the kernel hold the process to its limits where it can.
func (p *Plugins) inGroup(r *room, use func(*room) error) error {
	g, err := p.confinement.group(filepath.Base(r.temp), r.spec.Limits)
	if err != nil {
		return fmt.Errorf("make a control group: %w", err)
	}
	if g == nil {
		return use(r)
	}
	r.spec.Group = g
	err = use(r)
	return errors.Join(err, g.Close())
}

// clear removes a private directory. What resists is swept at the agent's next start.
func (p *Plugins) clear(id api.PluginID, temp string) {
	root, err := os.OpenRoot(filepath.Dir(temp))
	if err == nil {
		defer root.Close()
		err = removal.Below(root, filepath.Base(temp))
	}
	if err != nil {
		p.rt.Log.Warn("a private directory is left", telemetry.KeyPlugin, id, telemetry.KeyError, err)
	}
}

// outfit is what all processes of a task's plugin have in common.
type outfit struct {
	spec    sandbox.Spec // without a way to the network
	env     sandbox.Environment
	network grant.Network
}

// outfitOf finds it out; it may change between two runs, with links on the host.
func (p *Plugins) outfitOf(ctx context.Context, t Task) (*outfit, error) {
	if t.outfit != nil {
		return t.outfit, nil
	}
	if err := p.Admits(t.Settings); err != nil {
		return nil, err
	}
	home, err := p.home(t.Plugin.ID)
	if err != nil {
		return nil, err
	}
	installed := *t.Plugin
	if installed.Dir, err = filepath.EvalSymlinks(installed.Dir); err != nil {
		return nil, fmt.Errorf("find plugin %s: %w", t.Plugin.ID, err)
	}
	python, err := p.interpreterOf(ctx, t.Plugin)
	if err != nil {
		return nil, err
	}
	program, args, err := catalog.Command(&installed, python)
	if err != nil {
		return nil, err
	}
	o := &outfit{
		env: sandbox.Environment{Agent: p.rt.Config().Agent.ID, Plugin: t.Plugin.ID, Home: home, SDK: p.sdk, LogLevel: p.rt.Config().Logging.Level},
		spec: sandbox.Spec{
			Path: program, Args: args, Dir: installed.Dir,
			Host: p.confinement.host, Level: p.posture.Level, User: p.confinement.user,
			Code: append([]string{installed.Dir, p.sdk}, python.Prefix...),
			Home: home, Limits: p.limits(t.Plugin, t.Settings, t.within()),
		},
	}
	if t.Forever {
		o.spec.Limits.Time = 0
	}
	if err := p.allow(t, o); err != nil {
		return nil, err
	}
	return o, p.confinement.own(home)
}

// furnish writes the order for the sandbox.
func (p *Plugins) furnish(ctx context.Context, t Task, r *room, socket string) error {
	o, err := p.outfitOf(ctx, t)
	if err != nil {
		return err
	}
	env := o.env
	env.Temp, env.Socket = r.scratch, socket
	if err := p.forInstruction(t, r, &env); err != nil {
		return err
	}
	r.spec = o.spec
	r.spec.Temp, r.spec.Socket, r.spec.Input = r.scratch, socket, env.Input
	if t.seat != nil {
		r.spec.Network, r.gate = p.reach(o.network), t.seat.Gate() // its zygote has the listeners
	} else if r.spec.Network, r.gate, err = p.network(ctx, t, o.network); err != nil {
		return err
	}
	r.spec.Ended = func(e sandbox.Exit) {
		if t.Instruction == nil { // of an instruction the result tells
			p.rt.counts.took(t.Plugin.ID, e)
		}
		if t.Ended != nil {
			t.Ended(e)
		}
	}
	if r.spec.Env, err = env.List(); err != nil {
		return err
	}
	return p.confinement.own(append(slices.Compact([]string{r.temp, filepath.Dir(socket), socket}), optional(env.Input)...)...)
}

// optional is path where there is one.
func optional(path string) []string {
	if path == "" {
		return nil
	}
	return []string{path}
}

// home makes the directory that all processes of a plugin share.
func (p *Plugins) home(id api.PluginID) (string, error) {
	dir := filepath.Join(p.rt.DataDir("state"), "plugins", string(id))
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return "", fmt.Errorf("make the home of %s: %w", id, err)
	}
	return filepath.EvalSymlinks(dir)
}

// memo is what the task's plugin keeps over restarts: each monitor for itself, and all
// runs of an action or output together.
func (p *Plugins) memo(t Task) *memo.Memo {
	if t.Trial {
		return p.memos.Of(t.Plugin.ID, t.Settings.Name).Draft()
	}
	if t.Instruction != nil {
		return p.memos.Of(t.Plugin.ID, string(t.Plugin.ID))
	}
	return p.memos.Of(t.Plugin.ID, t.Settings.Name)
}

func (t Task) ready() error {
	if t.Ready == nil {
		return nil
	}
	return t.Ready()
}

func (t Task) progress(p plugin.Progress) {
	if t.Progress != nil {
		t.Progress(p)
	}
}

// within is the time that the instruction allows, 0 where it does not say.
func (t Task) within() time.Duration {
	if t.Instruction == nil {
		return 0
	}
	i := t.Instruction
	return time.Second * smallest(time.Duration(i.TimeoutSeconds), time.Duration(i.PluginConfiguration.TimeoutSeconds))
}

// inputFile is its name in the private directory.
const inputFile = "input.json"

// input is what contract script finds in its input file.
type input struct {
	InputData map[string]json.RawMessage `json:"input_data,omitempty"`
	Context   api.InstructionContext     `json:"context"`
	Variables map[string]json.RawMessage `json:"variables,omitempty"`
}

// forInstruction adds what only a process that serves an instruction has. Arguments
// and environment from the wire take effect only where the host's owner said so.
func (p *Plugins) forInstruction(t Task, r *room, env *sandbox.Environment) error {
	i := t.Instruction
	if i == nil {
		return nil
	}
	env.Instruction, env.Traceparent = i.ID, i.TraceParent
	text, err := json.Marshal(input{i.InputData, i.Context, i.Variables})
	if err != nil {
		return fmt.Errorf("write the input of %s: %w", i.ID, err)
	}
	env.Input = filepath.Join(r.temp, inputFile)
	if err := writeInput(env.Input, text); err != nil {
		return fmt.Errorf("write the input of %s: %w", i.ID, err)
	}
	if err := t.obeys(i.PluginConfiguration); err != nil {
		p.rt.Audit.Note(AuditDenied, slog.String("what", deniedSettings), slog.String("name", string(i.ID)), slog.String("plugin", string(t.Plugin.ID)), slog.String("reason", err.Error()))
		return err
	}
	env.Extra = i.PluginConfiguration.Environment
	return nil
}

// writeInput fills a file that is new, or was made ahead and is empty. It is as short-lived as the
// process that reads it, so nothing waits for the disk; and it is not truncated, for ext4 writes
// what was to the disk when it is closed (auto_da_alloc, ext4(5)), beside what has to be there.
func writeInput(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// obeys reports whether the host's owner lets instructions set what this one sets.
func (t Task) obeys(from api.PluginConfiguration) error {
	switch {
	case len(from.Environment) > 0 && !t.Settings.Environment:
		return fmt.Errorf("the instruction sets environment variables, which this host does not allow for %s: set `environment: true` in its file in config/plugins to allow it", t.Plugin.ID)
	case len(from.Arguments) > 0 && !t.Settings.Arguments:
		return fmt.Errorf("the instruction sets arguments, which this host does not allow for %s: set `arguments: true` in its file in config/plugins to allow it", t.Plugin.ID)
	case from.EntryPoint != "" && from.EntryPoint != t.Plugin.Runtime.EntryPoint:
		return fmt.Errorf("the instruction names entry point %q: only the manifest's, %q, runs here", from.EntryPoint, t.Plugin.Runtime.EntryPoint)
	}
	return nil
}

// caller answers one plugin process on its socket.
type caller struct {
	host *Plugins
	task Task
	log  *pluginLog
}

var errNoTriggers = errors.New("only sensor plugins report triggers: this one is not run as a sensor")

func (c *caller) ReportTrigger(ctx context.Context, e api.Event) (api.EventID, error) {
	if c.task.Trigger == nil {
		return "", errNoTriggers
	}
	return c.task.Trigger(ctx, e)
}

func (c *caller) Logs(_ context.Context, entries []api.LogEntry) (int, error) {
	for _, e := range entries {
		c.log.entry(e)
	}
	return len(entries), nil
}

func (c *caller) Progress(_ context.Context, p plugin.Progress) error {
	c.task.progress(p)
	return nil
}

func (c *caller) Info() agentsocket.Info {
	a := c.host.rt.Config().Agent
	return agentsocket.Info{
		AgentID: a.ID, Version: api.Version, Environment: a.Environment,
		AgentType: c.host.rt.Role.Type, Organization: c.host.rt.organization(),
	}
}

func (c *caller) Config(section string) (map[string]json.RawMessage, error) {
	_, whole, err := configuration(c.task.Plugin, c.task.Settings)
	if err != nil || section == "" {
		return whole, err
	}
	value, found := whole[section]
	if !found {
		return nil, fmt.Errorf("there is no section %.80q in the configuration of %s", section, c.task.Plugin.ID)
	}
	var inner map[string]json.RawMessage
	if err := limits.UnmarshalJSON(value, &inner); err != nil { // a plain value stands under its own name
		return map[string]json.RawMessage{section: value}, nil
	}
	return inner, nil
}
