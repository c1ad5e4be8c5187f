package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// programs are compiled definitions. It is a cache of the store: the texts of
// versions never change, and the list of those in effect is dropped when it changes.
type programs struct {
	current cache[[]program]
	reading sync.Mutex // held while one reads the list outside of a transaction of its own

	mu       sync.Mutex // guards the fields below, and is not held while something is compiled
	versions map[versionKey]*version
	looks    uint64                  // at versions, of all
	held     map[api.OrgID][]program // those last known to be in effect, which take no place among versions
}

// maxVersions is how many versions stay compiled besides those in effect: of runs that go on with
// older ones, and of pages about them. A large one takes 6 MB, and most some 20 KB.
const maxVersions = 256

// version is one that was compiled, or that somebody compiles.
type version struct {
	compiling sync.Once
	*workflow.Definition
	err error

	ready bool   // it was compiled, and is good
	used  uint64 // the look at versions that was the last at it
}

// program is a workflow in effect.
type program struct {
	name    string
	version int
	*workflow.Definition
}

type versionKey struct {
	org     api.OrgID
	name    string
	version int
}

// compiled returns the definition of one version, made by compile when it is needed
// first. Who needs the same one meanwhile waits for it, and nobody else does.
func (p *programs) compiled(key versionKey, compile func() (*workflow.Definition, error)) (*workflow.Definition, error) {
	p.mu.Lock()
	d, v := p.find(key), p.versions[key]
	if d == nil && v == nil {
		v = p.add(key)
	}
	p.mu.Unlock()
	if d != nil {
		return d, nil
	}
	v.compiling.Do(func() {
		v.err = fmt.Errorf("version %d of workflow %s could not be compiled: the server failed at it, and its log says where", key.version, key.name) // unless it returns
		v.Definition, v.err = compile()
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	if v.ready = v.err == nil; !v.ready && p.versions[key] == v {
		delete(p.versions, key) // it is tried again
	}
	return v.Definition, v.err
}

// known is the definition of a version that was compiled before, or nil.
func (p *programs) known(key versionKey) *workflow.Definition {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.find(key)
}

func (p *programs) find(key versionKey) *workflow.Definition {
	for _, h := range p.held[key.org] {
		if h.name == key.name && h.version == key.version {
			return h.Definition
		}
	}
	v := p.versions[key]
	if v == nil || !v.ready {
		return nil
	}
	p.looks++
	v.used = p.looks
	return v.Definition
}

// add makes place for a version. The one used least recently goes where there are too many.
func (p *programs) add(key versionKey) *version {
	if p.versions == nil {
		p.versions = map[versionKey]*version{}
	}
	if len(p.versions) >= maxVersions {
		least, oldest := uint64(math.MaxUint64), versionKey{}
		for other, v := range p.versions {
			if v.used < least {
				least, oldest = v.used, other
			}
		}
		delete(p.versions, oldest)
	}
	p.looks++
	v := &version{used: p.looks}
	p.versions[key] = v
	return v
}

// hold keeps the versions in effect of an organisation, whatever else is compiled.
func (p *programs) hold(org api.OrgID, list []program) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held == nil {
		p.held = map[api.OrgID][]program{}
	}
	before := p.held[org]
	p.held[org] = list
	for _, h := range list {
		delete(p.versions, versionKey{org, h.name, h.version})
	}
	for _, h := range before { // runs may go on with it
		if key := (versionKey{org, h.name, h.version}); p.find(key) == nil {
			v := p.add(key)
			v.Definition, v.ready = h.Definition, true
			v.compiling.Do(func() {})
		}
	}
}

// inEffect lists the workflows that events can trigger. It runs in transactions only:
// the store lets one run at a time, so a list that it read is older than every change
// that is still to drop it.
func (t *tx) inEffect() ([]program, error) {
	if list, ok := t.engine.programs.current.of(t.org); ok {
		return list, nil
	}
	current, err := t.Workflows()
	if err != nil {
		return nil, err
	}
	list := []program{}
	for _, w := range current {
		d, err := t.compile(w)
		if err != nil { // it was good when it was applied: a later release reads less
			t.engine.log.Error("workflow in effect cannot be read", "org", t.org, "workflow", w.Name, "version", w.Version, "error", err)
			continue
		}
		list = append(list, program{w.Name, w.Version, d})
	}
	t.engine.programs.hold(t.org, list)
	t.engine.programs.current.set(t.org, list)
	return list, nil
}

// inEffect lists them for who is in no transaction.
func (e *Engine) inEffect(ctx context.Context, org api.OrgID) ([]program, error) {
	if list, known := e.programs.current.of(org); known {
		return list, nil
	}
	e.programs.reading.Lock()
	defer e.programs.reading.Unlock()
	if list, known := e.programs.current.of(org); known {
		return list, nil
	}
	var list []program
	err := e.update(ctx, org, func(t *tx) (err error) {
		list, err = t.inEffect()
		return err
	})
	return list, err
}

// definition is the one that a run is pinned to.
func (t *tx) definition(r store.Run) (*workflow.Definition, error) {
	if d := t.engine.programs.known(versionKey{t.org, r.Workflow, r.Version}); d != nil {
		return d, nil
	}
	w, err := t.WorkflowVersion(r.Workflow, r.Version)
	if err != nil {
		return nil, fmt.Errorf("workflow %s version %d: %w", r.Workflow, r.Version, err)
	}
	return t.compile(w)
}

func (t *tx) compile(w store.Workflow) (*workflow.Definition, error) {
	return t.engine.compile(t.org, w)
}

func (e *Engine) compile(org api.OrgID, w store.Workflow) (*workflow.Definition, error) {
	return e.programs.compiled(versionKey{org, w.Name, w.Version}, func() (*workflow.Definition, error) {
		return workflow.Parse(w.Name, []byte(w.Text))
	})
}

// Definition is the definition of a version that was applied.
func (e *Engine) Definition(org api.OrgID, w store.Workflow) (*workflow.Definition, error) {
	return e.programs.compiled(versionKey{org, w.Name, w.Version}, func() (*workflow.Definition, error) {
		return workflow.Parse(w.Name, []byte(w.Text))
	})
}

// Apply checks a workflow, runs the tests that it brings, and puts it into effect as a new
// version. changed is false when its text is that of the version in effect. file names the
// text in errors, which give the line and column of every mistake and of every test that
// fails.
func (e *Engine) Apply(ctx context.Context, org api.OrgID, file string, text []byte) (w store.Workflow, changed bool, err error) {
	return e.ApplyIf(ctx, org, file, text, func(int) error { return nil })
}

// ApplyIf is Apply unless the version in effect, 0 where there is none, is an error to may:
// so nobody puts a text in the place of one that they have not seen.
func (e *Engine) ApplyIf(ctx context.Context, org api.OrgID, file string, text []byte, may func(version int) error) (w store.Workflow, changed bool, err error) {
	d, err := workflow.Parse(file, text)
	if err == nil {
		_, err = d.TryAll(ctx)
	}
	if ended := ctx.Err(); ended != nil {
		return w, false, ended
	}
	if err != nil {
		return w, false, api.Errorf(api.CodeInvalid, "%v", err)
	}
	err = e.update(ctx, org, func(t *tx) error {
		now, err := t.Workflow(d.Name)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err := may(now.Version); err != nil {
			return err
		}
		w, changed, err = t.putIntoEffect(d, text, "workflow.apply")
		return err
	})
	e.programs.current.drop(org) // the next batch of events reads what is in effect
	if err == nil && changed {
		_, _ = e.compile(org, w) // it was good above; here, so that no transaction has to
	}
	return w, changed && err == nil, err
}

// putIntoEffect adds a text as the current version, unless it is that already.
func (t *tx) putIntoEffect(d *workflow.Definition, text []byte, action string) (w store.Workflow, changed bool, err error) {
	w, err = t.Workflow(d.Name)
	switch {
	case err == nil && w.Digest == d.Digest():
		return w, false, nil
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return w, false, err
	}
	if err := t.missingSecrets(d); err != nil {
		return w, false, err
	}
	w = store.Workflow{Name: d.Name, Text: string(text), Digest: d.Digest(), AppliedAt: t.now}
	if w.Version, err = t.AddWorkflow(w); err != nil {
		return w, false, err
	}
	if err := t.schedules(d, false); err != nil {
		return w, false, err
	}
	if err := t.monitorsMay(w.Name, d); err != nil {
		return w, false, err
	}
	if triggersBy(d, workflow.Conditions...) {
		t.due = earlier(t.due, t.now) // from now on somebody has to look
	}
	return w, true, t.audit(t.actor, action, d.Name, fmt.Sprintf("version %d, %s", w.Version, w.Digest))
}

// Rollback puts the text of an earlier version into effect again, as a new version; 0 is
// the one before the current one. changed is false when it is in effect.
// [store.ErrNotFound] says that there is no such version.
func (e *Engine) Rollback(ctx context.Context, org api.OrgID, name string, version int) (w store.Workflow, changed bool, err error) {
	err = e.update(ctx, org, func(t *tx) error {
		if version == 0 {
			versions, err := t.WorkflowVersions(name, 2)
			if err != nil || len(versions) < 2 {
				return errors.Join(err, store.ErrNotFound)
			}
			version = versions[1].Version
		}
		old, err := t.WorkflowVersion(name, version)
		if err != nil {
			return err
		}
		d, err := t.compile(old)
		if err != nil {
			return api.Errorf(api.CodeInvalid, "%v", err)
		}
		w, changed, err = t.putIntoEffect(d, []byte(old.Text), "workflow.rollback")
		return err
	})
	e.programs.current.drop(org)
	return w, changed && err == nil, err
}

// Delete lets a workflow start no more runs. Its versions stay, for the runs that
// are pinned to them. [store.ErrNotFound] says that there is no such workflow.
func (e *Engine) Delete(ctx context.Context, org api.OrgID, name string) error {
	err := e.update(ctx, org, func(t *tx) error {
		return errors.Join(t.monitorsMay(name, nil), t.DeleteWorkflow(name), t.audit(t.actor, "workflow.delete", name, ""), t.schedules(&workflow.Definition{Name: name}, true))
	})
	e.programs.current.drop(org)
	return err
}
