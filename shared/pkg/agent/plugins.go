package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/stavily/agents/shared/internal/catalog"
	"github.com/stavily/agents/shared/internal/cgroup"
	"github.com/stavily/agents/shared/internal/memo"
	"github.com/stavily/agents/shared/internal/pyenv"
	"github.com/stavily/agents/shared/internal/sandbox"
	"github.com/stavily/agents/shared/internal/warm"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/config"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// Plugins is the plugin host: what is installed, what the host's owner grants each of
// them, and how a process of one is started with all that belongs to it. What is
// installed changes while the agent runs; who follows it subscribes. It is safe for
// concurrent use.
type Plugins struct {
	rt           *Runtime
	python       pyenv.Interpreter // the host's own
	environments *pyenv.Builder
	sdk          string // directory that holds the Python package stavily
	posture      api.Posture
	confinement  confinement
	base         string // the base directory, without symbolic links
	logs         pluginLogs
	memos        *memo.Memos
	memory       *memory  // of all plugin processes together
	told         sync.Map // what was logged of grants: name of the settings → text
	found        sync.Map // what runs may reach: plugin → *found
	pool         *warm.Pool
	connections  *connections
	cold         sync.Map // plugins whose runs are never forked → why

	store   *catalog.Store   // the versions that were installed
	mirror  *catalog.Store   // the copies of directories that people edit
	scanner *catalog.Scanner // of these directories
	turns   turns            // one change of a plugin at a time
	looks   time.Duration    // between two looks at what may have changed without telling
	trial   time.Duration    // how long a version that came into use may be gone back from by itself
	broken  chan breakage    // versions that failed within it

	life      context.Context // of what is looked at aside
	end       context.CancelFunc
	looking   sync.WaitGroup
	lookers   chan struct{} // holds a token for each plugin that is looked at
	lookAgain chan struct{} // pulse: something changed while it was looked at

	mu          sync.RWMutex // guards the fields below
	slots       map[api.PluginID]*slot
	busy        map[api.PluginID]bool // what is looked at aside → whether to look once more
	settings    []config.PluginFile
	desired     api.Monitors          // that the orchestrator wants
	turnedDown  map[string]turnedDown // by file: settings that are not in force, and why
	pythons     map[string]pyenv.Interpreter
	paused      map[api.PluginID]bool // of plugins that run from directories: which are disabled
	held        map[string]int        // directories of versions → how many use them
	subscribers map[chan struct{}]bool
	generation  int // see Generation
}

// startPatience is how long the start of the agent waits for its plugins, which as a rule
// are there at once: an environment may have to be made anew.
const startPatience = 10 * time.Second

// firstMinute is how long a new version is watched.
const firstMinute = time.Minute

// openPlugins looks at what is installed. Plugins and files with mistakes are
// reported as conditions and left out; the rest works.
func openPlugins(ctx context.Context, rt *Runtime) (*Plugins, error) {
	p := &Plugins{
		rt: rt, memos: memo.In(filepath.Join(rt.DataDir("state"), "memo")), memory: newMemory(rt.Config().Plugins.TotalMemory),
		logs: pluginLogs{
			dir: filepath.Join(rt.Config().Agent.BaseDir, "logs", "plugins"), options: logOptions(rt.Config(), rt.secrets), open: map[api.PluginID]*pluginFile{},
		},
		trial: firstMinute, looks: pollEvery, broken: make(chan breakage, 16),
		lookers: make(chan struct{}, maxAside), lookAgain: make(chan struct{}, 1),
		slots: map[api.PluginID]*slot{}, busy: map[api.PluginID]bool{}, turnedDown: map[string]turnedDown{}, pythons: map[string]pyenv.Interpreter{},
		held: map[string]int{}, subscribers: map[chan struct{}]bool{},
	}
	err := p.confine(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.openEnvironments(ctx); err != nil {
		return nil, err
	}
	if p.sdk, err = unpackSDK(ctx, rt.DataDir("cache"), p.python); err != nil {
		return nil, err
	}
	if p.sdk, err = filepath.EvalSymlinks(p.sdk); err != nil {
		return nil, fmt.Errorf("find the Python SDK: %w", err)
	}
	if p.base, err = filepath.EvalSymlinks(rt.Config().Agent.BaseDir); err != nil {
		return nil, fmt.Errorf("find the base directory: %w", err)
	}
	p.pool, p.connections = p.newPool(), newConnections(rt)
	if err := p.openCatalog(ctx); err != nil {
		return nil, err
	}
	p.weighMemory(cgroup.MemoryLimit())
	return p, nil
}

// openCatalog finds out what is installed.
func (p *Plugins) openCatalog(ctx context.Context) (err error) {
	if p.store, err = catalog.Open(p.rt.DataDir("plugins")); err != nil {
		return err
	}
	if p.mirror, err = catalog.Open(filepath.Join(p.rt.DataDir("cache"), "plugins")); err != nil {
		return err
	}
	if p.paused, err = p.readPaused(); err != nil {
		return err
	}
	p.scanner = catalog.NewScanner(p.rt.Config().Plugins.Dir, p.policy())
	p.life, p.end = context.WithCancel(ctx)
	p.recallMonitors()
	p.followSettings(ctx, false)
	p.followInstalled(p.life)
	if err := p.followDirectories(p.life, true); err != nil {
		return err
	}
	p.await(startPatience)
	p.collect()
	return nil
}

// policy is what this agent lets run.
func (p *Plugins) policy() catalog.Options {
	cfg := p.rt.Config().Plugins
	return catalog.Options{Agent: p.rt.Role.Type, Allows: cfg.Allows, Pins: cfg.Pins}
}

// Infos lists what is installed, and what is assigned and cannot be, as heartbeats tell
// it; never nil.
func (p *Plugins) Infos() []api.PluginInfo { return p.rt.assigned.pending(p.infos()) }

func (p *Plugins) infos() []api.PluginInfo {
	p.mu.RLock()
	defer p.mu.RUnlock()
	out := []api.PluginInfo{}
	for _, id := range slices.Sorted(maps.Keys(p.slots)) {
		info := p.slots[id].info()
		if reason, found := p.cold.Load(id); found && info.Message == "" {
			info.Message = fmt.Sprintf("each run starts anew: %s", reason)
		}
		out = append(out, info)
	}
	return out
}

// Find gives the plugin with this id, or a sentence that says why it cannot be used.
func (p *Plugins) Find(id api.PluginID) (*plugin.Plugin, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	s := p.slots[id]
	if s == nil {
		return nil, fmt.Errorf("plugin %s is not installed on this agent", id)
	}
	if err := p.usable(s); err != nil {
		return nil, err
	}
	return s.current, nil
}

// Acquire is Find for who will run it: the files of the version stay until release is
// called, whatever becomes of the plugin meanwhile.
func (p *Plugins) Acquire(id api.PluginID) (found *plugin.Plugin, release func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.slots[id]
	if s == nil {
		return nil, nil, fmt.Errorf("plugin %s is not installed on this agent", id)
	}
	if err := p.usable(s); err != nil {
		return nil, nil, err
	}
	return s.current, p.hold(s.current.Dir), nil
}

// usable reports why a plugin cannot run. The lists count at once when they change, and
// the slot follows.
func (p *Plugins) usable(s *slot) error {
	if s.current != nil && !p.rt.Config().Plugins.Allows(s.id) {
		return fmt.Errorf("plugin %s is not let run on this agent: see plugins.allowed_plugins and plugins.blocked_plugins", s.id)
	}
	return s.usable(p.rt.Role.Program)
}

// hold needs mu. It keeps a version's files from being collected.
func (p *Plugins) hold(dir string) (release func()) {
	p.held[dir]++
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.held[dir]--; p.held[dir] == 0 {
			delete(p.held, dir)
		}
	})
}

// Settings are the enabled files of the configuration directory, by name, and after them the
// monitors that workflows bring.
func (p *Plugins) Settings() []config.PluginFile {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return append(p.enabled(), p.wanted()...)
}

// enabled are those of the files. It needs mu.
func (p *Plugins) enabled() []config.PluginFile {
	var out []config.PluginFile
	for _, f := range p.settings {
		if f.Enabled {
			out = append(out, f)
		}
	}
	return out
}

// Changes gives a channel that holds something whenever plugins or settings have changed
// since the last look. Call stop when nobody looks any more.
func (p *Plugins) Changes() (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.subscribers[c] = true
	return c, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.subscribers, c)
	}
}

// notify needs mu.
func (p *Plugins) notify() {
	for c := range p.subscribers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
	p.rt.BeatSoon()
}

// SettingsOf is what the host's owner says about a plugin: the first enabled file
// that names it, or the defaults.
func (p *Plugins) SettingsOf(id api.PluginID) config.PluginFile {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, f := range p.enabled() {
		if f.Plugin == id {
			return f
		}
	}
	return config.PluginFile{Plugin: id, Name: string(id)}
}

// configuration applies the manifest's schema to what the host's owner set.
func configuration(p *plugin.Plugin, f config.PluginFile) (explicit, whole map[string]json.RawMessage, err error) {
	explicit, err = plugin.Values(f.Config)
	if err == nil {
		whole, err = p.Configuration.Apply(explicit)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("configuration of %s: %w", p.ID, err)
	}
	return explicit, whole, nil
}

// limits are the smallest of what the agent's owner allows in general, for this
// plugin, and what the manifest asks for; within is what the caller allows besides,
// 0 is no more than that.
func (p *Plugins) limits(m *plugin.Plugin, f config.PluginFile, within time.Duration) sandbox.Limits {
	cfg, owner := p.rt.Config().Plugins, p.rt.Config().Security.Sandbox
	return sandbox.Limits{
		Time:      smallest(cfg.Timeout.Duration(), f.Timeout.Duration(), m.Limits.ExecutionTime, within),
		Memory:    smallest(cfg.MaxMemory.Bytes(), f.Memory.Bytes(), m.Limits.Memory),
		CPUShare:  smallest(cmp.Or(f.CPU, owner.MaxCPU), m.Limits.CPU),
		Processes: cmp.Or(f.Processes, owner.MaxProcesses),
		OpenFiles: maxOpenFiles,
		FileSize:  maxFileSize,
		TempSize:  cmp.Or(f.Temp, owner.MaxTemp).Bytes(),
	}
}

// What a plugin process may take beyond memory and time: far more than one that
// does its job, and little enough that one that does not is no danger to the host.
const (
	maxOpenFiles = 1024
	maxFileSize  = 1 << 30
)

// smallest is the smallest of the values that say something (are above 0).
func smallest[T ~int64 | ~float64](values ...T) T {
	var least T
	for _, v := range values {
		if v > 0 && (least == 0 || v < least) {
			least = v
		}
	}
	return least
}
