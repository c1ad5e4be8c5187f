package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// openV1 makes the agent's group in every hierarchy that has a controller for us.
// The first must be one of them, memory: the others alone hold nothing that the
// sandbox has no other means for.
func (h host) openV1(v *view, name string) (*Parent, error) {
	p := &Parent{host: h, version: 1}
	for _, c := range append(slices.Clone(h.wanted), accounting) {
		err := p.addV1(v, c, name)
		switch {
		case err == nil || c == accounting:
		case c == h.wanted[0]:
			p.Close()
			return nil, fmt.Errorf("controller %s: %w", c, refused(err))
		default:
			p.missing = append(p.missing, fmt.Sprintf("%s (%v)", c, err))
		}
	}
	return p, nil
}

// addV1 makes the agent's group for one controller. Controllers that are mounted
// together share it.
func (p *Parent) addV1(v *view, controller, name string) error {
	m, err := v.find(1, controller)
	if err != nil {
		return err
	}
	own, ok := v.own[controller]
	if !ok {
		return errNotMounted
	}
	base, err := m.dir(own)
	if err != nil {
		return err
	}
	dir := filepath.Join(base, name)
	for i, t := range p.trees {
		if t.dir == dir {
			p.trees[i].controllers = append(t.controllers, controller)
			return nil
		}
	}
	if err := mayWrite(base); err != nil {
		return err
	}
	if err := p.host.mkdir(dir); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if controller == Memory {
		// Before Linux 5.11 a group may leave out the groups in it.
		_ = write(filepath.Join(dir, "memory.use_hierarchy"), "1")
	}
	p.trees = append(p.trees, tree{dir, []string{controller}})
	return nil
}
