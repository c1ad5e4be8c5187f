package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/stavily/agents/shared/internal/catalog"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/plugin"
	"github.com/stavily/agents/shared/pkg/telemetry"
)

// Change is what an installation made of a plugin.
type Change struct {
	Plugin    *plugin.Plugin // the version that is in use now
	Before    string         // the version that was; empty: there was none
	Unchanged bool           // it was in use already
}

// GrownError says that a version asks for more than the one in use and that nobody has
// approved it.
type GrownError struct {
	ID       api.PluginID
	From, To string   // versions
	Asks     []string // as plugin.Grown has them
}

func (e *GrownError) Error() string {
	return fmt.Sprintf("plugin %s: version %s asks for more than %s, which is in use: %s; approve it, or keep the version that is in use", e.ID, e.To, e.From, strings.Join(e.Asks, ", "))
}

// Install takes the plugin in tree, a directory made with Store.Aside, which is used up
// where it is taken. It is checked, gets its environment, is stored, and is activated
// once it has shown that it starts with the configuration that it has here. Where
// anything of that fails the version in use stays in use.
func (p *Plugins) Install(ctx context.Context, tree string, from catalog.Origin, progress func(string)) (Change, error) {
	m, warnings, err := plugin.Load(tree)
	if err != nil {
		return Change{}, elsewhere(err, tree, from)
	}
	p.logWarnings(m.ID, warnings)
	defer p.turns.take(m.ID)()
	if s := p.slotOf(m.ID); s.source != "" {
		return Change{}, fmt.Errorf("plugin %s runs from %s, which its owner edits: remove that directory first", m.ID, s.source)
	}
	if progress == nil {
		progress = func(string) {}
	}
	return p.take(ctx, p.store, m, "", from, progress)
}

// elsewhere names the place that people know instead of the one where the tree stands.
func elsewhere(err error, tree string, from catalog.Origin) error {
	if from.From == "" {
		return err
	}
	return &placedError{err, strings.ReplaceAll(err.Error(), tree, from.From)}
}

// placedError is an error in other words.
type placedError struct {
	error
	text string
}

func (e *placedError) Error() string { return e.text }
func (e *placedError) Unwrap() error { return e.error }

// take needs the turn of the plugin. m is aside; source is the directory that it was
// copied from, if it was.
func (p *Plugins) take(ctx context.Context, store *catalog.Store, m *plugin.Plugin, source string, from catalog.Origin, progress func(string)) (Change, error) {
	before := p.slotOf(m.ID)
	change := Change{}
	if before.current != nil {
		change.Before = before.current.Version
	}
	if before.current != nil && before.current.Digest == m.Digest && before.store == store {
		p.alter(m.ID, func(s *slot) {
			s.source, s.refused, s.declined, s.again = source, "", "", false
		})
		p.rt.Health.Clear(conditionOf(m.ID))
		change.Plugin, change.Unchanged = before.current, true
		return change, os.RemoveAll(m.Dir)
	}
	p.alter(m.ID, func(s *slot) { s.loading = true })
	next, err := p.bring(ctx, store, m, before, source, from, progress)
	if err != nil {
		p.alter(m.ID, func(s *slot) { s.loading = false })
		if before.current == nil && before.refused == "" {
			p.forget(m.ID)
		}
		p.collect()
		return Change{}, err
	}
	change.Plugin = next
	p.rt.Log.Info("plugin in use", telemetry.KeyPlugin, next.ID, "version", next.Version, "digest", next.Digest, "before", change.Before, "from", from.Kind, "place", from.From)
	p.collect()
	return change, nil
}

// bring goes from a tree aside to a version in use.
func (p *Plugins) bring(ctx context.Context, store *catalog.Store, m *plugin.Plugin, before slot, source string, from catalog.Origin, progress func(string)) (*plugin.Plugin, error) {
	progress("checking")
	if err := p.acceptable(m, before.current, from); err != nil {
		return nil, elsewhere(err, m.Dir, from)
	}
	progress("preparing its environment")
	python, err := p.environment(ctx, m, progress)
	if err != nil {
		return nil, elsewhere(err, m.Dir, from)
	}
	v, err := store.Add(ctx, m.Dir, from)
	if err != nil {
		return nil, hosts(err)
	}
	p.mu.Lock()
	p.pythons[v.Dir] = python
	p.mu.Unlock()
	progress("loading")
	load := p.tryOut
	if source != "" && before.current == nil {
		load = nil // there is nothing that it could take the place of: who runs it tells how that goes
	}
	next, err := p.activate(ctx, store, v, before.current, load)
	if err != nil {
		return nil, err
	}
	p.use(store, next, source, python)
	return next, nil
}

// equip gives a version that the store has its environment again, which may have been
// collected.
func (p *Plugins) equip(ctx context.Context, m *plugin.Plugin) error {
	python, err := p.environment(ctx, m, nil)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pythons[m.Dir] = python
	return nil
}

// acceptable checks what can be told without starting anything.
func (p *Plugins) acceptable(m, before *plugin.Plugin, from catalog.Origin) error {
	if err := p.policy().Check(m); err != nil {
		return fmt.Errorf("plugin %s %w", m.ID, err)
	}
	if before != nil && from.Approved == "" {
		if asks := plugin.Grown(before.Manifest, m.Manifest); len(asks) > 0 {
			return &GrownError{ID: m.ID, From: before.Version, To: m.Version, Asks: asks}
		}
	}
	for _, f := range p.Settings() {
		if f.Plugin != m.ID {
			continue
		}
		if _, _, err := configuration(m, f); err != nil && fits(before, f) {
			return fmt.Errorf("%s does not fit version %s: %w", f.File, m.Version, err)
		}
	}
	return nil
}

// fits reports whether settings could be used with a version: those that could not are
// no reason to stay with it, and cost only who runs by them.
func fits(m *plugin.Plugin, f config.PluginFile) bool {
	if m == nil {
		return false
	}
	_, _, err := configuration(m, f)
	return err == nil
}

const (
	// loadLimit bounds how long a candidate may take to show that it starts; one answer of
	// the handshake has supervise.DefaultAnswer.
	loadLimit = time.Minute
	loadGrace = 5 * time.Second
)

// errTrying is what a candidate hears that reports an event, but not before it had the time
// to be found well: a sensor that reports at its start fails over it, and will report the
// same again when it is in use.
var errTrying = errors.New("this process is started to see whether it starts: what it reports is not taken")

// tryingPatience is far more than the question and the end take that follow a start.
const tryingPatience = 3 * time.Second

// candidate is a process of a version that is only tried.
func candidate(m *plugin.Plugin, f config.PluginFile) Task {
	return Task{Plugin: m, Settings: f, Forever: true, Trial: true, Trigger: func(ctx context.Context, _ api.Event) (api.EventID, error) {
		select {
		case <-ctx.Done():
		case <-time.After(tryingPatience):
		}
		return "", errTrying
	}}
}

// tryOut starts a candidate as it will be started, asks how it is, and ends it. What
// nobody has configured is not started, nor is a script, of which each start is a run.
func (p *Plugins) tryOut(ctx context.Context, m *plugin.Plugin) error {
	if err := p.policy().Check(m); err != nil { // also of one that was accepted under another policy
		return fmt.Errorf("plugin %s %w", m.ID, err)
	}
	f, configured := p.firstSettings(m.ID)
	if m.Runtime.Contract != plugin.Stdio || !configured && m.Kind == plugin.Sensor {
		return nil
	}
	if _, _, err := configuration(m, f); err != nil && !configured {
		return nil // nobody could run it either
	}
	return p.tryWith(ctx, m, f)
}

// firstSettings are those that an instruction, or the first monitor, runs with.
func (p *Plugins) firstSettings(id api.PluginID) (f config.PluginFile, configured bool) {
	f = p.SettingsOf(id)
	return f, f.File != ""
}

// tryWith starts a candidate with these settings.
func (p *Plugins) tryWith(ctx context.Context, m *plugin.Plugin, f config.PluginFile) error {
	ctx, cancel := context.WithTimeout(ctx, loadLimit)
	defer cancel()
	t := candidate(m, f)
	if err := p.CanRun(t); err != nil {
		return err
	}
	err := p.Sense(ctx, t, loadGrace, func(s *Session) error {
		answer, err := s.Call(ctx, plugin.Command{Action: plugin.GetHealth})
		if err != nil {
			return fmt.Errorf("plugin %s %w", m.ID, err)
		}
		// An older plugin may not know the question: only a clear answer counts.
		if health := plugin.DecodeHealth(answer); health.Status == plugin.Unhealthy {
			return fmt.Errorf("plugin %s says that it is unhealthy: %s", m.ID, health.Message)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("version %s does not load: %w", m.Version, &loadError{err})
	}
	return nil
}

// loadError marks what may go better the next time, without a change.
type loadError struct{ error }

func (e *loadError) Unwrap() error { return e.error }

// mayGoBetter reports whether a refusal may pass by itself: a database that the plugin
// asks at its start may come back.
func mayGoBetter(err error) bool {
	var load *loadError
	return errors.As(err, &load)
}

// collect removes the versions that nobody needs any more.
func (p *Plugins) collect() {
	warm := p.pool.InUse()
	inUse := func(dir string) bool {
		p.mu.RLock()
		defer p.mu.RUnlock()
		return p.held[dir] > 0 || slices.Contains(warm, dir)
	}
	for _, store := range []*catalog.Store{p.store, p.mirror} {
		if _, err := store.Collect(inUse); err != nil {
			p.rt.Log.Warn("old versions of plugins are left", telemetry.KeyError, err)
		}
	}
	p.collectEnvironments()
}
