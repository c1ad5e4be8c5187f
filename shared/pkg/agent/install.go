package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/stavily/agents/shared/internal/catalog"
	"github.com/stavily/agents/shared/internal/source"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/bundle"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// wanted is what a tree has to be to be installed; what is zero was not asked.
type wanted struct {
	id            api.PluginID
	configuration api.PluginConfiguration // its version and digest
	approved      string                  // who approved that it asks for more than the version in use
}

// Fits holds a plugin against the version and digest that are asked for.
func Fits(p *plugin.Plugin, want api.PluginConfiguration) error {
	if want.Digest != "" && want.Digest != p.Digest {
		return fmt.Errorf("plugin %s: it is %s and %s is asked for", p.ID, p.Digest, want.Digest)
	}
	if want.Version == "" {
		return nil
	}
	fits, err := plugin.InRange(p.Version, want.Version)
	if err != nil {
		return fmt.Errorf("plugin %s: version %.80q is no constraint: %w", p.ID, want.Version, err)
	}
	if !fits {
		return fmt.Errorf("plugin %s: it is version %s and %s is asked for", p.ID, p.Version, want.Version)
	}
	return nil
}

// installTree fills a directory aside and installs what is in it, where it is what was
// wanted.
func (p *Plugins) installTree(ctx context.Context, want wanted, say func(string), fill func(ctx context.Context, dir string) (catalog.Origin, error)) (Change, error) {
	dir, err := p.store.Aside()
	if err != nil {
		return Change{}, hosts(err)
	}
	defer os.RemoveAll(dir) // nothing is left to remove where it was taken
	from, err := fill(ctx, dir)
	if err != nil {
		return Change{}, err
	}
	m, _, err := plugin.Load(dir)
	if err != nil {
		return Change{}, elsewhere(err, dir, from)
	}
	if want.id != "" && m.ID != want.id {
		return Change{}, &refusal{fmt.Errorf("what is there is plugin %s, and %s was asked for", m.ID, want.id)}
	}
	if err := Fits(m, want.configuration); err != nil {
		return Change{}, &refusal{err}
	}
	from.Approved = want.approved
	if err := p.acceptable(m, p.slotOf(m.ID).current, from); err != nil {
		return Change{}, &refusal{elsewhere(err, dir, from)}
	}
	return p.Install(ctx, dir, from, say)
}

// installGit installs from a repository that the host's owner allows.
func (p *Plugins) installGit(ctx context.Context, r source.Request, want wanted, say func(string)) (Change, catalog.Origin, error) {
	from := catalog.Origin{Kind: catalog.FromGit, From: r.URL, Branch: r.Branch, SubDirectory: r.SubDirectory}
	change, err := p.installTree(ctx, want, say, func(ctx context.Context, dir string) (catalog.Origin, error) {
		scratch, err := p.store.Aside() // whose leftovers are swept when the agent starts
		if err != nil {
			return from, err
		}
		defer os.RemoveAll(scratch)
		g := source.Git{Allowed: p.rt.Config().Plugins.Sources, Scratch: scratch, Say: say}
		from.Revision, err = g.Fetch(ctx, r, dir)
		return from, err
	})
	return change, from, err
}

// Packaged says how a package file is to be taken.
type Packaged struct {
	Want     bundle.Want
	Unsigned bool           // the host's owner brings it: no signature is needed
	From     catalog.Origin // completed by what the package says
}

// InstallPackage installs the package in f: signed by a key that plugins.trusted_keys
// has, unless its owner says otherwise, and of what is wanted.
func (p *Plugins) InstallPackage(ctx context.Context, f *os.File, how Packaged, say func(string)) (Change, error) {
	trust := source.Trust{Unsigned: how.Unsigned}
	keys, err := bundle.LoadKeys(p.rt.Config().Plugins.TrustedKeys) // at each time, so that a new one counts at once
	if err != nil {
		return Change{}, &refusal{fmt.Errorf("plugins.trusted_keys: %w", err)}
	}
	trust.Keys = keys
	from := how.From
	return p.installTree(ctx, wanted{id: how.Want.ID, approved: from.Approved}, say, func(ctx context.Context, dir string) (catalog.Origin, error) {
		if say != nil {
			say("checking the signature and unpacking")
		}
		got, err := source.Package(ctx, f, trust, how.Want, dir)
		if err != nil {
			return from, &refusal{err}
		}
		from.Signer, from.Revision = got.Signer, got.Digest
		return from, nil
	})
}

// refusal marks an error that is this agent's policy or a check, and that no second try
// would change.
type refusal struct{ error }

func (r *refusal) Unwrap() error { return r.error }

// isRefusal reports whether a check said no, rather than that something did not work.
func isRefusal(err error) bool {
	var r *refusal
	return errors.As(err, &r)
}

// hostError marks an error that is this host's, as of a disk without room, and not the version's:
// a later try may go well.
type hostError struct{ error }

func (e *hostError) Unwrap() error { return e.error }

// hosts marks err, unless it is nil.
func hosts(err error) error {
	if err == nil {
		return nil
	}
	return &hostError{err}
}

// passes reports whether an error may go by itself: the orchestrator's, or this host's.
func passes(err error) bool {
	var host *hostError
	return api.Retryable(err) || errors.As(err, &host) || slices.ContainsFunc(passing, func(e error) bool { return errors.Is(err, e) })
}

// reactivate takes a version that the store has into use again.
func (p *Plugins) reactivate(ctx context.Context, v catalog.Version) (Change, error) {
	defer p.turns.take(v.ID)()
	before := p.slotOf(v.ID)
	m, err := p.activate(ctx, p.store, v, before.current, func(ctx context.Context, m *plugin.Plugin) error {
		if err := p.equip(ctx, m); err != nil {
			return err
		}
		return p.tryOut(ctx, m)
	})
	if err != nil {
		return Change{}, err
	}
	p.use(p.store, m, "", p.pythonOf(m))
	change := Change{Plugin: m}
	if before.current != nil {
		change.Before = before.current.Version
	}
	return change, nil
}

// Remove takes a plugin that was installed out of use. What runs of it ends in its own
// time; its settings and what it keeps stay.
func (p *Plugins) Remove(id api.PluginID) error {
	defer p.turns.take(id)()
	s := p.slotOf(id)
	if s.source != "" {
		return fmt.Errorf("plugin %s runs from %s, which its owner edits: remove that directory", id, s.source)
	}
	if e := p.store.Entry(id); e.Active != "" {
		v, _ := e.Of(e.Active)
		if err := p.rt.Audit.Record(AuditPluginRemoved, versionFields(v)...); err != nil {
			return err
		}
	}
	if err := p.store.Remove(id); err != nil {
		return err
	}
	p.forget(id)
	p.collect()
	return nil
}
