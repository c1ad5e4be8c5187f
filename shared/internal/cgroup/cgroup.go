package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Limits are what the kernel holds one group to. Zero is no limit. What this host
// has no controller for ([Parent.Has]) is left to whoever else watches.
type Limits struct {
	Memory    int64   // bytes: anonymous memory, tmpfs and page cache together; no swap besides
	CPU       float64 // processors that it may keep busy, for example 0.5
	Processes int     // processes and threads together, as the kernel counts them

	// Parts says that the group holds several runs: without memory the kernel ends one
	// process instead of all.
	Parts bool
}

// Usage is what a group took so far.
type Usage struct {
	MemoryPeak   int64         // bytes; 0 where the kernel does not tell (version 2 before Linux 5.19)
	CPU          time.Duration // of all its processes, also of those that nobody waited for
	OOMKills     int           // processes that the kernel killed at the memory limit
	ForksRefused int           // attempts to start a process or thread beyond the limit
	Processes    int           // processes and threads now
}

// Controllers that a group may have.
const (
	Memory = "memory"
	PIDs   = "pids"
	CPU    = "cpu"
)

// wanted is in the order in which [Parent.Describe] names what is missing.
var wanted = []string{Memory, PIDs, CPU}

// Parent is the group below which an agent makes one group for each launch. All
// methods may be called concurrently.
type Parent struct {
	host    host
	version int      // 1 or 2
	trees   []tree   // version 2: one; version 1: one for each mounted hierarchy
	missing []string // controllers that are not to be had, each with why
}

// tree is a group's directory in one hierarchy.
type tree struct {
	dir         string
	controllers []string
}

// host is where the kernel is found; tests put a tree of files in its place.
type host struct {
	proc    string             // directory of this process's "cgroup" and "mountinfo"
	systemd string             // exists where systemd manages the groups
	wanted  []string           // controllers
	mkdir   func(string) error // makes a group
	rmdir   func(string) error // removes one that is empty
}

func thisHost() host {
	return host{
		proc:    "/proc/self",
		systemd: "/run/systemd/system",
		wanted:  wanted,
		mkdir:   func(dir string) error { return os.Mkdir(dir, 0o755) },
		rmdir:   os.Remove,
	}
}

// Open finds where this process may make groups, and makes one there under name,
// which is the agent's: another live agent must not use it. The error says what
// keeps it from doing so and what to change; errors.ErrUnsupported is for systems that
// have no control groups.
func Open(name string) (*Parent, error) {
	if runtime.GOOS != "linux" {
		return nil, fmt.Errorf("control groups on %s: %w", runtime.GOOS, errors.ErrUnsupported)
	}
	return thisHost().open(name)
}

func (h host) open(name string) (*Parent, error) {
	if name == "" || name == leaf || strings.ContainsAny(name, "/\n") || name[0] == '.' {
		return nil, fmt.Errorf("control group %q: is not a name of a group", name)
	}
	view, err := h.read()
	if err != nil {
		return nil, err
	}
	p, err2 := h.openV2(view, name)
	if err2 != nil {
		var err1 error
		if p, err1 = h.openV1(view, name); err1 != nil {
			return nil, fmt.Errorf("no control group for plugins: %w", cause(err2, err1))
		}
	}
	// Files that exist may still refuse to be written; better found now than at a launch.
	g, err := p.New("probe", Limits{Memory: 64 << 20, CPU: 0.5, Processes: 16})
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("no control group for plugins: %w", err)
	}
	return p, g.Close()
}

// cause picks what an operator can act on: where version 1 is not mounted, only
// version 2 counts, and the other way round.
func cause(v2, v1 error) error {
	switch {
	case errors.Is(v1, errNotMounted):
		return v2
	case errors.Is(v2, errNotMounted), errors.Is(v2, errNoControllers):
		return v1
	}
	return fmt.Errorf("version 2: %w; version 1: %w", v2, v1)
}

// Describe is a clause for the posture, for example "cgroup v2" or "cgroup v1,
// without cpu (no such controller)".
func (p *Parent) Describe() string {
	s := fmt.Sprintf("cgroup v%d", p.version)
	if len(p.missing) > 0 {
		s += ", without " + strings.Join(p.missing, ", ")
	}
	return s
}

// Version is "cgroup1" or "cgroup2", as the posture names it.
func (p *Parent) Version() string { return fmt.Sprintf("cgroup%d", p.version) }

// Has reports whether the kernel holds groups to a limit on what the controller
// counts.
func (p *Parent) Has(controller string) bool {
	return slices.ContainsFunc(p.trees, func(t tree) bool { return slices.Contains(t.controllers, controller) })
}

// New makes a group for one launch. The name is unique among the agent's groups;
// what an earlier agent left under it is ended first.
func (p *Parent) New(name string, l Limits) (*Group, error) {
	if name == "" || strings.ContainsAny(name, "/\n") || name[0] == '.' {
		return nil, fmt.Errorf("control group %q: is not a name of a group", name)
	}
	g := &Group{host: p.host, version: p.version, fd: -1}
	for _, t := range p.trees {
		dir := filepath.Join(t.dir, name)
		if err := p.host.mkdir(dir); errors.Is(err, os.ErrExist) {
			err = p.replace(dir)
			if err != nil {
				g.Close()
				return nil, err
			}
		} else if err != nil {
			g.Close()
			return nil, fmt.Errorf("make a control group: %w", err)
		}
		g.trees = append(g.trees, tree{dir, t.controllers})
	}
	if err := g.prepare(l); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// replace ends what is left in dir and makes it anew.
func (p *Parent) replace(dir string) error {
	if err := p.host.destroy(p.version, dir, time.Now().Add(emptyLimit)); err != nil {
		return err
	}
	if err := p.host.mkdir(dir); err != nil {
		return fmt.Errorf("make a control group: %w", err)
	}
	return nil
}

// Sweep ends and removes what an earlier agent of the same name left behind, and
// reports how many groups there were. It must not be called while groups are in
// use.
func (p *Parent) Sweep() (int, error) {
	deadline := time.Now().Add(sweepLimit)
	seen := map[string]bool{}
	var errs []error
	for _, t := range p.trees {
		names, err := subgroups(t.dir)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, name := range names {
			seen[name] = true
			errs = append(errs, p.host.destroy(p.version, filepath.Join(t.dir, name), deadline))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return len(seen), fmt.Errorf("end what an earlier agent left in control groups: %w", err)
	}
	return len(seen), nil
}

// Close removes the agent's group, which must be empty.
func (p *Parent) Close() error {
	var errs []error
	for _, t := range p.trees {
		if err := p.host.rmdir(t.dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
