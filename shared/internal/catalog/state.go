package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/internal/removal"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// state is what state.json remembers. Which version is active is the link's to say.
type state struct {
	Format   int  `json:"format"`
	Disabled bool `json:"disabled,omitempty"`
	// Good are versions that stood their first minute in use, the latest first. One of
	// them is usually the active one, the other is what can be gone back to.
	Good []string `json:"good,omitempty"`
	// Before was active before the active one, whether it had stood its first minute or not.
	Before   string    `json:"before,omitempty"`
	Versions []Version `json:"versions"`
}

const (
	stateFormat = 1
	maxState    = 1 << 20
	maxVersions = 1000
	maxGood     = 2
)

func now() api.Time { return api.At(time.Now()) }

// lastGood is the version to go back to.
func (r *record) lastGood() string {
	for _, name := range r.Good {
		if name != r.active {
			return name
		}
	}
	return ""
}

// previous is the version that was active before, unless it failed.
func (r *record) previous() string {
	for _, v := range r.Versions {
		if v.Name == r.Before && v.Name != r.active && v.Failed == "" {
			return v.Name
		}
	}
	return ""
}

func (r *record) has(name string) bool {
	return slices.ContainsFunc(r.Versions, func(v Version) bool { return v.Name == name })
}

// check is strict: what this process did not write is not believed.
func (f *state) check() error {
	if f.Format != stateFormat {
		return fmt.Errorf("format %d: this version of the agent reads format %d", f.Format, stateFormat)
	}
	if len(f.Versions) > maxVersions || len(f.Good) > maxGood {
		return fmt.Errorf("%w: %d versions, %d good ones", limits.ErrTooLarge, len(f.Versions), len(f.Good))
	}
	seen := map[string]bool{}
	for _, v := range f.Versions {
		name, err := NameOf(&plugin.Plugin{Manifest: plugin.Manifest{Version: v.Version}, Digest: v.Digest})
		if err != nil || name != v.Name || seen[name] {
			return fmt.Errorf("version %.80q is not one of %.80q with %.80q, or is there twice", v.Name, v.Version, v.Digest)
		}
		seen[name] = true
	}
	for _, name := range f.Good {
		if !seen[name] {
			return fmt.Errorf("good version %.80q is none of the versions", name)
		}
	}
	return nil
}

func readState(dir string) (state, error) {
	var f state
	root, err := os.OpenRoot(dir)
	if err != nil {
		return f, err
	}
	defer root.Close()
	text, err := limits.ReadFileIn(root, stateName, maxState)
	if err != nil {
		return f, err
	}
	if err := limits.UnmarshalJSON(text, &f); err != nil { // also how deep it is
		return f, err
	}
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields()
	f = state{}
	if err := strict.Decode(&f); err != nil {
		return f, err
	}
	return f, f.check()
}

// save needs mu.
func (s *Store) save(id api.PluginID, f state) error {
	f.Format = stateFormat
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("note the state of plugin %s: %w", id, err)
	}
	if err := atomicfile.Write(filepath.Join(s.dir, string(id), stateName), append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("note the state of plugin %s: %w", id, err)
	}
	return nil
}

// change needs mu. It writes an altered copy of a plugin's state and then has it hold.
func (s *Store) change(id api.PluginID, r *record, alter func(*state)) error {
	next := r.state
	next.Good, next.Versions = slices.Clone(next.Good), slices.Clone(next.Versions)
	alter(&next)
	if err := s.save(id, next); err != nil {
		return err
	}
	r.state = next
	return nil
}

// recover reads what there is of a plugin, and ends what a change that was cut short
// had begun: a version that no state tells of was never active and goes, one without its
// files is forgotten.
func (s *Store) recover(id api.PluginID) error {
	dir := filepath.Join(s.dir, string(id))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	active, linkErr := readActive(dir)
	f, err := readState(dir)
	r := &record{state: f}
	switch {
	case errors.Is(err, fs.ErrNotExist) && active == "" && linkErr == nil: // before the first version was noted
	case err != nil:
		if r, err = s.rebuild(id, dir, entries, err); err != nil {
			return err
		}
	}
	there := map[string]bool{}
	for _, e := range entries {
		name := e.Name()
		switch {
		case e.IsDir() && r.has(name):
			there[name] = true
		case e.IsDir() && versionName.MatchString(name), isLeftover(name):
			if err := removal.Of(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	gone := func(name string) bool { return !there[name] }
	r.Versions = slices.DeleteFunc(r.Versions, func(v Version) bool { return gone(v.Name) })
	r.Good = slices.DeleteFunc(r.Good, gone)
	s.plugins[id] = r
	return s.settle(id, dir, r, active, linkErr)
}

// settle decides which version is active after a start.
func (s *Store) settle(id api.PluginID, dir string, r *record, active string, broken error) error {
	if len(r.Versions) == 0 {
		delete(s.plugins, id)
		return s.vanish(id)
	}
	if broken == nil && (active == "" || r.has(active)) {
		r.active = active
		return nil
	}
	back := r.lastGood()
	r.damage = fmt.Sprintf("%s in %s names no version that is there: ", activeName, dir)
	if back == "" {
		r.damage += "install the plugin again"
		return removeActive(dir)
	}
	r.damage += "version " + back + " is used again"
	if err := writeActive(dir, back); err != nil {
		return err
	}
	r.active = back
	return nil
}

// isLeftover reports whether a file is what a write that was cut short left.
func isLeftover(name string) bool {
	return len(name) > len(stateName)+1 && (name[:len(stateName)+2] == "."+stateName+"." || name[:len(activeName)+2] == "."+activeName+".")
}

// rebuild makes a state of the versions that are there, where the file cannot be read.
func (s *Store) rebuild(id api.PluginID, dir string, entries []fs.DirEntry, why error) (*record, error) {
	r := &record{damage: fmt.Sprintf("%s of plugin %s cannot be read (%v): it is kept as %s.bad and made anew from the versions that are there; where they came from, and whether the plugin was disabled, is lost", stateName, id, why, stateName)}
	for _, e := range entries {
		if !e.IsDir() || !versionName.MatchString(e.Name()) {
			continue
		}
		p, _, err := plugin.Load(filepath.Join(dir, e.Name()))
		if err != nil || p.ID != id {
			continue
		}
		if name, err := NameOf(p); err != nil || name != e.Name() {
			continue
		}
		r.Versions = append(r.Versions, Version{Name: e.Name(), Version: p.Version, Digest: p.Digest, Origin: Origin{Kind: FromUnknown}, Added: s.now()})
	}
	path := filepath.Join(dir, stateName)
	if err := os.Rename(path, path+".bad"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return r, s.save(id, r.state)
}
