package grant

import (
	"bytes"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/internal/limits"
	"github.com/stavily/agents/shared/internal/mountinfo"
)

// host is what the kernel knows about names of files.
type host struct {
	mounts  []mountinfo.Mount
	sockets []string // that are bound to a path, in the agent's network namespace
	kernel  []string // where files are doors to the kernel
	devices []string // where files are devices
}

// doors are the types of file systems whose files are the kernel's settings.
var doors = []string{"proc", "sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "configfs", "efivarfs", "bpf", "fusectl", "pstore", "binfmt_misc"}

// maxTable is far above what the kernel lists on hosts with ten thousand containers.
const maxTable = 16 << 20

func lookAtHost() (*host, error) {
	table, err := limits.ReadFile("/proc/self/mountinfo", maxTable)
	if err != nil {
		return nil, fmt.Errorf("list the mounts: %w", err)
	}
	h := &host{mounts: mountinfo.Parse(string(table)), kernel: []string{"/proc", "/sys"}, devices: []string{"/dev"}}
	for _, m := range h.mounts {
		switch {
		case slices.Contains(doors, m.Type):
			h.kernel = append(h.kernel, m.Point)
		case m.Type == "devtmpfs":
			h.devices = append(h.devices, m.Point)
		}
	}
	// Without it (a masked /proc) sockets are only not hidden one by one.
	if table, err := limits.ReadFile("/proc/net/unix", maxTable); err == nil {
		h.sockets = parseSockets(table)
	}
	return h, nil
}

// parseSockets reads the paths of unix(7) sockets, which stand after seven fields.
// Abstract ones begin with @.
func parseSockets(table []byte) []string {
	var out []string
	for line := range bytes.Lines(table) {
		rest := strings.TrimSuffix(string(line), "\n")
		for range 7 {
			_, rest, _ = strings.Cut(strings.TrimLeft(rest, " "), " ")
		}
		if filepath.IsAbs(rest) {
			out = append(out, rest)
		}
	}
	return out
}

func (h *host) isMountPoint(path string) bool {
	return slices.ContainsFunc(h.mounts, func(m mountinfo.Mount) bool { return m.Point == path })
}

// servers are the data directories of orchestrators that run on this host.
func (h *host) servers() []string {
	var out []string
	for _, s := range h.sockets {
		if filepath.Base(s) == operatorSocket {
			out = append(out, filepath.Dir(s))
		}
	}
	return out
}

// aliases are the other names that a path without links has through further mounts
// of its file system. Of a mount that shows only a part of it, that is the mount.
func (h *host) aliases(path string) []string {
	var at mountinfo.Mount
	for _, m := range h.mounts { // the longest, and of these the last, is on top
		if within(path, m.Point) && len(m.Point) >= len(at.Point) {
			at = m
		}
	}
	if at.Point == "" {
		return nil
	}
	inside := filepath.Join(at.Root, strings.TrimPrefix(path, at.Point))
	var out []string
	for _, m := range h.mounts {
		switch {
		case m.Device != at.Device || m == at:
		case within(inside, m.Root):
			rest, err := filepath.Rel(m.Root, inside)
			if err == nil {
				out = append(out, filepath.Join(m.Point, rest))
			}
		case within(m.Root, inside):
			out = append(out, m.Point)
		}
	}
	return out
}

// Major numbers of character devices that reach what no plugin may
// (Documentation/admin-guide/devices.txt): SCSI commands pass every permission of
// the files on the disk, and raw devices are the disk.
var diskCommands = []uint32{21, 162}

// forbiddenDevice says why a device is granted to nobody.
func forbiddenDevice(info fs.FileInfo) string {
	if info.Mode()&fs.ModeCharDevice == 0 {
		return "is a block device, which holds every file, also the agent's key: no plugin is granted one"
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "is a device of a kind that cannot be told"
	}
	major, minor := unix.Major(st.Rdev), unix.Minor(st.Rdev)
	for _, m := range diskCommands {
		if major == m {
			return "gives a disk commands, which reach every file: no plugin is granted it"
		}
	}
	if major == 1 && (minor == 1 || minor == 2 || minor == 4) { // mem, kmem, port
		return "is the machine's memory: no plugin is granted it"
	}
	return ""
}
