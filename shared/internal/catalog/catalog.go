package catalog

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// maxPlugins bounds the entries of the plugins directory that are looked at.
const maxPlugins = 1000

// Options of a scan.
type Options struct {
	Agent  api.AgentType
	Allows func(api.PluginID) bool // the agent's allow and block lists; nil allows all
	Pins   map[api.PluginID]string // the only digest of a plugin that may be used
}

// Installed is one directory that wants to be a plugin.
type Installed struct {
	Dir      string         // absolute
	Plugin   *plugin.Plugin // nil when its manifest cannot be read
	Warnings strictyaml.Errors
	Refused  string // why it cannot be used, for people; empty when it can
}

// ID is the plugin's id, or the directory's name when the manifest cannot be read.
func (i *Installed) ID() api.PluginID {
	if i.Plugin == nil {
		return api.PluginID(filepath.Base(i.Dir))
	}
	return i.Plugin.ID
}

// Scanner looks again and again at the directories that people edit. What has not
// changed, by the times and sizes of its files, is not read again.
type Scanner struct {
	dir     string
	options atomic.Pointer[Options]
	looked  *Options // by which seen was found
	seen    map[string]look
}

// look is what was found in a directory, and how it looked from outside.
type look struct {
	print string
	found Installed
}

// NewScanner makes one for the directories in dir.
func NewScanner(dir string, o Options) *Scanner {
	s := &Scanner{dir: dir, seen: map[string]look{}}
	s.Use(o)
	return s
}

// Use has the next Scan look at everything anew, by other options. It may be called
// during one.
func (s *Scanner) Use(o Options) { s.options.Store(&o) }

// Scan looks at every directory that holds a plugin.yaml, in the order of their names. A
// directory that does not exist holds none.
func (s *Scanner) Scan() ([]Installed, error) {
	dir := s.dir
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("scan plugins: %w", err)
	}
	if len(entries) > maxPlugins {
		return nil, fmt.Errorf("scan plugins: %s has %d entries, at most %d are looked at", dir, len(entries), maxPlugins)
	}
	var out []Installed
	seen := map[string]look{}
	options := s.options.Load()
	if options != s.looked {
		s.seen, s.looked = nil, options
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		// A link to a directory is as good: that is how a version is switched.
		if _, err := os.Stat(filepath.Join(path, plugin.ManifestName)); err != nil || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		print, settled := fingerprint(path)
		l := s.seen[path]
		if !settled || l.print != print {
			l = look{print, load(path, *options)}
		}
		if settled {
			seen[path] = l
		}
		out = append(out, l.found)
	}
	s.seen = seen
	refuseOlder(out)
	return out, nil
}

// fresh is how long after a change another one may leave the times as they are.
const fresh = 100 * time.Millisecond

// fingerprint is how a tree looks from outside. One that is not settled was changed a
// moment ago, or cannot be looked at: it tells nothing.
func fingerprint(dir string) (print string, settled bool) {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", false
	}
	h := sha256.New()
	files, latest := 0, time.Time{}
	fmt.Fprintln(h, real)
	err = filepath.WalkDir(real, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && ignored(d.Name()) {
			return fs.SkipDir
		}
		if files++; files > maxFiles {
			return limits.ErrTooLarge
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.ModTime().After(latest) {
			latest = info.ModTime()
		}
		fmt.Fprintf(h, "%q %d %v %d\n", path, info.Size(), info.Mode(), info.ModTime().UnixNano())
		return nil
	})
	return string(h.Sum(nil)), err == nil && time.Since(latest) > fresh
}

// ignored reports whether a directory does not count, as plugin.Load has it.
func ignored(name string) bool { return name == ".git" || name == "__pycache__" || name == ".venv" }

func load(path string, o Options) Installed {
	i := Installed{Dir: path}
	var err error
	if i.Dir, err = filepath.Abs(path); err == nil {
		i.Plugin, i.Warnings, err = plugin.Load(i.Dir)
	}
	if err == nil {
		err = o.Check(i.Plugin)
	}
	if err != nil {
		i.Refused = err.Error()
	}
	return i
}

// Check reports whether a plugin may run here as far as its manifest tells.
func (o Options) Check(p *plugin.Plugin) error {
	switch {
	case o.Allows != nil && !o.Allows(p.ID):
		return errors.New("the configuration of this agent does not let it run: see plugins.allowed_plugins and plugins.blocked_plugins")
	case o.Pins[p.ID] != "" && o.Pins[p.ID] != p.Digest:
		return fmt.Errorf("is version %s, %s, and this agent's owner pins %s: change plugins.pins if this is the version that you want", p.Version, p.Digest, o.Pins[p.ID])
	case !p.Kind.RunsOn(o.Agent):
		return fmt.Errorf("is a plugin of type %s: this agent is of type %s", p.Kind, o.Agent)
	}
	if p.Runtime.Type == plugin.Python { // package pyenv finds one that fits, or says why there is none
		return nil
	}
	_, err := interpreterOf(p.Runtime.Type)
	return err
}

// refuseOlder leaves one usable version of each plugin: the highest, and of equal
// ones the first.
func refuseOlder(all []Installed) {
	best := map[api.PluginID]*Installed{}
	for i := range all {
		this := &all[i]
		if this.Refused != "" {
			continue
		}
		other := best[this.Plugin.ID]
		if other == nil {
			best[this.Plugin.ID] = this
			continue
		}
		older := this
		if compareVersions(this.Plugin.Version, other.Plugin.Version) > 0 {
			older, best[this.Plugin.ID] = other, this
		}
		winner := best[this.Plugin.ID]
		older.Refused = fmt.Sprintf("version %s of %s in %s is used instead: remove one of the two", winner.Plugin.Version, winner.Plugin.ID, winner.Dir)
	}
}

func compareVersions(a, b string) int {
	va, errA := semver.NewVersion(a)
	vb, errB := semver.NewVersion(b)
	if errA != nil || errB != nil {
		return cmp.Compare(a, b) // the manifest has checked both
	}
	return va.Compare(vb)
}
