package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/stavily/agents/internal/atomicfile"
	"github.com/stavily/agents/internal/failpoint"
	"github.com/stavily/agents/internal/removal"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// Add makes a version of the tree in aside, which must be on the store's file system
// (see Aside) and is used up. A version that is there already is not added a second
// time. It is kept until it was activated or discarded.
func (s *Store) Add(ctx context.Context, aside string, from Origin) (Version, error) {
	p, _, err := plugin.Load(aside)
	if err != nil {
		return Version{}, err
	}
	name, err := NameOf(p)
	if err != nil {
		return Version{}, err
	}
	if err := seal(ctx, aside); err != nil {
		return Version{}, fmt.Errorf("store plugin %s: %w", p.ID, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	dir := filepath.Join(s.dir, string(p.ID))
	if isPlugin(dir) {
		return Version{}, fmt.Errorf("store plugin %s: %s is a plugin of its own: move it to another directory and install it from there", p.ID, dir)
	}
	r := s.plugins[p.ID]
	if r == nil {
		r = &record{}
		if err := s.makeDir(dir); err != nil {
			return Version{}, fmt.Errorf("store plugin %s: %w", p.ID, err)
		}
		s.at("made the directory")
	}
	v := Version{ID: p.ID, Dir: filepath.Join(dir, name), Name: name, Version: p.Version, Digest: p.Digest, Origin: from, Added: s.now()}
	if err := s.place(aside, v); err != nil {
		return Version{}, fmt.Errorf("store plugin %s: %w", p.ID, err)
	}
	s.at("placed the tree")
	err = s.change(p.ID, r, func(f *state) {
		f.Versions = append(slices.DeleteFunc(f.Versions, func(o Version) bool { return o.Name == name }), v)
	})
	if err != nil {
		return Version{}, err
	}
	s.at("noted the version")
	s.plugins[p.ID], s.pending[v.Dir] = r, true
	return v, nil
}

func (s *Store) makeDir(dir string) error {
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("%s is in the way: move it elsewhere", dir)
	}
	return atomicfile.SyncDir(s.dir)
}

// place needs mu. It renames the tree to where its version belongs, unless it stands
// there already as it should.
func (s *Store) place(aside string, v Version) error {
	if there, _, err := plugin.Load(v.Dir); err == nil && there.Digest == v.Digest {
		return removal.Of(aside)
	}
	if err := s.bury(v.Dir); err != nil {
		return err
	}
	s.at("buried what was in its place")
	err := failpoint.Hit("place.before")
	if err == nil {
		err = os.Rename(aside, v.Dir)
	}
	if err != nil {
		return err
	}
	return errors.Join(failpoint.Hit("place.renamed"), atomicfile.SyncDir(filepath.Dir(v.Dir)), failpoint.Hit("place.synced"))
}

// bury takes a tree out of sight by one rename, and removes it then.
func (s *Store) bury(dir string) error {
	grave, err := os.MkdirTemp(s.dir, goneName)
	if err != nil {
		return err
	}
	err = os.Rename(dir, filepath.Join(grave, "tree"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, os.Remove(grave))
	}
	s.at("moved a tree out of sight")
	return removal.Of(grave)
}

// Activate makes a version the one that is used. load, which may be nil, finds out
// whether it works; where it does not, everything stays as it was.
func (s *Store) Activate(ctx context.Context, id api.PluginID, name string, load func(context.Context, *plugin.Plugin) error) (*plugin.Plugin, error) {
	s.mu.Lock()
	_, err := s.of(id)
	v, found := Version{}, false
	if err == nil {
		v, found = s.entry(id).Of(name)
	}
	if found {
		s.pending[v.Dir] = true // until this is over
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("plugin %s has no version %.80q here: %w", id, name, fs.ErrNotExist)
	}
	defer s.settled(v)
	p, err := Load(v)
	if err == nil && load != nil {
		err = load(ctx, p)
	}
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.of(id)
	if err != nil {
		return nil, err
	}
	s.at("loaded the version")
	if was := r.active; was != "" && was != name {
		if err := s.change(id, r, func(f *state) { f.Before = was }); err != nil {
			return nil, err
		}
		s.at("noted which was active")
	}
	if err := writeActive(filepath.Join(s.dir, string(id)), name); err != nil {
		return nil, fmt.Errorf("activate %s of plugin %s: %w", name, id, err)
	}
	s.at("renamed the link")
	r.active, r.damage = name, ""
	return p, nil
}

func (s *Store) settled(v Version) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pending, v.Dir)
}

// Discard gives a version up that was added and is not to be activated; Collect takes
// it.
func (s *Store) Discard(v Version) { s.settled(v) }

// Prove notes that the active version stood its first minute: it is what a later one
// can be gone back to.
func (s *Store) Prove(id api.PluginID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.of(id)
	if err != nil || r.active == "" || len(r.Good) > 0 && r.Good[0] == r.active {
		return err
	}
	return s.change(id, r, func(f *state) {
		f.Good = append([]string{r.active}, slices.DeleteFunc(f.Good, func(n string) bool { return n == r.active })...)
		f.Good = f.Good[:min(len(f.Good), maxGood)]
		f.fail(r.active, "")
	})
}

// Fail notes why a version was given up after its activation.
func (s *Store) Fail(id api.PluginID, name, why string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.of(id)
	if err != nil {
		return err
	}
	return s.change(id, r, func(f *state) {
		f.fail(name, why)
		f.Good = slices.DeleteFunc(f.Good, func(n string) bool { return n == name })
	})
}

func (f *state) fail(name, why string) {
	for i := range f.Versions {
		if f.Versions[i].Name == name {
			f.Versions[i].Failed = why
		}
	}
}

// SetEnabled lets a plugin run or keeps it from running.
func (s *Store) SetEnabled(id api.PluginID, enabled bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.of(id)
	if err != nil || r.Disabled == !enabled {
		return err
	}
	return s.change(id, r, func(f *state) { f.Disabled = !enabled })
}

// Remove takes a plugin out of use. Its versions are collected when nobody runs them
// any more.
func (s *Store) Remove(id api.PluginID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.of(id)
	if err != nil {
		return err
	}
	// First the link: without one nothing is active, whatever the state says.
	if err := removeActive(filepath.Join(s.dir, string(id))); err != nil {
		return fmt.Errorf("remove plugin %s: %w", id, err)
	}
	r.active = ""
	s.at("removed the link")
	err = s.change(id, r, func(f *state) { f.Good, f.Before, f.Disabled = nil, "", false })
	s.at("noted that it is removed")
	return err
}

// Collect removes the versions that are neither active nor to be gone back to, nor in one
// of the directories in use, and returns how many there were.
func (s *Store) Collect(inUse func(dir string) bool) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	var failed []error
	for id, r := range s.plugins {
		e := s.entry(id)
		for _, v := range e.Versions {
			if v.Name == e.Active || v.Name == e.LastGood || v.Name == e.Previous || s.pending[v.Dir] || inUse(v.Dir) {
				continue
			}
			if err := s.drop(r, v); err != nil {
				failed = append(failed, err)
				continue
			}
			n++
		}
		if len(r.Versions) == 0 {
			delete(s.plugins, id)
			failed = append(failed, s.vanish(id))
		}
	}
	return n, errors.Join(failed...)
}

// drop needs mu. The files go first: a version without them is forgotten at the start,
// files without a version are removed then.
func (s *Store) drop(r *record, v Version) error {
	if err := s.bury(v.Dir); err != nil {
		return fmt.Errorf("remove version %s of plugin %s: %w", v.Name, v.ID, err)
	}
	s.at("removed a tree")
	return s.change(v.ID, r, func(f *state) {
		is := func(n string) bool { return n == v.Name }
		f.Versions = slices.DeleteFunc(f.Versions, func(o Version) bool { return is(o.Name) })
		f.Good = slices.DeleteFunc(f.Good, is)
	})
}

// vanish removes the directory of a plugin without versions.
func (s *Store) vanish(id api.PluginID) error {
	if err := s.bury(filepath.Join(s.dir, string(id))); err != nil {
		return fmt.Errorf("remove plugin %s: %w", id, err)
	}
	return nil
}
