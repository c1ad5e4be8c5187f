package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

// Assignments is the set of packages that an agent is to have. When it is the one of the
// version that is known, it waits until it differs, at most wait; changed is false if it
// did not.
func (e *Engine) Assignments(ctx context.Context, id pki.Identity, known string, wait time.Duration) (set api.Assignments, changed bool, err error) {
	if err := e.takesPackages(ctx, id); err != nil {
		return set, false, err
	}
	// There before the first look at the store, as in Poll.
	waiting := &poll{woken: make(chan struct{}, 1)}
	defer e.deliveries.enter(id.Org, waiting)()
	timer := time.NewTimer(together(wait))
	defer timer.Stop()
	for {
		if set, err = e.desired(ctx, id); err != nil || set.Version != known {
			return set, err == nil, err
		}
		select {
		case <-waiting.woken:
		case <-timer.C:
			return set, false, nil
		case <-ctx.Done():
			return set, false, ctx.Err()
		}
	}
}

// takesPackages notes that the agent knows what assignments are, once: roll-outs begin
// with those that do.
func (e *Engine) takesPackages(ctx context.Context, id pki.Identity) error {
	a, err := e.agent(ctx, id)
	if err != nil || a.TakesPackages {
		return err
	}
	return e.update(ctx, id.Org, func(t *tx) error {
		a, err := t.Agent(id.Agent)
		if err != nil {
			return err
		}
		a.TakesPackages = true
		return t.PutAgent(a)
	})
}

// desired reads the set as it is now.
func (e *Engine) desired(ctx context.Context, id pki.Identity) (set api.Assignments, err error) {
	set.Plugins, set.ToldByPolls = []api.AssignedPlugin{}, id.Type == api.Action
	err = e.View(ctx, id.Org, func(r store.Reader) error {
		agent, err := r.Agent(id.Agent)
		if err != nil {
			return err
		}
		assignments, err := r.Assignments()
		if err != nil {
			return err
		}
		last := api.PluginID("")
		for _, a := range assignments { // by plugin
			if a.Plugin == last {
				continue
			}
			last = a.Plugin
			if err := add(r, &set, agent, assignments, a.Plugin); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return set, err
	}
	monitors, err := e.monitorsOf(ctx, id)
	if err != nil {
		return set, err
	}
	set.MonitorsVersion = monitors.Version
	text, err := json.Marshal(set.Plugins)
	set.Version = versionOfSet(append(text, set.MonitorsVersion...))
	return set, err
}

// versionOfSet changes with a set.
func versionOfSet(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// add adds what the agent is to have of one plugin, if anything.
func add(r store.Reader, set *api.Assignments, agent store.Agent, assignments []store.Assignment, id api.PluginID) error {
	a, found := closest(assignments, id, agent)
	if !found {
		return nil
	}
	release := a.State.For(agent.ID)
	if release.IsZero() {
		return nil
	}
	p, err := r.Package(id, release.Version)
	if err != nil {
		return err
	}
	set.Plugins = append(set.Plugins, api.AssignedPlugin{
		ID: p.ID, Version: p.Version, Type: p.Kind, Digest: p.Digest, TreeDigest: p.TreeDigest, Size: p.Size,
		Signer: p.Signer, Approved: !p.ApprovedAt.IsZero(), Attempt: release.Attempt,
	})
	return nil
}

// PackageFile opens a package for an agent that is to have it now. For any other there
// is no such package.
func (e *Engine) PackageFile(ctx context.Context, id pki.Identity, plugin api.PluginID, version string) (p store.Package, f *os.File, err error) {
	set, err := e.desired(ctx, id)
	if err != nil {
		return p, nil, err
	}
	for _, assigned := range set.Plugins {
		if assigned.ID != plugin || assigned.Version != version {
			continue
		}
		err := e.View(ctx, id.Org, func(r store.Reader) (err error) {
			p, err = r.Package(plugin, version)
			return err
		})
		if err != nil {
			return p, nil, err
		}
		f, err := e.packageFile(p.Digest)
		return p, f, err
	}
	return p, nil, api.Errorf(api.CodeNotFound, "Version %.80q of plugin %.80q is not assigned to this agent; ask for its assignments anew.", version, plugin)
}
