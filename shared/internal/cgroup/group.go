package cgroup

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// Group is what one launch runs in. Methods may be called concurrently, but Close,
// which is the last.
type Group struct {
	host    host
	version int
	trees   []tree
	fd      int
	dir     *os.File   // version 2: the directory that fd is of
	attach  []*os.File // see Procs
}

// FD is the group's directory, for clone3(2) with CLONE_INTO_CGROUP: the process
// is in the group from its first instruction, at no cost. It is -1 in version 1.
// The descriptor stays the group's.
func (g *Group) FD() int { return g.fd }

// Procs are files into each of which a new process writes "0" to enter the group,
// before it gives up anything: one for each hierarchy in version 1, and one in
// version 2, for kernels and filters that have no clone3. In version 1 they move
// the calling thread, and are only for a process that has no other. They stay the
// group's.
func (g *Group) Procs() []*os.File { return g.attach }

// Has reports whether the kernel holds the group to a limit on what the controller
// counts.
func (g *Group) Has(controller string) bool { return g.treeOf(controller) != "" }

func (g *Group) treeOf(controller string) string {
	for _, t := range g.trees {
		if slices.Contains(t.controllers, controller) {
			return t.dir
		}
	}
	return ""
}

// entry is the file by which a process enters a group. In version 1 "tasks" moves
// one thread, for which the kernel need not wait until all processors have seen
// that nothing forks: 8 µs a hierarchy against 9 ms with cgroup.procs.
func entry(version int) string {
	if version == 1 {
		return "tasks"
	}
	return "cgroup.procs"
}

// prepare sets the limits and opens what launches need.
func (g *Group) prepare(l Limits) error {
	for _, t := range g.trees {
		for _, s := range l.settings(g.version, t.controllers) {
			if err := s.apply(t.dir); err != nil {
				return err
			}
		}
		f, err := os.OpenFile(filepath.Join(t.dir, entry(g.version)), os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("open a control group: %w", err)
		}
		g.attach = append(g.attach, f)
	}
	if g.version == 2 {
		dir, err := os.Open(g.trees[0].dir)
		if err != nil {
			return fmt.Errorf("open a control group: %w", err)
		}
		g.dir, g.fd = dir, int(dir.Fd())
	}
	return nil
}

// Grow sets limits that are higher than those before.
func (g *Group) Grow(l Limits) error {
	for _, t := range g.trees {
		for _, s := range slices.Backward(l.settings(g.version, t.controllers)) { // the sum before its part
			if err := s.apply(t.dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// setting is one value in one file of a group.
type setting struct {
	file, value string
	optional    bool // kernels without the file do without
}

// cpuPeriod is the kernel's default of 100 ms, within which a group may use its
// share; minQuota is the least that it takes (cgroup-v2.rst, sched-bwc.rst).
const (
	cpuPeriod = 100_000 // µs
	minQuota  = 1_000   // µs
)

// settings are the values that hold l in a tree with these controllers. The one for
// swap follows the one for memory: version 1 refuses a sum below its part.
func (l Limits) settings(version int, controllers []string) []setting {
	memory := strconv.FormatInt(l.Memory, 10)
	quota := strconv.Itoa(max(int(math.Ceil(l.CPU*cpuPeriod)), minQuota))
	whole := "1"
	if l.Parts {
		whole = "0"
	}
	pids := setting{"pids.max", strconv.Itoa(l.Processes), false}
	table := map[string][]setting{
		Memory: {{"memory.max", memory, false}, {"memory.swap.max", "0", true}, {"memory.oom.group", whole, true}},
		PIDs:   {pids},
		CPU:    {{"cpu.max", quota + " " + strconv.Itoa(cpuPeriod), false}},
	}
	if version == 1 {
		table = map[string][]setting{
			Memory: {{"memory.limit_in_bytes", memory, false}, {"memory.memsw.limit_in_bytes", memory, true}, {"memory.swappiness", "0", true}},
			PIDs:   {pids},
			CPU:    {{"cpu.cfs_period_us", strconv.Itoa(cpuPeriod), false}, {"cpu.cfs_quota_us", quota, false}},
		}
	}
	given := map[string]bool{Memory: l.Memory > 0, PIDs: l.Processes > 0, CPU: l.CPU > 0}
	var out []setting
	for _, c := range controllers {
		if given[c] {
			out = append(out, table[c]...)
		}
	}
	return out
}

func (s setting) apply(dir string) error {
	err := write(filepath.Join(dir, s.file), s.value)
	switch {
	case err == nil, s.optional && errors.Is(err, os.ErrNotExist):
		return nil
	case s.file == "cpu.cfs_quota_us" && errors.Is(err, errInvalid):
		return nil // a group above allows less (sched-bwc.rst): that holds
	}
	return fmt.Errorf("limit a control group: %w", err)
}

// Usage tells what the group took so far. Figures that the kernel does not give
// are zero.
func (g *Group) Usage() Usage {
	var u Usage
	if dir := g.treeOf(PIDs); dir != "" {
		u.ForksRefused = int(field(dir, "pids.events", "max"))
		u.Processes = int(number(dir, "pids.current"))
	}
	if dir := g.treeOf(Memory); dir != "" {
		u.OOMKills = g.OOMKills()
		peak := "memory.peak"
		if g.version == 1 {
			peak = "memory.max_usage_in_bytes"
		}
		u.MemoryPeak = number(dir, peak)
	}
	switch dir := g.treeOf(accounting); {
	case g.version == 2: // every group has it, with or without controllers
		u.CPU = time.Duration(field(g.trees[0].dir, "cpu.stat", "usage_usec")) * time.Microsecond
	case dir != "":
		u.CPU = time.Duration(number(dir, "cpuacct.usage"))
	}
	return u
}

// OOMKills is the part of Usage that a watchdog asks for at every look: in version
// 1 the kernel kills one process of the tree, and the rest is to be ended.
func (g *Group) OOMKills() int {
	dir, file := g.treeOf(Memory), "memory.events"
	if dir == "" {
		return 0
	}
	if g.version == 1 {
		file = "memory.oom_control"
	}
	return int(field(dir, file, "oom_kill"))
}

// Kill ends every process of the group and returns when none is left, or with an
// error after five seconds.
func (g *Group) Kill() error {
	if len(g.trees) == 0 {
		return nil
	}
	return end(g.version, g.killTree(), time.Now().Add(emptyLimit))
}

// killTree is the directory that counts processes, where there is one: there they
// can be kept from forking while they are killed.
func (g *Group) killTree() string {
	if dir := g.treeOf(PIDs); dir != "" {
		return dir
	}
	return g.trees[0].dir
}

// Close ends what is left in the group and removes it. It is the last call.
func (g *Group) Close() error {
	var errs []error
	for _, f := range g.attach {
		errs = append(errs, f.Close())
	}
	if g.dir != nil {
		errs = append(errs, g.dir.Close())
	}
	deadline := time.Now().Add(emptyLimit)
	for _, t := range g.trees {
		errs = append(errs, g.host.destroy(g.version, t.dir, deadline))
	}
	g.attach, g.dir, g.fd, g.trees = nil, nil, -1, nil
	return errors.Join(errs...)
}
