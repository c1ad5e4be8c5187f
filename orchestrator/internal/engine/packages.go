package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/bundle"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// Publish takes a package in: verified whole, kept under its digest, and recorded. The
// same bytes again change nothing, which fresh tells; other bytes under a version that
// was published are refused. Roll-outs that may have it begin.
func (e *Engine) Publish(ctx context.Context, org api.OrgID, upload io.Reader) (p store.Package, fresh bool, err error) {
	if err := e.refuseIfFull(); err != nil {
		return p, false, err
	}
	in, err := e.depot.Receive(upload, api.MaxPackageBytes)
	if err != nil {
		return p, false, err
	}
	defer in.Discard()
	keys, err := e.trusted(ctx, org)
	if err != nil {
		return p, false, err
	}
	if p, err = examine(in, in.Size, keys); err != nil {
		return p, false, api.Errorf(api.CodeInvalid, "The package is not taken: %v.", err)
	}
	p.Digest, p.Size = in.Digest, in.Size
	release, err := e.holdFiles(ctx) // so that nobody removes the file before its record is there
	if err != nil {
		return p, false, err
	}
	defer release()
	if err := in.Keep(); err != nil {
		return p, false, err
	}
	err = e.update(ctx, org, func(t *tx) error {
		fresh, err = t.publish(&p)
		return err
	})
	if err != nil {
		return p, false, errors.Join(err, e.discardFile(ctx, p.Digest))
	}
	return p, fresh, nil
}

// publish records p, which becomes the record that was there when it is the same package.
func (t *tx) publish(p *store.Package) (fresh bool, err error) {
	published, err := t.Packages(p.ID)
	if err != nil {
		return false, err
	}
	for _, other := range published {
		switch {
		case other.Version == p.Version && other.Digest == p.Digest:
			*p = other
			return false, nil
		case other.Version == p.Version:
			return false, api.Errorf(api.CodeConflict, "Version %s of %s is published with other content (%s), and a version never changes; give this one a higher version.", p.Version, p.ID, other.Digest)
		case other.Kind != p.Kind:
			return false, api.Errorf(api.CodeConflict, "Plugin %s is a %s since version %s, and this package holds a %s; give it another id.", p.ID, other.Kind, other.Version, p.Kind)
		}
	}
	p.PublishedAt = t.now
	if by, err := coveredBy(*p, published); err != nil {
		return false, err
	} else if by != "" {
		p.ApprovedAt, p.ApprovedBy = t.now, by
	}
	return true, errors.Join(
		t.AddPackage(*p),
		t.audit(t.actor, "package.publish", string(p.ID)+"@"+p.Version, p.Digest+", signer "+orNone(p.Signer)),
		t.stepPlugin(p.ID),
	)
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// manifest reads the manifest of a published package, which was good when it was
// published: a later release that reads less is an error of the server.
func manifest(p store.Package) (plugin.Manifest, error) {
	m, _, err := plugin.ParseManifest(string(p.ID)+"@"+p.Version, []byte(p.Manifest))
	if err != nil {
		return m, fmt.Errorf("published package: %w", err)
	}
	return m, nil
}

// coveredBy names the approved version that asks for all that p asks for, if there is one.
func coveredBy(p store.Package, published []store.Package) (string, error) {
	next, err := manifest(p)
	if err != nil {
		return "", err
	}
	for _, other := range published {
		if other.ApprovedAt.IsZero() || other.Version == p.Version {
			continue
		}
		before, err := manifest(other)
		if err != nil {
			return "", err
		}
		if len(plugin.Grown(before, next)) == 0 {
			return "as " + other.Version + ", which asks for as much", nil
		}
	}
	return "", nil
}

// Growth is what a package asks for, and how much of it is more than was approved.
type Growth struct {
	Asks    []string
	Against string   // the version that the comparison is with; "": none was approved
	Grown   []string // of Asks, what Against does not ask for; everything where there is none
}

// GrowthOf compares a package with the approved version that was published last, or
// itself where it is approved: then nothing has grown.
func GrowthOf(r store.PackageReader, p store.Package) (Growth, error) {
	next, err := manifest(p)
	if err != nil {
		return Growth{}, err
	}
	g := Growth{Asks: next.Asks()}
	if !p.ApprovedAt.IsZero() {
		g.Against = p.Version
		return g, nil
	}
	g.Grown = g.Asks
	published, err := r.Packages(p.ID)
	if err != nil {
		return g, err
	}
	for _, other := range published {
		if other.ApprovedAt.IsZero() {
			continue
		}
		before, err := manifest(other)
		g.Against, g.Grown = other.Version, plugin.Grown(before, next)
		return g, err
	}
	return g, nil
}

// Difference is what one version of a plugin asks for that another does not, either way.
func Difference(from, to store.Package) (more, less []string, err error) {
	before, err := manifest(from)
	if err != nil {
		return nil, nil, err
	}
	after, err := manifest(to)
	if err != nil {
		return nil, nil, err
	}
	return plugin.Grown(before, after), plugin.Grown(after, before), nil
}

// Approve records that somebody has seen all that a version asks for and wants it to have
// that. Versions that ask for no more are approved with it.
func (e *Engine) Approve(ctx context.Context, org api.OrgID, id api.PluginID, version string) (p store.Package, err error) {
	err = e.update(ctx, org, func(t *tx) error {
		if p, err = t.Package(id, version); err != nil || !p.ApprovedAt.IsZero() {
			return err
		}
		if err := t.approve(&p, t.actor); err != nil {
			return err
		}
		return t.stepPlugin(id)
	})
	return p, err
}

func (t *tx) approve(p *store.Package, by string) error {
	p.ApprovedAt, p.ApprovedBy = t.now, by
	next, err := manifest(*p)
	if err != nil {
		return err
	}
	detail := p.Digest + ": " + strings.Join(next.Asks(), ", ")
	if err := errors.Join(t.PutPackage(*p), t.audit(by, "package.approve", string(p.ID)+"@"+p.Version, detail)); err != nil {
		return err
	}
	published, err := t.Packages(p.ID)
	if err != nil {
		return err
	}
	for _, other := range published {
		if !other.ApprovedAt.IsZero() {
			continue
		}
		by, err := coveredBy(other, []store.Package{*p})
		if err == nil && by != "" {
			other.ApprovedAt, other.ApprovedBy = t.now, by
			err = t.PutPackage(other)
		}
		if err != nil {
			return err
		}
	}
	t.delivered = true // agents that wait for it are told
	return nil
}

// RemovePackage removes a version that nobody is to have.
func (e *Engine) RemovePackage(ctx context.Context, org api.OrgID, id api.PluginID, version string) error {
	release, err := e.holdFiles(ctx)
	if err != nil {
		return err
	}
	defer release()
	var p store.Package
	err = e.update(ctx, org, func(t *tx) (err error) {
		if p, err = t.Package(id, version); err != nil {
			return err
		}
		assignments, err := t.Assignments()
		if err != nil {
			return err
		}
		for _, a := range assignments {
			if a.Plugin == id && a.State.Has(p.Digest) {
				return api.Errorf(api.CodeConflict, "Agents are to have %s %s (assigned to %s); assign another version or unassign it first.", id, version, a.Selector)
			}
		}
		return errors.Join(t.DeletePackage(id, version), t.audit(t.actor, "package.remove", string(id)+"@"+version, p.Digest), t.stepPlugin(id))
	})
	if err != nil {
		return err
	}
	return e.discardFile(ctx, p.Digest)
}

// holdFiles lets files and their records come or go together, on one server at a time.
func (e *Engine) holdFiles(ctx context.Context) (release func(), err error) {
	e.files.Lock()
	shared, ok := e.store.(store.Shared)
	if !ok {
		return e.files.Unlock, nil
	}
	unlock, err := shared.Lock(ctx, "files")
	if err != nil {
		e.files.Unlock()
		return nil, err
	}
	return func() {
		unlock()
		e.files.Unlock()
	}, nil
}

// discardFile removes a file that no organisation has a record of. The files are held.
func (e *Engine) discardFile(ctx context.Context, digest string) error {
	wanted, err := e.wanted(ctx, digest)
	if err != nil || wanted {
		return err
	}
	return e.depot.Remove(digest)
}

// wanted reports whether any organisation has a package of this digest.
func (e *Engine) wanted(ctx context.Context, digest string) (wanted bool, err error) {
	orgs, err := e.store.Orgs(ctx)
	for _, org := range orgs {
		if err != nil || wanted {
			break
		}
		err = e.View(ctx, org, func(r store.Reader) (err error) {
			wanted, err = r.HasFile(digest)
			return err
		})
	}
	return wanted, err
}

// SweepPackages removes files that a crash has left without a record.
func (e *Engine) SweepPackages(ctx context.Context) error {
	release, err := e.holdFiles(ctx)
	if err != nil {
		return err
	}
	defer release()
	return e.depot.Sweep(func(digest string) (bool, error) { return e.wanted(ctx, digest) })
}

// packageFile opens a file that a record names.
func (e *Engine) packageFile(digest string) (*os.File, error) {
	f, err := e.depot.File(digest)
	if err != nil {
		return nil, fmt.Errorf("package file, whose record is there: %w", err)
	}
	return f, nil
}

// trusted are the keys whose packages an organisation takes; none: it takes all.
func (e *Engine) trusted(ctx context.Context, org api.OrgID) (keys bundle.Keys, err error) {
	err = e.View(ctx, org, func(r store.Reader) error {
		publishers, err := r.Publishers()
		for _, p := range publishers {
			more, failure := bundle.ParseKeys(p.Line)
			keys, err = append(keys, more...), errors.Join(err, failure)
		}
		return err
	})
	return keys, err
}

// Trust adds keys whose packages the organisation takes; from the first on it takes no
// others. text is lines of authorized_keys.
func (e *Engine) Trust(ctx context.Context, org api.OrgID, text string) ([]store.Publisher, error) {
	keys, err := bundle.ParseKeys(text)
	if err != nil {
		return nil, api.Errorf(api.CodeInvalid, "The trusted key: %v.", err)
	}
	if len(keys) == 0 {
		return nil, api.Errorf(api.CodeInvalid, "There is no key in what was given; it takes lines such as \"ssh-ed25519 AAAA… name\".")
	}
	var added []store.Publisher
	err = e.update(ctx, org, func(t *tx) error {
		for _, k := range keys {
			p := store.Publisher{Fingerprint: k.Fingerprint(), Line: k.Line(), TrustedAt: t.now}
			added = append(added, p)
			if err := errors.Join(t.PutPublisher(p), t.audit(t.actor, "publisher.trust", p.Fingerprint, k.Comment)); err != nil {
				return err
			}
		}
		return nil
	})
	return added, err
}

// Distrust takes a key away again. What it signed and is published stays.
func (e *Engine) Distrust(ctx context.Context, org api.OrgID, fingerprint string) error {
	return e.update(ctx, org, func(t *tx) error {
		return errors.Join(t.DeletePublisher(fingerprint), t.audit(t.actor, "publisher.distrust", fingerprint, ""))
	})
}
