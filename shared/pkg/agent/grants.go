package agent

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/stavily/agents/internal/destination"
	"github.com/stavily/agents/shared/internal/grant"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/plugin"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// CanRun reports whether a task may run here: whether its plugin is admitted, and can be
// held to what it is granted of the network. The error says what is missing and what to do.
func (p *Plugins) CanRun(t Task) error {
	err := p.canRun(t)
	switch {
	case t.Instruction != nil || t.Trial: // who asked records it
	case err != nil:
		p.rt.denied(deniedMonitor, t.Settings.Name, err.Error(), slog.String("plugin", string(t.Plugin.ID)))
	default:
		p.rt.admitted(deniedMonitor, t.Settings.Name)
	}
	return err
}

func (p *Plugins) canRun(t Task) error {
	_, err := p.Examine(t)
	return err
}

// Examine is CanRun for the task of an instruction, which it returns with what it found: a
// run that begins at once need not look again, nor does the next one of the same plugin.
func (p *Plugins) Examine(t Task) (Task, error) {
	if err := errors.Join(mayMonitor(t.Plugin, t.Settings), p.Admits(t.Settings)); err != nil {
		return t, err
	}
	if known, ok := p.found.Load(t.Plugin.ID); ok && known.(*found).holdsFor(t, p.rt.Config()) {
		t.found = known.(*found)
		return t, p.canFilter(t, t.found.grants.Network)
	}
	f := &found{plugin: t.Plugin, settings: t.Settings, config: p.rt.Config(), at: time.Now()}
	var err error
	if f.grants, err = p.grants(t); err != nil {
		return t, err
	}
	if t.Instruction != nil {
		p.found.Store(t.Plugin.ID, f)
	}
	t.found = f
	return t, p.canFilter(t, f.grants.Network)
}

// found is what was found that the runs of a plugin may reach, and when: links and mounts on
// the host change.
type found struct {
	plugin   *plugin.Plugin
	settings config.PluginFile
	config   *config.Config
	grants   grant.Grants
	at       time.Time
}

// foundLasts is how old it may be when a run begins: that is later than its examination where
// the agent waits for memory or the orchestrator.
const foundLasts = time.Second

// holdsFor reports whether what was found is what a task may reach that is about to be
// examined: nothing has changed that it follows from, and half of its time is left.
func (f *found) holdsFor(t Task, c *config.Config) bool {
	return f.plugin == t.Plugin && f.config == c && time.Since(f.at) < foundLasts/2 && reflect.DeepEqual(f.settings, t.Settings)
}

// allow decides what the processes of a task may reach and writes it into their order.
func (p *Plugins) allow(t Task, o *outfit) error {
	var g grant.Grants
	if f := t.found; f != nil && time.Since(f.at) < foundLasts {
		g = f.grants
	} else {
		var err error
		if g, err = p.grants(t); err != nil {
			return err
		}
	}
	p.tellGrants(t, g)
	s := &o.spec
	s.Read, s.Write, s.Stat, s.Sockets, s.Masks = g.Read, g.Write, g.Stat, g.Sockets, g.Masks
	for _, m := range g.Mounts {
		s.Mounts = append(s.Mounts, sandbox.Mount(m))
	}
	o.env.HostProc, o.env.HostRoot, o.network = g.HostProc, g.HostRoot, g.Network
	return nil
}

// tellGrants logs what a plugin does not get as it asked, once and again when it changes.
func (p *Plugins) tellGrants(t Task, g grant.Grants) {
	var lines []string
	for _, d := range g.Warnings() {
		lines = append(lines, d.String())
	}
	now := strings.Join(lines, "\n")
	if before, told := p.told.Swap(t.Settings.Name, now); told && before == now {
		return
	}
	for _, line := range lines {
		p.rt.Log.Warn("permission not granted as asked", telemetry.KeyPlugin, t.Plugin.ID, "decision", line)
	}
	if len(lines) > 0 {
		p.rt.Audit.Note(AuditDenied, slog.String("what", deniedPermission), slog.String("name", t.Settings.Name), slog.String("plugin", string(t.Plugin.ID)), slog.Any("decisions", lines))
	}
}

// grants is what a task's manifest asks for, as far as the host's owner allows it.
func (p *Plugins) grants(t Task) (grant.Grants, error) {
	_, whole, err := configuration(t.Plugin, t.Settings)
	if err == nil {
		whole, err = ownersWord(t.Plugin, t.Settings, whole)
	}
	if err != nil {
		return grant.Grants{}, err
	}
	return grant.Resolve(grant.Request{
		Kind: t.Plugin.Kind, Asks: t.Plugin.Permissions, Config: whole,
		Policy: p.rt.policy(t.Settings), Host: hostPlaces(), Private: p.posture.Level == sandbox.Full,
	})
}

// policy is the owner's word on one plugin: what its own file says or, where that is
// silent, security.sandbox.
func (rt *Runtime) policy(f config.PluginFile) grant.Policy {
	s := rt.Config().Security.Sandbox
	out := grant.Policy{Read: s.Read, Write: s.Write, Reach: reaches[s.Network], Protected: rt.protected()}
	if f.Read != nil {
		out.Read = f.Read
	}
	if f.Write != nil {
		out.Write = f.Write
	}
	if f.Network.Word != "" {
		out.Reach = reaches[f.Network.Word]
	}
	if f.Network.Destinations != nil {
		out.Only = []destination.Destination{}
	}
	for _, text := range f.Network.Destinations {
		if d, err := destination.Parse(text); err == nil { // checked when the file was read
			out.Only = append(out.Only, d)
		}
	}
	if program, err := os.Executable(); err == nil {
		out.Sealed = []string{program}
	}
	return out
}

var reaches = map[string]grant.Reach{config.NetworkAll: grant.Everything, config.NetworkDeclared: grant.Declared, config.NetworkNone: grant.Nothing}

// systemPlaces hold what agents and orchestrators of this host keep where nobody chose
// another place: a plugin of one is not shown the keys of another.
var systemPlaces = []string{"/var/lib/stavily", "/etc/stavily"}

// protected are the places that no plugin is shown: this agent's own, wherever its
// owner put them, and what the owner hides.
func (rt *Runtime) protected() []string {
	c := rt.Config()
	var out []string
	for _, path := range append([]string{
		c.Agent.BaseDir, rt.file, c.Security.Sandbox.Chroot,
		c.API.Auth.CertFile, c.API.Auth.KeyFile, c.API.Auth.CAFile, c.Logging.File, c.Security.Audit.File, c.Plugins.Dir, c.Plugins.ConfigDir,
	}, systemPlaces...) {
		if abs, err := filepath.Abs(path); err == nil && path != "" {
			out = append(out, abs)
		}
	}
	return out
}

// hostPlaces says where an agent in a container has the host's directories.
func hostPlaces() map[string]string {
	out := map[string]string{}
	for name, path := range map[string]string{"HOST_PROC": "/proc", "HOST_SYS": "/sys", "HOST_ETC": "/etc", "HOST_VAR": "/var"} {
		if at := filepath.Clean(os.Getenv(name)); filepath.IsAbs(at) && at != path {
			out[path] = at
		}
	}
	return out
}
