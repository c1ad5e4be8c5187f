package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/stavily/agents/internal/repository"
	"github.com/stavily/agents/shared/internal/catalog"
	"github.com/stavily/agents/shared/internal/source"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// installLimit is how long an installation may take that an instruction asks for and
// that says nothing else: a repository over a slow line, and an environment.
const installLimit = 10 * time.Minute

// Installs reports whether an instruction of this type changes what is installed.
func Installs(instructionType string) bool {
	return instructionType == api.TypeInstall || instructionType == api.TypeUpdate || instructionType == api.TypeRemove
}

// repositoryOf is what an instruction says about a repository; of one without a URL the
// request is empty.
func repositoryOf(c api.PluginConfiguration) (source.Request, error) {
	if c.PluginURL != "" && c.RepositoryURL != "" && c.PluginURL != c.RepositoryURL {
		return source.Request{}, fmt.Errorf("plugin_url and repository_url are one thing and name two: leave one out")
	}
	r := source.Request{URL: cmp.Or(c.PluginURL, c.RepositoryURL), Branch: c.Branch, Tag: c.Tag, Commit: c.CommitHash, SubDirectory: c.SubDirectory}
	return r, r.Check()
}

// CanInstall finds out, without asking anybody, whether this agent would do what an
// instruction asks that changes what is installed.
func (p *Plugins) CanInstall(i *api.Instruction) error {
	_, err := p.orderOf(i)
	return err
}

// orderOf makes a request of an instruction. One that is empty means the package that the
// orchestrator has assigned.
func (p *Plugins) orderOf(i *api.Instruction) (source.Request, error) {
	s := p.slotOf(i.PluginID)
	switch {
	case s.source != "":
		return source.Request{}, fmt.Errorf("plugin %s runs from %s, which its owner edits: remove that directory first", i.PluginID, s.source)
	case i.InstructionType != api.TypeInstall && s.current == nil && p.store.Entry(i.PluginID).Active == "":
		return source.Request{}, fmt.Errorf("plugin %s is not installed on this agent: %s installs it", i.PluginID, api.TypeInstall)
	case i.InstructionType == api.TypeRemove:
		return source.Request{}, nil
	}
	r, err := repositoryOf(i.PluginConfiguration)
	if err != nil {
		return r, err
	}
	if !p.rt.Config().Plugins.Allows(i.PluginID) {
		return r, fmt.Errorf("plugin %s: the configuration of this agent does not let it run: see plugins.allowed_plugins and plugins.blocked_plugins", i.PluginID)
	}
	e := p.store.Entry(i.PluginID)
	active, _ := e.Of(e.Active)
	if r.URL == "" && active.Origin.Kind == catalog.FromGit && i.InstructionType == api.TypeUpdate {
		r.URL = active.Origin.From
		r.SubDirectory = cmp.Or(r.SubDirectory, active.Origin.SubDirectory)
		if r.Tag == "" {
			r.Branch = cmp.Or(r.Branch, active.Origin.Branch)
		}
	}
	if r.URL == "" {
		return r, p.rt.assigned.has(i.PluginID, i.PluginConfiguration.Version)
	}
	_, err = repository.Allowed(r.URL, p.rt.Config().Plugins.Sources)
	return r, err
}

// installed is what a result tells of an installation.
type installed struct {
	Plugin      api.PluginID    `json:"plugin"`
	Version     string          `json:"version,omitempty"`
	Digest      string          `json:"digest,omitempty"`
	Before      string          `json:"before,omitempty"` // the version
	Unchanged   bool            `json:"unchanged,omitempty"`
	Removed     bool            `json:"removed,omitempty"`
	Source      *catalog.Origin `json:"source,omitempty"`
	Permissions []string        `json:"permissions,omitempty"` // what it asks for
}

// Change does what an instruction asks that changes what is installed, and says how it
// went; there is always a result. Ending ctx leaves everything as it was.
func (p *Plugins) Change(ctx context.Context, t Task) api.Result {
	begin, i := time.Now(), t.Instruction
	limit := time.Second * smallest(time.Duration(i.TimeoutSeconds), time.Duration(i.PluginConfiguration.TimeoutSeconds), installLimit/time.Second)
	late := fmt.Errorf("it took longer than %v, which the instruction allows; nothing was changed", limit)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, late)
	defer cancel()
	result := api.Result{Status: api.Completed, Sandbox: p.Posture(), StartedAt: api.At(begin)}
	done, err := p.change(ctx, t)
	switch {
	case errors.Is(context.Cause(ctx), late) && err != nil:
		result.Status, result.ErrorMessage = api.TimedOut, late.Error()
	case err != nil:
		result.Status, result.ErrorMessage, result.ErrorDetails = api.Failed, plugin.LogText(err.Error()), detailsOf(err)
	default:
		result.Result = encoded(done)
		result.Plugin = &api.PluginRef{ID: done.Plugin, Version: done.Version, Digest: done.Digest}
	}
	end := time.Now()
	result.FinishedAt, result.DurationMS = api.At(end), end.Sub(begin).Milliseconds()
	p.rt.Log.Info("what is installed was to change", telemetry.KeyPlugin, i.PluginID, telemetry.KeyInstruction, i.ID, "type", i.InstructionType, "status", result.Status, telemetry.KeyError, result.ErrorMessage)
	return result
}

func (p *Plugins) change(ctx context.Context, t Task) (installed, error) {
	i := t.Instruction
	r, err := p.orderOf(i)
	if err != nil {
		return installed{}, err
	}
	say := func(text string) { t.progress(plugin.Progress{Message: text}) }
	if i.InstructionType == api.TypeRemove {
		was := p.slotOf(i.PluginID)
		done := installed{Plugin: i.PluginID, Removed: true}
		if was.current != nil {
			done.Version, done.Digest = was.current.Version, was.current.Digest
		}
		return done, p.Remove(i.PluginID)
	}
	var change Change
	var from catalog.Origin
	if r.URL == "" {
		change, from, err = p.rt.assigned.install(ctx, i.PluginID, "", say)
	} else {
		change, from, err = p.installGit(ctx, r, wanted{id: i.PluginID, configuration: i.PluginConfiguration}, say)
	}
	if err != nil {
		return installed{}, err
	}
	m := change.Plugin
	return installed{
		Plugin: m.ID, Version: m.Version, Digest: m.Digest, Before: change.Before, Unchanged: change.Unchanged,
		Source: &from, Permissions: m.Asks(),
	}, nil
}

// detailsOf tells programs what an error's sentence tells people.
func detailsOf(err error) json.RawMessage {
	var grown *GrownError
	if !errors.As(err, &grown) {
		return nil
	}
	return encoded(map[string]any{"reason": "permissions_grown", "from": grown.From, "to": grown.To, "asks": grown.Asks})
}

// encoded is for values that always marshal.
func encoded(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		return json.RawMessage("null")
	}
	return b
}
