package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// emptyLimit is how long killed processes may take to leave a group. It is
	// only reached in an uninterruptible sleep.
	emptyLimit = 5 * time.Second
	// sweepLimit is the same for all that an earlier agent left.
	sweepLimit = 10 * time.Second

	// The first looks come quickly, because a killed group is mostly empty within
	// 2 ms.
	firstPause = 500 * time.Microsecond
	maxPause   = 20 * time.Millisecond

	// maxDepth bounds groups within groups. Plugins cannot make any; only what ran
	// without confinement as the agent's own user could.
	maxDepth = 8
)

// destroy ends the processes of the group at dir and of the groups in it, and
// removes all. A group that does not exist is removed.
func (h host) destroy(version int, dir string, deadline time.Time) error {
	if err := h.rmdir(dir); err == nil || errors.Is(err, os.ErrNotExist) {
		return nil // it was empty, as nearly always
	}
	return h.destroyBelow(version, dir, deadline, maxDepth)
}

func (h host) destroyBelow(version int, dir string, deadline time.Time, depth int) error {
	if depth == 0 {
		return fmt.Errorf("remove control group %s: it is nested too deep", dir)
	}
	if err := end(version, dir, deadline); err != nil {
		return err
	}
	names, err := subgroups(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := h.destroyBelow(version, filepath.Join(dir, name), deadline, depth-1); err != nil {
			return err
		}
	}
	pause := firstPause
	for {
		err := h.rmdir(dir)
		if err == nil || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("remove control group: %w", err)
		}
		time.Sleep(pause)
		pause = min(2*pause, maxPause)
	}
}

// end kills every process of the group at dir, and returns when none is left.
func end(version int, dir string, deadline time.Time) error {
	atOnce := version == 2 && write(filepath.Join(dir, "cgroup.kill"), "1") == nil // Linux >= 5.14
	if !atOnce {
		// Nothing that is killed one by one may fork meanwhile. Without the
		// controller the rounds win in the end.
		_ = write(filepath.Join(dir, "pids.max"), "0")
	}
	pause := firstPause
	for {
		pids, err := members(dir)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil
		case err != nil:
			return fmt.Errorf("list a control group: %w", err)
		case len(pids) == 0:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("processes %v of control group %s do not die: they hang in the kernel", pids, dir)
		}
		if !atOnce {
			for _, pid := range pids {
				killMember(pid, dir)
			}
		}
		time.Sleep(pause)
		pause = min(2*pause, maxPause)
	}
}

// members lists the processes of one group, without those in groups below it and
// without zombies.
func members(dir string) ([]int, error) {
	text, err := read(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	var out []int
	for _, f := range strings.Fields(text) {
		// 0 is a process that another pid namespace hides from us.
		if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
			out = append(out, pid)
		}
	}
	slices.Sort(out) // version 1 promises no order and may repeat
	return slices.Compact(out), nil
}

// isMember reports whether the process is in the group at dir, or in one below it.
func isMember(pid int, dir string) bool {
	text, err := read("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return false
	}
	// The agent's name and the launch's tell; the way to there depends on mounts
	// and namespaces.
	suffix := "/" + filepath.Base(filepath.Dir(dir)) + "/" + filepath.Base(dir)
	for line := range strings.Lines(text) {
		if strings.Contains(strings.TrimSpace(line)+"/", suffix+"/") {
			return true
		}
	}
	return false
}

// subgroups lists the groups in the group at dir.
func subgroups(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list control groups: %w", err)
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out, nil
}
