package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stavily/agents/shared/internal/mountinfo"
)

var (
	errNotMounted    = errors.New("is not mounted")
	errNoControllers = errors.New("has no controllers")
)

// accounting is the controller of version 1 that counts CPU time.
const accounting = "cpuacct"

// view is what this process sees of the host's control groups.
type view struct {
	mounts []mount
	own    map[string]string // path of our own group, by controller; "" is version 2
}

// mount is one mounted hierarchy.
type mount struct {
	root        string   // the group that is visible at point
	point       string   // where it is mounted
	version     int      // 1 or 2
	controllers []string // of version 1
}

func (h host) read() (*view, error) {
	own, err := read(filepath.Join(h.proc, "cgroup"))
	if err != nil {
		return nil, fmt.Errorf("find our own control group: %w", err)
	}
	mounts, err := read(filepath.Join(h.proc, "mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("find mounted control groups: %w", err)
	}
	return &view{parseMounts(mounts), parseOwn(own)}, nil
}

// parseOwn reads lines such as "4:memory:/a" and "0::/b" (cgroups(7)).
func parseOwn(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		for c := range strings.SplitSeq(f[1], ",") {
			out[c] = f[2]
		}
	}
	return out
}

// parseMounts reads the hierarchies in proc_pid_mountinfo(5). A mount over another
// comes later, and is what a path reaches, so later lines come first.
func parseMounts(text string) []mount {
	var out []mount
	for _, l := range mountinfo.Parse(text) {
		m := mount{root: l.Root, point: l.Point}
		switch l.Type {
		case "cgroup2":
			m.version = 2
		case "cgroup":
			m.version, m.controllers = 1, strings.Split(l.Super, ",")
		default:
			continue
		}
		out = append(out, m)
	}
	slices.Reverse(out)
	return out
}

// find gives the hierarchy of a controller of version 1, or that of version 2.
func (v *view) find(version int, controller string) (mount, error) {
	for _, m := range v.mounts {
		if m.version == version && (version == 2 || slices.Contains(m.controllers, controller)) {
			return m, nil
		}
	}
	return mount{}, errNotMounted
}

// dir is the directory of the group at path, which must be visible in the mount:
// a container may have the host's tree with only its own part shown, or its own
// tree as seen from outside ("/../..").
func (m mount) dir(path string) (string, error) {
	rel, err := filepath.Rel(m.root, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return "", fmt.Errorf("our group %s is outside of what is mounted at %s: give the container a control group namespace of its own (docker run --cgroupns=private)", path, m.point)
	}
	return filepath.Join(m.point, rel), nil
}

// refused says what to do about a directory that cannot be written.
func refused(err error) error {
	switch {
	case errors.Is(err, errReadOnly):
		return fmt.Errorf("%w: mount it writable (docker run --cgroupns=private --security-opt writable-cgroups=true)", err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: delegate the group to this user (Delegate=yes in the systemd unit)", err)
	}
	return err
}
