package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// leaf is the group that the agent moves into, because a group that hands out
// controllers may not hold processes (cgroup-v2.rst, "no internal process
// constraint"). An agent that finds itself in one of this name, because it was
// there already or systemd put it there (DelegateSubgroup=agent), uses the group
// above.
const leaf = "agent"

// openV2 makes the agent's group below our own, or beside it.
func (h host) openV2(v *view, name string) (*Parent, error) {
	m, err := v.find(2, "")
	if err != nil {
		return nil, err
	}
	own, ok := v.own[""]
	if !ok {
		return nil, errNotMounted
	}
	dir, err := m.dir(own)
	if err != nil {
		return nil, err
	}
	base, err := h.base(m, dir)
	if err != nil {
		return nil, err
	}
	if err := h.vacate(m, base); err != nil {
		return nil, err
	}
	p := &Parent{host: h, version: 2}
	if err := p.enable(base); err != nil {
		return nil, err
	}
	dir = filepath.Join(base, name)
	if err := h.mkdir(dir); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, refused(err)
	}
	p.trees = []tree{{dir: dir}}
	if err := p.enable(dir); err != nil {
		p.Close()
		return nil, err
	}
	p.trees[0].controllers = enabled(dir)
	return p, nil
}

// base is the group that may hand out controllers: ours, or the one above where
// ours is but a leaf of what was delegated.
func (h host) base(m mount, own string) (string, error) {
	above := filepath.Dir(own)
	useAbove := own != m.point && mayWrite(above) == nil &&
		(filepath.Base(own) == leaf || !offers(own, h.wanted[0]) && (delegated(above) || !isRoot()) && offers(above, h.wanted[0]))
	if useAbove {
		own = above
	}
	if !offers(own, h.wanted[0]) {
		return "", fmt.Errorf("%s/cgroup.controllers: %w: no %s: have it handed down (Delegate=yes in the systemd unit; cgroup_enable=memory on the kernel's command line where the host itself has none)", own, errNoControllers, h.wanted[0])
	}
	if err := mayWrite(own); err != nil {
		return "", refused(err)
	}
	return own, nil
}

// vacate moves the agent, and what runs in its group with it, out of base. It does
// so only where the group is ours: given to us by systemd, the root of a
// container's tree, or holding nothing but the agent. A group that others manage
// or share is left alone.
func (h host) vacate(m mount, base string) error {
	if _, err := os.Stat(filepath.Join(base, "cgroup.type")); errors.Is(err, os.ErrNotExist) {
		return nil // the host's root group, which may hold processes
	}
	inside, err := members(base)
	if err != nil {
		return err
	}
	ours := delegated(base) || base == m.point
	others := slices.DeleteFunc(slices.Clone(inside), func(pid int) bool { return pid == os.Getpid() })
	switch _, err := os.Stat(h.systemd); {
	case len(inside) == 0:
		return nil
	case ours:
	case err == nil && isRoot():
		return fmt.Errorf("%s belongs to systemd: set Delegate=yes in the agent's unit", base)
	case len(others) > 0:
		return fmt.Errorf("%s also holds processes %v: start the agent in a group of its own (Delegate=yes in a systemd unit, or systemd-run --user --scope -p Delegate=yes)", base, others)
	}
	to := filepath.Join(base, leaf)
	if err := h.mkdir(to); err != nil && !errors.Is(err, os.ErrExist) {
		return refused(err)
	}
	return move(base, to)
}

// moveRounds is how often a group is emptied whose processes fork meanwhile.
const moveRounds = 10

// move takes all processes of one group into another.
func move(from, to string) error {
	for range moveRounds {
		pids, err := members(from)
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			err := write(filepath.Join(to, "cgroup.procs"), strconv.Itoa(pid))
			if err != nil && !errors.Is(err, errGone) {
				return fmt.Errorf("move process %d: %w", pid, err)
			}
		}
	}
	return fmt.Errorf("processes keep starting in %s: start the agent in a group of its own", from)
}

// enable hands the controllers down to the groups in dir. The first must be there;
// the others are better than nothing. Each is written alone, because a line that
// names one that is missing does nothing at all.
func (p *Parent) enable(dir string) error {
	had := enabled(dir)
	for _, c := range p.host.wanted {
		if slices.Contains(had, c) {
			continue
		}
		err := write(filepath.Join(dir, "cgroup.subtree_control"), "+"+c)
		switch {
		case err == nil:
		case c == p.host.wanted[0]:
			return fmt.Errorf("hand down controller %s: %w", c, refused(err))
		default:
			p.lacks(c, err)
		}
	}
	return nil
}

// lacks notes a controller that is missing, once.
func (p *Parent) lacks(controller string, err error) {
	known := func(s string) bool { return strings.HasPrefix(s, controller+" ") }
	if slices.ContainsFunc(p.missing, known) {
		return
	}
	why := err.Error()
	if errors.Is(err, os.ErrNotExist) { // what the kernel says of an unknown controller
		why = "not handed down to us"
	}
	p.missing = append(p.missing, fmt.Sprintf("%s (%s)", controller, why))
}

// offers reports whether the group could hand the controller down.
func offers(dir, controller string) bool {
	text, err := read(filepath.Join(dir, "cgroup.controllers"))
	return err == nil && slices.Contains(strings.Fields(text), controller)
}

// enabled lists the controllers that the groups in dir have.
func enabled(dir string) []string {
	text, err := read(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return nil
	}
	return strings.Fields(text)
}

func isRoot() bool { return os.Geteuid() == 0 }
