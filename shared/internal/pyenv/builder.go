package pyenv

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// Policy is the host's owner's word on where packages come from.
type Policy struct {
	WheelDir       string // absolute, or empty
	IndexURL       string // with its credentials, or empty: nothing is fetched
	AllowSdist     bool   // packages may be built from source, which runs their code
	SystemPackages bool   // every plugin may use the system's packages
}

// Options of a Builder.
type Options struct {
	Dir          string // holds the environments; made when it is missing
	Temp         string // begins the name of a private directory of a build, which is made and removed
	Interpreters *Interpreters
	Policy       Policy
	Limits       sandbox.Limits // of a build; zero: DefaultLimits
	Log          *slog.Logger

	// User is whom builds run as; nil is the agent's own user.
	User *sandbox.Credential
	// Confine adds to the order for a build how this host confines processes, with a way
	// to the index where online is set, and tells how to end that. Nil confines nothing.
	Confine func(ctx context.Context, s *sandbox.Spec, online bool) (release func() error, err error)
}

// Builder makes environments and keeps them. It may be used concurrently.
type Builder struct {
	o       Options
	digests digests // of files in the wheel directory
	slots   chan struct{}

	mu       sync.Mutex                // guards the fields below
	building map[string]*turn          // by key
	checked  map[string]bool           // keys of environments that were found whole in this life
	prepared map[api.PluginID]prepared // the last version of each plugin
}

type prepared struct {
	digest string // of the plugin, which covers requirements and wheels
	Interpreter
}

// turn is who waits to build one environment.
type turn struct {
	lock    chan struct{}
	waiting int
}

// maxBuilds run at the same time: each takes a processor and some hundred MiB.
const maxBuilds = 2

// New makes a Builder over a directory and removes from that what builds of a killed
// agent left.
func New(o Options) (*Builder, error) {
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make a place for environments: %w", err)
	}
	if o.Limits == (sandbox.Limits{}) {
		o.Limits = DefaultLimits
	}
	var err error
	if o.Dir, err = filepath.EvalSymlinks(o.Dir); err != nil { // sandboxes follow no link
		return nil, fmt.Errorf("find the place for environments: %w", err)
	}
	b := &Builder{
		o: o, slots: make(chan struct{}, maxBuilds),
		building: map[string]*turn{}, checked: map[string]bool{}, prepared: map[api.PluginID]prepared{},
	}
	return b, b.sweep()
}

// recipe is all that an environment depends on.
type recipe struct {
	base         Interpreter
	requirements requirements
	artifacts    []artifact // at hand, the plugin's own first
	system       bool
	policy       Policy
}

// Prepare gives the interpreter that runs a plugin: of an environment that has what the
// plugin requires, which is built where there is none yet. Progress, which may be nil,
// hears what a build is at. The error names the requirement, why it cannot be had,
// and what to do, and is syscall.ENOSPC where there was no room for it; nothing has
// changed then. For plugins that are not Python it is the zero value.
func (b *Builder) Prepare(ctx context.Context, p *plugin.Plugin, progress func(string)) (Interpreter, error) {
	if p.Runtime.Type != plugin.Python {
		return Interpreter{}, nil
	}
	if progress == nil {
		progress = func(string) {}
	}
	if i, ok := b.remembered(p); ok {
		return i, nil
	}
	i, err := b.prepare(ctx, p, progress)
	if err != nil {
		return Interpreter{}, fmt.Errorf("prepare Python for %s: %w", p.ID, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.prepared[p.ID] = prepared{p.Digest, i}
	return i, nil
}

func (b *Builder) remembered(p *plugin.Plugin) (Interpreter, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	last, found := b.prepared[p.ID]
	if !found || p.Digest == "" || last.digest != p.Digest {
		return Interpreter{}, false
	}
	if _, err := os.Stat(last.Path); err != nil { // somebody removed it
		delete(b.prepared, p.ID)
		delete(b.checked, last.Environment)
		return Interpreter{}, false
	}
	return last.Interpreter, true
}

func (b *Builder) prepare(ctx context.Context, p *plugin.Plugin, progress func(string)) (Interpreter, error) {
	r, err := b.recipe(ctx, p)
	if err != nil {
		return Interpreter{}, err
	}
	for _, note := range r.requirements.notes {
		progress(note)
	}
	key, err := r.key()
	if err != nil {
		return Interpreter{}, err
	}
	release, err := b.await(ctx, key)
	if err != nil {
		return Interpreter{}, err
	}
	defer release()
	if !b.whole(key) {
		select {
		case b.slots <- struct{}{}:
			defer func() { <-b.slots }()
		case <-ctx.Done():
			return Interpreter{}, ctx.Err()
		}
		if err := b.build(ctx, key, r, progress); err != nil {
			return Interpreter{}, err
		}
	}
	b.used(key)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.checked[key] = true
	return r.interpreter(filepath.Join(b.o.Dir, key), key), nil
}

// interpreter is that of the environment in dir.
func (r *recipe) interpreter(dir, key string) Interpreter {
	i := r.base
	i.Path, i.Environment = filepath.Join(dir, filepath.FromSlash(interpreterIn)), key
	i.Prefix = append(slices.Clone(r.base.Prefix), dir)
	return i
}

// await gives the caller the turn to build this environment, when all before it have
// had theirs.
func (b *Builder) await(ctx context.Context, key string) (release func(), err error) {
	b.mu.Lock()
	t := b.building[key]
	if t == nil {
		t = &turn{lock: make(chan struct{}, 1)}
		b.building[key] = t
	}
	t.waiting++
	b.mu.Unlock()
	leave := func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if t.waiting--; t.waiting == 0 {
			delete(b.building, key)
		}
	}
	select {
	case t.lock <- struct{}{}:
		return func() { <-t.lock; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// recipe finds out what a plugin needs and what there is.
func (b *Builder) recipe(ctx context.Context, p *plugin.Plugin) (*recipe, error) {
	base, err := b.o.Interpreters.For(ctx, p.Runtime)
	if err != nil {
		return nil, err
	}
	r := &recipe{base: base, policy: b.o.Policy, system: p.Runtime.SystemPackages || b.o.Policy.SystemPackages}
	if p.Runtime.Requirements == "" {
		return r, nil
	}
	dir, err := filepath.EvalSymlinks(p.Dir)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if r.requirements, err = readRequirements(root, p.Runtime.Requirements); err != nil {
		return nil, err
	}
	if len(r.requirements.entries) == 0 {
		return r, nil
	}
	if r.artifacts, err = (&digests{}).list(root, wheelsDir); err != nil {
		return nil, fmt.Errorf("look at the plugin's wheels: %w", err)
	}
	shared, err := b.shared()
	r.artifacts = append(r.artifacts, shared...)
	return r, err
}

// shared are the artifacts in the wheel directory of this host.
func (b *Builder) shared() ([]artifact, error) {
	if b.o.Policy.WheelDir == "" {
		return nil, nil
	}
	dir, err := filepath.EvalSymlinks(b.o.Policy.WheelDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("plugins.python.wheel_dir: %s does not exist: make it, or leave the key out", b.o.Policy.WheelDir)
	}
	if err != nil {
		return nil, fmt.Errorf("plugins.python.wheel_dir: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("plugins.python.wheel_dir: %w", err)
	}
	defer root.Close()
	out, err := b.digests.list(root, ".")
	if err != nil {
		return nil, fmt.Errorf("plugins.python.wheel_dir: %w", err)
	}
	return out, nil
}

// layout is the version of what environments look like: another makes new ones.
const layout = 1

// key names the environment for all that goes into it.
func (r *recipe) key() (string, error) {
	var files []string
	for _, a := range r.artifacts {
		files = append(files, a.digest+" "+a.name)
	}
	slices.Sort(files)
	var system []string
	if r.system {
		system = state(append([]string{r.base.Parent}, r.base.Site...))
	}
	var texts [2]string
	if len(r.requirements.entries) > 0 {
		texts = [2]string{text(r.requirements.entries), text(r.requirements.constraints)}
	}
	var sources []any // matter only where something is installed
	if texts[0] != "" {
		index, _ := splitCredentials(r.policy.IndexURL)
		sources = []any{index, r.policy.AllowSdist}
	}
	raw, err := json.Marshal([]any{layout, runtime.GOARCH, r.base, texts, slices.Compact(files), r.system, system, sources})
	if err != nil {
		return "", fmt.Errorf("name the environment: %w", err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])[:keyLength], nil
}

const keyLength = 32

// state tells when packages were last added to or removed from the system's
// directories: what satisfied a requirement then may be gone.
func state(dirs []string) []string {
	var out []string
	for _, dir := range dirs {
		if info, err := os.Stat(dir); err == nil && dir != "" {
			out = append(out, fmt.Sprintf("%s %d", dir, info.ModTime().UnixNano()))
		}
	}
	return out
}
