package engine

import (
	"context"
	"errors"
	"slices"

	"github.com/Masterminds/semver/v3"

	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// Check holds a text to what the organisation has, as [Engine.Apply] cannot: what is in effect
// stays good when a plugin or an agent goes. lenient takes what is not there, with a warning;
// each is a sentence with file, line and column.
func (e *Engine) Check(ctx context.Context, org api.OrgID, file string, text []byte, lenient bool) (warnings []string, err error) {
	_, missing, err := e.ParseKnowing(ctx, org, file, text, lenient)
	for _, w := range missing {
		warnings = append(warnings, w.Error())
	}
	var mistakes strictyaml.Errors
	if errors.As(err, &mistakes) {
		return warnings, api.Errorf(api.CodeInvalid, "%v", err)
	}
	return warnings, err
}

// ParseKnowing is [workflow.ParseKnowing] with what the organisation has: what is wrong with a
// text is a strictyaml.Errors.
func (e *Engine) ParseKnowing(ctx context.Context, org api.OrgID, file string, text []byte, lenient bool) (d *workflow.Definition, missing strictyaml.Errors, err error) {
	var known workflow.Known
	err = e.View(ctx, org, func(r store.Reader) (err error) {
		known, err = knownIn(r)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	known.Lenient = lenient
	return workflow.ParseKnowing(file, text, known)
}

// knownIn is what documents are held to.
func knownIn(r store.Reader) (known workflow.Known, err error) {
	known.Plugins = map[api.PluginID]workflow.KnownPlugin{}
	packages, err := r.Packages("")
	if err != nil {
		return known, err
	}
	for _, p := range packages {
		m, err := manifest(p)
		if err != nil {
			return known, err
		}
		k := known.Plugins[p.ID]
		k.Published = append(k.Published, m)
		known.Plugins[p.ID] = k
	}
	for _, k := range known.Plugins {
		slices.SortFunc(k.Published, func(a, b plugin.Manifest) int { return versionOf(b.Version).Compare(versionOf(a.Version)) })
	}
	workflows, err := r.Workflows()
	if err != nil {
		return known, err
	}
	for _, w := range workflows {
		known.Workflows = append(known.Workflows, w.Name)
	}
	secrets, err := r.Secrets()
	if err != nil {
		return known, err
	}
	for _, s := range secrets {
		if !s.Deleted {
			known.Secrets = append(known.Secrets, s.Name)
		}
	}
	agents, err := r.Agents()
	for _, a := range agents {
		if a.State != store.Revoked {
			known.Agents = append(known.Agents, workflow.KnownAgent{Agent: sensorOf(a), Type: a.Type})
		}
	}
	known.PluginsTold = pluginsTold(agents, known.Plugins)
	return known, err
}

// pluginsTold adds what action agents have ready, and reports whether all have told: then
// what is not among it, and not published, is not there.
func pluginsTold(agents []store.Agent, known map[api.PluginID]workflow.KnownPlugin) bool {
	some, all := false, true
	for _, a := range agents {
		if a.Type != api.Action || a.State == store.Revoked {
			continue
		}
		some, all = true, all && a.Plugins != nil
		for _, p := range a.Plugins {
			if !a.CouldTake(p.ID, instruction.Target{}) {
				continue
			}
			if k := known[p.ID]; !slices.Contains(k.Installed, p.Version) {
				k.Installed = append(k.Installed, p.Version)
				known[p.ID] = k
			}
		}
	}
	return some && all
}

// versionOf reads a version that was good when it was published.
func versionOf(text string) *semver.Version {
	v, err := semver.NewVersion(text)
	if err != nil {
		return &semver.Version{}
	}
	return v
}
