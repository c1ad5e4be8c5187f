package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/internal/catalog"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/bundle"
	"github.com/stavily/agents/shared/pkg/plugin"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// assigned is the set of packages that the orchestrator wants here, and how far this
// agent is with each. It outlives the process: an attempt that was given up is not
// begun again because the agent was started anew.
type assigned struct {
	rt  *Runtime
	dir string // of packages while they are fetched

	turn sync.Mutex // one package at a time is fetched and installed
	kept sync.Mutex // one write of the file at a time, of what holds then

	mu     sync.Mutex // guards the fields below
	set    api.Assignments
	states map[api.PluginID]api.AssignedState
}

// assignedFile is where states are kept between two lives of the agent.
const (
	assignedFile    = "assignments.json"
	maxAssignedFile = 1 << 20
)

func openAssigned(rt *Runtime) *assigned {
	a := &assigned{rt: rt, dir: filepath.Join(rt.DataDir("cache"), "packages"), states: map[api.PluginID]api.AssignedState{}}
	text, err := limits.ReadFile(a.file(), maxAssignedFile)
	var known []api.AssignedState
	if err == nil {
		err = limits.UnmarshalJSON(text, &known)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		rt.Log.Warn("how far assigned packages were is not known: they are looked at anew", telemetry.KeyError, err)
		return a
	}
	for _, s := range known {
		a.states[s.ID] = s
	}
	return a
}

func (a *assigned) file() string { return filepath.Join(a.rt.DataDir("state"), assignedFile) }

// list is what heartbeats tell, by plugin. What was ready is looked at: a version that
// failed in its first minute was gone back from by itself, and a roll-out must not take
// its last word for its state.
func (a *assigned) list() []api.AssignedState {
	for _, p := range a.current().Plugins {
		a.noteUse(p)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.SortedFunc(maps.Values(a.states), func(x, y api.AssignedState) int { return strings.Compare(string(x.ID), string(y.ID)) })
}

// take notes a set that came. States of packages that are not in it are dropped.
func (a *assigned) take(set api.Assignments) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.set = set
	maps.DeleteFunc(a.states, func(id api.PluginID, _ api.AssignedState) bool {
		return !slices.ContainsFunc(set.Plugins, func(p api.AssignedPlugin) bool { return p.ID == id })
	})
}

func (a *assigned) current() api.Assignments {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.set
}

// of gives the assigned package of a plugin and what is known of it. A state of another
// package, or of an attempt before, says nothing about this one.
func (a *assigned) of(id api.PluginID) (p api.AssignedPlugin, s api.AssignedState, found bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.IndexFunc(a.set.Plugins, func(p api.AssignedPlugin) bool { return p.ID == id })
	if i < 0 {
		return p, s, false
	}
	p, s = a.set.Plugins[i], a.states[id]
	if s.Digest != p.Digest || s.Attempt != p.Attempt {
		s = api.AssignedState{}
	}
	return p, s, true
}

// has finds out whether a package of a plugin is assigned, in a version that is wanted.
func (a *assigned) has(id api.PluginID, version string) error {
	p, _, found := a.of(id)
	if !found {
		return fmt.Errorf("the instruction names no plugin_url, and the orchestrator has assigned no package of %s to this agent: assign one with `stavily plugins assign`, or name a repository", id)
	}
	return Fits(&plugin.Plugin{Manifest: plugin.Manifest{ID: p.ID, Version: p.Version}}, api.PluginConfiguration{Version: version})
}

// note keeps how far this agent is with a package, on disk and for people.
func (a *assigned) note(p api.AssignedPlugin, state api.PackageState, message string) {
	s := api.AssignedState{ID: p.ID, Version: p.Version, Digest: p.Digest, Attempt: p.Attempt, State: state, Message: message}
	a.mu.Lock()
	known := a.states[p.ID]
	a.mu.Unlock()
	if known == s {
		return
	}
	a.tell(p, s)
	a.mu.Lock()
	a.states[p.ID] = s
	a.mu.Unlock()
	if err := a.keep(); err != nil {
		a.rt.Log.Warn("how far assigned packages are is not kept", telemetry.KeyError, err)
	}
	a.rt.BeatSoon()
}

// keep writes the states as they are.
func (a *assigned) keep() error {
	a.kept.Lock()
	defer a.kept.Unlock()
	a.mu.Lock()
	text := encoded(slices.Collect(maps.Values(a.states)))
	a.mu.Unlock()
	if err := os.MkdirAll(filepath.Dir(a.file()), dirMode); err != nil {
		return err
	}
	return atomicfile.Write(a.file(), text, 0o600)
}

// pending adds to what people are told of plugins what is assigned and not in use.
func (a *assigned) pending(infos []api.PluginInfo) []api.PluginInfo {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.set.Plugins {
		s := a.states[p.ID]
		if remedies[s.State] == "" || s.Digest != p.Digest {
			continue
		}
		message := fmt.Sprintf("version %s is assigned and %s: %s", s.Version, s.State, s.Message)
		i := slices.IndexFunc(infos, func(i api.PluginInfo) bool { return i.ID == p.ID })
		switch {
		case i < 0:
			infos = append(infos, api.PluginInfo{ID: p.ID, Type: p.Type, State: pluginRefused, Message: message})
		case infos[i].Message == "":
			infos[i].Message = message
		}
	}
	return infos
}

// remedies say what people can do about a package that is not in use.
var remedies = map[api.PackageState]string{
	api.PackageWaiting:    "approve it with `stavily plugins approve`, or assign the version that is in use",
	api.PackageRefused:    "assign what this agent takes; or change the agent's configuration, restart it (a file that plugins.trusted_keys names is read anew without), and have it tried again with `stavily plugins rollout resume`",
	api.PackageFailed:     "look at the plugin's log and at the message; publish a version that works, or have this one tried again with `stavily plugins rollout resume`",
	api.PackageRolledBack: "look at the plugin's log; publish a version that works",
}

func (a *assigned) tell(p api.AssignedPlugin, s api.AssignedState) {
	condition := "assigned_" + string(p.ID)
	remedy := remedies[s.State]
	log := a.rt.Log.With(telemetry.KeyPlugin, p.ID, "version", p.Version, "state", s.State)
	switch {
	case remedy == "" && s.Message == "":
		a.rt.Health.Clear(condition)
		log.Info("assigned package")
	case remedy == "":
		log.Info("assigned package", "message", s.Message)
	default:
		a.rt.Health.Set(condition, Degraded, false, fmt.Sprintf("version %s of plugin %s is assigned and not in use: %s", p.Version, p.ID, s.Message), remedy)
		log.Warn("assigned package", "message", s.Message)
		a.rt.denied(deniedPackage, string(p.ID), s.Message, slog.String("version", p.Version), slog.String("state", string(s.State)))
	}
}

// settled reports whether an attempt is over for this agent: only another one, or an
// approval, makes it try again.
func settled(s api.AssignedState, approved bool) bool {
	switch s.State {
	case api.PackageRefused, api.PackageFailed, api.PackageRolledBack:
		return true
	case api.PackageWaiting:
		return !approved
	}
	return false
}

// follow makes what is installed what is assigned, and reports whether something may go
// better soon. again looks at what was refused or failed once more where only this agent
// may have changed.
func (a *assigned) follow(ctx context.Context) (soon bool) {
	set := a.current()
	for _, p := range set.Plugins {
		if ctx.Err() != nil {
			return false
		}
		if a.followOne(ctx, p) {
			soon = true
		}
	}
	if a.rt.Config().Plugins.AutoUpdate {
		a.removeUnassigned(set)
	}
	a.sweep(set)
	return soon
}

// followOne is follow for one package.
func (a *assigned) followOne(ctx context.Context, p api.AssignedPlugin) (soon bool) {
	if inUse := a.noteUse(p); inUse {
		a.note(p, api.PackageReady, "")
		return false
	}
	_, known, _ := a.of(p.ID)
	switch {
	case settled(known, p.Approved):
		return false
	case !a.rt.Config().Plugins.AutoUpdate:
		a.note(p, api.PackageRefused, "plugins.auto_update is false on this agent: an instruction "+api.TypeInstall+" installs what is assigned")
		return false
	}
	a.note(p, api.PackageInstalling, "")
	_, _, err := a.install(ctx, p.ID, "", nil)
	return err != nil && ctx.Err() == nil && passes(err)
}

// noteUse reports whether a package is in use, and notes when it was and is no more.
func (a *assigned) noteUse(p api.AssignedPlugin) (inUse bool) {
	_, known, _ := a.of(p.ID)
	slot := a.rt.Plugins.slotOf(p.ID)
	if slot.current != nil && slot.current.Digest == p.TreeDigest {
		return true
	}
	if known.State != api.PackageReady || slot.loading && slot.current == nil { // after a start it takes a moment
		return false
	}
	why := slot.refused // by itself, or else by the host's owner
	switch {
	case why != "":
	case slot.current == nil:
		why = "it was removed on this host"
	default:
		why = "another version was taken into use on this host"
	}
	a.note(p, api.PackageRolledBack, why)
	return false
}

// install fetches the assigned package of a plugin and installs it. approved is who, on
// this host, takes that it asks for more; an operator may have approved it too.
func (a *assigned) install(ctx context.Context, id api.PluginID, approved string, say func(string)) (Change, catalog.Origin, error) {
	a.turn.Lock()
	defer a.turn.Unlock()
	p, _, found := a.of(id)
	if !found {
		return Change{}, catalog.Origin{}, a.has(id, "")
	}
	if p.Approved && approved == "" {
		approved = "an operator"
	}
	from := catalog.Origin{Kind: catalog.FromOrchestrator, From: a.rt.Config().API.BaseURL, Revision: p.Digest, Approved: approved}
	change, err := a.bring(ctx, p, from, say)
	var grown *GrownError
	switch {
	case err == nil:
		a.note(p, api.PackageReady, "")
	case ctx.Err() != nil: // tried again
	case passes(err):
		a.note(p, api.PackageInstalling, "is tried again: "+err.Error())
	case errors.As(err, &grown):
		a.note(p, api.PackageWaiting, err.Error())
	case isRefusal(err):
		a.note(p, api.PackageRefused, err.Error())
	default:
		a.note(p, api.PackageFailed, err.Error())
	}
	return change, from, err
}

// bring takes the version that the store still has, or fetches the package.
func (a *assigned) bring(ctx context.Context, p api.AssignedPlugin, from catalog.Origin, say func(string)) (Change, error) {
	if say == nil {
		say = func(string) {}
	}
	plugins := a.rt.Plugins
	slot := plugins.slotOf(p.ID)
	if slot.source != "" {
		return Change{}, &refusal{fmt.Errorf("plugin %s runs here from %s, which its owner edits", p.ID, slot.source)}
	}
	want := bundle.Want{ID: p.ID, Version: p.Version, Digest: p.TreeDigest}
	if e := plugins.store.Entry(p.ID); slot.current != nil {
		for _, name := range []string{e.LastGood, e.Previous} { // the one way to something older
			if v, found := e.Of(name); found && v.Digest == p.TreeDigest {
				say("going back to version " + v.Version + ", which is here")
				return plugins.reactivate(ctx, v)
			}
		}
		want.Over = slot.current.Version
	}
	f, err := a.fetch(ctx, p, say)
	if err != nil {
		return Change{}, err
	}
	defer f.Close()
	change, err := plugins.InstallPackage(ctx, f, Packaged{Want: want, From: from}, say)
	if err == nil {
		err = hosts(os.Remove(f.Name()))
	}
	return change, err
}

// fetch brings the package into a file, which goes on where it ended before.
func (a *assigned) fetch(ctx context.Context, p api.AssignedPlugin, say func(string)) (*os.File, error) {
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return nil, hosts(err)
	}
	f, err := os.OpenFile(filepath.Join(a.dir, packageName(p)), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, hosts(err)
	}
	say(fmt.Sprintf("fetching %s %s, %d KiB", p.ID, p.Version, p.Size>>10))
	err = a.rt.API.FetchPackage(ctx, p, f)
	var answer *api.Error
	var away *api.UnreachableError
	if err == nil || errors.As(err, &answer) || errors.As(err, &away) { // and nothing of this host
		a.rt.noteContact(err)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// packageName is made of the digest, which was checked when the set came.
func packageName(p api.AssignedPlugin) string {
	return strings.TrimPrefix(p.Digest, "sha256:") + ".tar.gz"
}

// sweep removes what was fetched of packages that are not assigned any more.
func (a *assigned) sweep(set api.Assignments) {
	entries, err := os.ReadDir(a.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	for _, e := range entries {
		if slices.ContainsFunc(set.Plugins, func(p api.AssignedPlugin) bool { return packageName(p) == e.Name() }) {
			continue
		}
		err = errors.Join(err, os.Remove(filepath.Join(a.dir, e.Name())))
	}
	if err != nil {
		a.rt.Log.Warn("fetched packages are left", telemetry.KeyError, err)
	}
}

// removeUnassigned removes what came by an assignment and is not assigned any more.
func (a *assigned) removeUnassigned(set api.Assignments) {
	plugins := a.rt.Plugins
	for _, e := range plugins.store.Entries() {
		v, found := e.Of(e.Active)
		if !found || v.Origin.Kind != catalog.FromOrchestrator || slices.ContainsFunc(set.Plugins, func(p api.AssignedPlugin) bool { return p.ID == e.ID }) {
			continue
		}
		a.rt.Health.Clear("assigned_" + string(e.ID))
		if err := plugins.Remove(e.ID); err != nil {
			a.rt.Log.Warn("a plugin that is not assigned any more is left", telemetry.KeyPlugin, e.ID, telemetry.KeyError, err)
			continue
		}
		a.rt.Log.Info("plugin removed", telemetry.KeyPlugin, e.ID, "reason", "it is not assigned any more")
	}
}
