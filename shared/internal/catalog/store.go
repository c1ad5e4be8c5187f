package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/stavily/agents/internal/failpoint"
	"github.com/stavily/agents/internal/removal"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// Origin says where a version came from, for people and for what may replace it.
type Origin struct {
	Kind     string `json:"kind"`               // one of the kinds below
	From     string `json:"from,omitempty"`     // a path or URL
	Revision string `json:"revision,omitempty"` // a commit, or the digest of a package file
	Signer   string `json:"signer,omitempty"`   // whose key signed it; empty: nobody's

	// Of a repository, so that it can be updated from the same place.
	Branch       string `json:"branch,omitempty"`
	SubDirectory string `json:"sub_directory,omitempty"`

	// Approved is who accepted that this version asks for more than the one before it: the
	// owner at the control socket, or an operator's name. Empty: nobody did.
	Approved string `json:"approved,omitempty"`
}

// The kinds of an Origin.
const (
	FromDirectory    = "directory"    // that the host's owner edits
	FromPackage      = "package"      // a file that the host's owner installed
	FromOrchestrator = "orchestrator" // a package that was assigned
	FromGit          = "git"
	FromUnknown      = "unknown" // the record of it was damaged
)

// Version is one immutable tree of the store.
type Version struct {
	ID      api.PluginID `json:"-"`
	Dir     string       `json:"-"` // absolute
	Name    string       `json:"name"`
	Version string       `json:"version"`
	Digest  string       `json:"digest"`
	Origin  Origin       `json:"origin"`
	Added   api.Time     `json:"added"`
	Failed  string       `json:"failed,omitempty"` // why it was given up after its activation
}

// Entry is what the store has of one plugin.
type Entry struct {
	ID       api.PluginID
	Versions []Version // in the order in which they were added
	Active   string    // the name of a version; empty: none
	Proven   bool      // the active version stood its first minute
	LastGood string    // the name of another version that stood its first minute; empty: none
	Previous string    // the name of the version that was active before, unless it failed; empty: none
	Disabled bool
	Damage   string // what was found damaged when the store was opened, and what was made of it
}

// Of gives the version with this name.
func (e Entry) Of(name string) (Version, bool) {
	i := slices.IndexFunc(e.Versions, func(v Version) bool { return v.Name == name })
	if i < 0 {
		return Version{}, false
	}
	return e.Versions[i], true
}

// Store keeps the versions of plugins below one directory. It is safe for concurrent
// use; two changes of the same plugin are for the caller to put in order. Only one
// process at a time may have a directory.
type Store struct {
	dir string
	now func() api.Time
	at  func(step string) // tests end a change here

	mu      sync.Mutex // guards the fields below and what is on disk
	plugins map[api.PluginID]*record
	pending map[string]bool // directories of versions that were added and not yet activated or discarded
}

// record is a plugin's state.json, and what else is known of it.
type record struct {
	state
	active string
	damage string
}

// Names of the store's own in a plugin's directory and, with a number, beside them.
const (
	activeName = "active"
	stateName  = "state.json"
	asideName  = ".aside-"
	goneName   = ".gone-"
	dirMode    = 0o755 // the base directory keeps others out; a plugin's own user reads
)

var versionName = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+-]{0,127}-[0-9a-f]{12}$`)

// NameOf is the directory of a version of a plugin.
func NameOf(p *plugin.Plugin) (string, error) {
	hex := strings.TrimPrefix(p.Digest, "sha256:")
	if len(hex) != 64 {
		return "", fmt.Errorf("plugin %s: digest %.80q is none", p.ID, p.Digest)
	}
	name := p.Version + "-" + hex[:12]
	if !versionName.MatchString(name) {
		return "", fmt.Errorf("plugin %s: version %.80q cannot name a directory: at most 128 of A-Z, a-z, 0-9, '.', '+', '-'", p.ID, p.Version)
	}
	return name, nil
}

// Open reads the store in dir, which it makes where it is missing, and clears up what a
// change that was cut short left.
func Open(dir string) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open the plugin store: %w", err)
	}
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return nil, fmt.Errorf("open the plugin store: %w", err)
	}
	s := &Store{dir: abs, now: now, at: func(step string) { _ = failpoint.At("catalog.step", step) }, plugins: map[api.PluginID]*record{}, pending: map[string]bool{}}
	entries, err := os.ReadDir(abs)
	if err != nil {
		return nil, fmt.Errorf("open the plugin store: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		switch {
		case strings.HasPrefix(name, asideName), strings.HasPrefix(name, goneName):
			err = errors.Join(err, removal.Of(filepath.Join(abs, name)))
		case !e.IsDir() || api.PluginID(name).Validate() != nil || isPlugin(filepath.Join(abs, name)):
		default:
			err = errors.Join(err, s.recover(api.PluginID(name)))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open the plugin store: %w", err)
	}
	return s, nil
}

// isPlugin reports whether a directory is a plugin of its own, and so none of the
// store's.
func isPlugin(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, plugin.ManifestName))
	return err == nil
}

// Aside makes an empty directory, on the store's own file system, for a tree that is to
// be added. Who makes one removes what is left of it.
func (s *Store) Aside() (string, error) {
	dir, err := os.MkdirTemp(s.dir, asideName)
	if err != nil {
		return "", fmt.Errorf("make a place for a plugin: %w", err)
	}
	return dir, nil
}

// Entries lists the plugins of the store, by id.
func (s *Store) Entries() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Entry
	for _, id := range slices.Sorted(maps.Keys(s.plugins)) {
		out = append(out, s.entry(id))
	}
	return out
}

// Entry tells of one plugin; one that the store does not have is empty.
func (s *Store) Entry(id api.PluginID) Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.plugins[id] == nil {
		return Entry{ID: id}
	}
	return s.entry(id)
}

// entry needs mu.
func (s *Store) entry(id api.PluginID) Entry {
	r := s.plugins[id]
	out := Entry{ID: id, Active: r.active, Disabled: r.Disabled, Damage: r.damage, LastGood: r.lastGood(), Previous: r.previous(), Proven: r.active != "" && slices.Contains(r.Good, r.active)}
	for _, v := range r.Versions {
		v.ID, v.Dir = id, filepath.Join(s.dir, string(id), v.Name)
		out.Versions = append(out.Versions, v)
	}
	return out
}

// Load reads a version and makes sure that it is what was added.
func Load(v Version) (*plugin.Plugin, error) {
	p, _, err := plugin.Load(v.Dir)
	if err != nil {
		return nil, err
	}
	if p.ID != v.ID || p.Digest != v.Digest {
		return nil, fmt.Errorf("plugin %s: the files in %s are not what was installed there (%s, it was %s): install it again", v.ID, v.Dir, p.Digest, v.Digest)
	}
	return p, nil
}

// of needs mu. It gives the record of a plugin, or says that there is none.
func (s *Store) of(id api.PluginID) (*record, error) {
	if err := id.Validate(); err != nil {
		return nil, err
	}
	r := s.plugins[id]
	if r == nil {
		return nil, fmt.Errorf("plugin %s is not installed here: %w", id, fs.ErrNotExist)
	}
	return r, nil
}
