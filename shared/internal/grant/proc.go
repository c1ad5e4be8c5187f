package grant

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// HostProc is where a process with a /proc of its own finds what it is granted of the
// host's, and HostRoot where one with a root of its own sees the host's: below its
// private /dev, which is the sandbox's to make, whatever is at /.
const (
	HostProc = "/dev/host/proc"
	HostRoot = "/dev/host/root"
)

// operatorSocket is the name of the operators' socket in an orchestrator's data
// directory (package operatorapi, which shared code does not know).
const operatorSocket = "operator.sock"

// proc reports whether path is in /proc, or in the host's where that is mounted for
// an agent in a container, and gives the rest of it.
func (f *files) proc(path string) (rest string, ok bool) {
	for _, dir := range []string{"/proc", f.r.Host["/proc"]} {
		if dir != "" && within(path, dir) {
			return strings.TrimPrefix(strings.TrimPrefix(path, dir), "/"), true
		}
	}
	return "", false
}

// ofProcess are the files of process 1 that tell about the host and not about the
// process. The others tell what it does, or lead through it to other files.
var ofProcess = []string{"mounts", "mountinfo", "mountstats", "net", "stat", "status", "cgroup"}

// kernelMemory are files of /proc that show memory of the kernel or keys in it, or
// take its messages away.
var kernelMemory = []string{"kcore", "kmsg", "kpagecgroup", "kpagecount", "kpageflags", "keys", "kallsyms", "sysrq-trigger", "vmcore"}

// decideProc grants what is below /proc: read-only, and where the process has a /proc
// of its own, under another name.
func (f *files) decideProc(use, rest string) (granted []string, why string) {
	first, inner, _ := strings.Cut(rest, "/")
	switch {
	case first == "self" || first == "thread-self":
		return []string{filepath.Join("/proc", rest)}, "" // every process has its own
	case first == "mounts" || first == "net": // links to the process's own
		rest = filepath.Join("1", rest)
	case first == "1":
		if name, _, _ := strings.Cut(inner, "/"); !slices.Contains(ofProcess, name) {
			return nil, "tells about one process: of process 1 plugins are granted " + strings.Join(ofProcess, ", ")
		}
	case strings.Trim(first, "0123456789") == "" && first != "":
		return nil, "tells about one process, and another one each time"
	case slices.Contains(kernelMemory, first):
		return nil, "shows or changes the kernel itself: no plugin is granted it"
	}
	if !withinAny(filepath.Join("/proc", rest), f.ceilings[read]) {
		return nil, "is outside of what this host's policy lets plugins read"
	}
	if use == write {
		why = "/proc is read only"
	}
	return f.showProc(rest, why)
}

// showProc grants one place of the host's /proc.
func (f *files) showProc(rest, note string) (granted []string, why string) {
	mounted := f.r.Host["/proc"]
	from := "/proc"
	if mounted != "" {
		from = realOrSelf(mounted)
	}
	path := filepath.Join(from, rest)
	if _, err := os.Stat(path); err != nil {
		return nil, missing(err)
	}
	switch {
	case mounted != "": // not hidden by the process's own
		f.grants.Read = append(f.grants.Read, path)
		f.hideAgent(from, from, rest)
	case f.r.Private:
		f.grants.Mounts = appendNew(f.grants.Mounts, Mount{Source: path, Target: filepath.Join(HostProc, rest)})
		f.grants.HostProc = HostProc
		f.hideAgent(from, HostProc, rest)
	case rest == "":
		return f.kernelOnly(note)
	case !strings.HasPrefix(rest, "1/"):
		f.grants.Read = append(f.grants.Read, path)
	} // else: what the process finds in /proc/self is the host's
	return []string{filepath.Join("/proc", rest)}, note
}

// kernelOnly grants what /proc tells about no process: rules of Landlock are for files
// that exist, and processes come and go.
func (f *files) kernelOnly(note string) (granted []string, why string) {
	parts, err := siblings("/proc", nil)
	if err != nil {
		return nil, err.Error()
	}
	for _, path := range parts {
		name := filepath.Base(path)
		if strings.Trim(name, "0123456789") != "" && !slices.Contains(kernelMemory, name) {
			f.grants.Read = append(f.grants.Read, path)
		}
	}
	return []string{"/proc"}, both(note, "without the processes, which only level full shows")
}

// hideAgent covers the agent's own process, and the kernel's memory, where all of a
// /proc is shown.
func (f *files) hideAgent(from, shown, rest string) {
	if rest != "" || !f.r.Private {
		return
	}
	// The link says the number that this process has there.
	if id, err := os.Readlink(filepath.Join(from, "self")); err == nil {
		f.grants.Masks = append(f.grants.Masks, filepath.Join(shown, filepath.Base(id)))
	}
	for _, name := range kernelMemory {
		if exists(filepath.Join(from, name)) {
			f.grants.Masks = append(f.grants.Masks, filepath.Join(shown, name))
		}
	}
}

func appendNew(mounts []Mount, m Mount) []Mount {
	if slices.Contains(mounts, m) {
		return mounts
	}
	return append(mounts, m)
}
