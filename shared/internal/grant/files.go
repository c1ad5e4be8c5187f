package grant

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stavily/agents/shared/pkg/plugin"
)

// files collects what is granted of the file system.
type files struct {
	r         *Request
	host      *host
	ceilings  map[string][]string // by use, without links
	protected []string            // nobody sees these: without links, with their other names
	identity  []fs.FileInfo       // of the protected ones that exist
	sealed    []string            // nobody writes these
	grants    Grants
}

func newFiles(r *Request) (*files, error) {
	h, err := lookAtHost()
	if err != nil {
		return nil, err
	}
	f := &files{r: r, host: h}
	f.ceilings = map[string][]string{read: real(r.Policy.Read), write: real(r.Policy.Write)}
	f.ceilings[stat] = f.ceilings[read]
	for _, p := range append(slices.Clone(r.Policy.Protected), h.servers()...) {
		if !filepath.IsAbs(p) {
			return nil, fmt.Errorf("protected path %q: must be absolute", p)
		}
		p = realOrSelf(p)
		f.protected = append(f.protected, p)
		f.protected = append(f.protected, h.aliases(p)...)
	}
	f.protected = outermost(f.protected)
	for _, p := range f.protected {
		if info, err := os.Lstat(p); err == nil {
			f.identity = append(f.identity, info)
		}
	}
	for _, p := range r.Policy.Sealed {
		p = realOrSelf(p)
		f.sealed = append(f.sealed, p)
		f.sealed = append(f.sealed, h.aliases(p)...)
	}
	return f, nil
}

// real follows the links of paths and leaves out what is not there.
func real(paths []string) []string {
	var out []string
	for _, p := range paths {
		if filepath.ToSlash(p) == "/" { // also on Windows, where it is no path: everything
			out = append(out, "/")
		} else if to, err := filepath.EvalSymlinks(p); err == nil {
			out = append(out, to)
		}
	}
	return out
}

// realOrSelf follows the links of a path as far as it exists.
func realOrSelf(path string) string {
	path = filepath.Clean(path)
	rest := ""
	for at := path; ; at = filepath.Dir(at) {
		if to, err := filepath.EvalSymlinks(at); err == nil {
			return filepath.Join(to, rest)
		}
		if at == filepath.Dir(at) {
			return path
		}
		rest = filepath.Join(filepath.Base(at), rest)
	}
}

// within reports whether path is dir or below it.
func within(path, dir string) bool {
	if dir == path || dir == "/" {
		return true
	}
	return strings.HasPrefix(path, dir) && path[len(dir)] == filepath.Separator
}

func withinAny(path string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return within(path, dir) })
}

// below are those of paths that are in dir, without dir itself.
func below(paths []string, dir string) []string {
	var out []string
	for _, p := range paths {
		if p != dir && within(p, dir) {
			out = append(out, p)
		}
	}
	return out
}

// outermost leaves out what is below another of the paths, and sorts.
func outermost(paths []string) []string {
	paths = slices.Compact(slices.Sorted(slices.Values(paths)))
	return slices.DeleteFunc(slices.Clone(paths), func(p string) bool {
		return slices.ContainsFunc(paths, func(other string) bool { return other != p && within(p, other) })
	})
}

// decide takes one path through every rule and notes what became of it.
func (f *files) decide(a ask) {
	d := Decision{Use: a.use, Asked: a.entry}
	if a.use == write && f.r.Kind == plugin.Sensor {
		a.use = read
		d.Why = "a sensor writes nothing but its own directories; it may read this"
	}
	granted, why := f.judge(a)
	d.Granted = granted
	if why != "" {
		d.Why = why
		if a.entry != a.path && a.path != "" {
			d.Why = a.path + ": " + why
		}
	}
	f.grants.Account = append(f.grants.Account, d)
}

// judge grants what can be granted of an ask and says why the rest is not.
func (f *files) judge(a ask) (granted []string, why string) {
	if a.err != nil {
		return nil, a.err.Error()
	}
	if why := unclear(a.path); why != "" {
		return nil, why
	}
	path := filepath.Clean(a.path)
	if rest, ok := f.proc(path); ok {
		return f.decideProc(a.use, rest)
	}
	to, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, missing(err)
	}
	if why := disguised(path, to); why != "" {
		return nil, why
	}
	if rest, ok := f.proc(to); ok {
		return f.decideProc(a.use, rest)
	}
	var whys []string
	parts := f.narrow(a.use, to)
	if len(parts) == 0 {
		return nil, fmt.Sprintf("is outside of what this host's policy lets plugins %s", a.use)
	}
	for _, part := range parts {
		got, why := f.place(a.use, part)
		granted = append(granted, got...)
		if why != "" {
			whys = append(whys, why)
		}
	}
	return append(granted, f.ofHost(a.use, parts)...), strings.Join(whys, "; ")
}

// unclear says why a path does not tell by itself which file it means.
func unclear(path string) string {
	switch {
	case strings.ContainsRune(path, 0):
		return "has a NUL in it"
	case !filepath.IsAbs(path) && !strings.HasPrefix(path, "/"):
		return "is not an absolute path"
	case slices.Contains(strings.Split(filepath.ToSlash(path), "/"), ".."):
		return "goes back with '..': write where it leads"
	}
	return ""
}

// NotThere is why a path is not granted that this host does not have.
const NotThere = "is not there, so it is left out"

func missing(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return NotThere
	case errors.Is(err, fs.ErrPermission):
		return "cannot be looked at by the agent: permission denied"
	}
	return "cannot be followed: " + err.Error()
}

// narrow is the part of path that is within the ceilings: all of it, or the ceilings
// that lie below it.
func (f *files) narrow(use, path string) []string {
	if withinAny(path, f.ceilings[use]) {
		return []string{path}
	}
	return outermost(below(f.ceilings[use], path))
}

// disguised says why what a link leads to is not what it was called: whoever can put
// a link where a file is expected must not turn it into a socket.
func disguised(path, to string) string {
	asked, err := os.Lstat(path)
	if err != nil || asked.Mode()&fs.ModeSymlink == 0 || within(path, "/dev") {
		return ""
	}
	if info, err := os.Lstat(to); err == nil && info.Mode()&(fs.ModeSocket|fs.ModeDevice) != 0 {
		return "is a link to " + to + ": sockets and devices are granted by their own names"
	}
	return ""
}

// place grants one path without links, which the manifest or the ceiling names.
func (f *files) place(use, path string) (granted []string, why string) {
	if withinAny(path, f.protected) || f.isProtected(path) {
		return nil, "belongs to the agent or is hidden by its owner: no plugin is shown it"
	}
	if use == write && withinAny(path, f.sealed) {
		return nil, "is the agent's own program: no plugin writes it"
	}
	if use == write && withinAny(path, f.host.kernel) {
		use, why = read, "is the kernel's, and read only"
	}
	info, err := os.Lstat(path)
	if err != nil {
		return nil, missing(err)
	}
	switch kind := info.Mode().Type(); {
	case kind == 0:
		return f.add(use, path), why
	case kind.IsDir():
		granted, left := f.directory(use, path)
		return granted, both(why, left)
	case kind&fs.ModeSocket != 0:
		if filepath.Base(path) == operatorSocket {
			return nil, "is the socket of an orchestrator's operators: no plugin is shown it"
		}
		f.grants.Sockets = append(f.grants.Sockets, path)
		return []string{path}, why
	case kind&fs.ModeDevice != 0:
		if why := forbiddenDevice(info); why != "" {
			return nil, why
		}
		return f.add(use, path), why
	}
	return nil, "is a pipe or the like: plugins are granted files, directories, sockets and character devices"
}

// both joins two notes, of which each may be empty.
func both(a, b string) string {
	if a != "" && b != "" {
		return a + "; " + b
	}
	return a + b
}

// isProtected recognises a protected file or directory by what it is, where it has a
// name that the mounts do not explain, or several spellings.
func (f *files) isProtected(path string) bool {
	for at := path; at != filepath.Dir(at); at = filepath.Dir(at) {
		info, err := os.Lstat(at)
		if err == nil && slices.ContainsFunc(f.identity, func(p fs.FileInfo) bool { return os.SameFile(info, p) }) {
			return true
		}
	}
	return false
}

// directory grants a directory, without what is protected below it.
func (f *files) directory(use, path string) (granted []string, why string) {
	if withinAny(path, f.host.devices) {
		return nil, "holds devices: name each that is needed"
	}
	if use != stat {
		why = without(below(f.protected, path))
	}
	parts, err := f.carve(use, path)
	if err != nil {
		return nil, err.Error()
	}
	for _, part := range parts {
		f.add(use, part)
	}
	return []string{path}, why
}

// without names the first of what is left out.
func without(hidden []string) string {
	const most = 3
	switch n := len(hidden); {
	case n == 0:
		return ""
	case n > most:
		return fmt.Sprintf("without %s and %d more", strings.Join(hidden[:most], ", "), n-most)
	}
	return "without " + strings.Join(hidden, ", ")
}

// carve gives the directory, or the parts of it that together are all of it but what
// may not come along.
func (f *files) carve(use, path string) ([]string, error) {
	var out []string
	if use == write {
		out = slices.Concat(below(f.host.kernel, path), below(f.host.devices, path), below(f.sealed, path))
	}
	if !f.r.Private {
		out = slices.Concat(out, below(f.protected, path), below(f.host.devices, path), below([]string{"/proc"}, path))
	}
	if use == stat || len(out) == 0 {
		return []string{path}, nil
	}
	return siblings(path, outermost(out))
}

// maxParts bounds how many grants one directory may become: each is an open file and
// a rule of the launch.
const maxParts = 4096

// siblings lists files and directories below dir that are all of it without those in
// out, which lie below dir, and without links, sockets, pipes and devices.
func siblings(dir string, out []string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot be granted in parts: %w", err)
	}
	defer d.Close()
	entries, err := d.ReadDir(maxParts + 1)
	if err != nil && len(entries) == 0 {
		return nil, nil // nothing is in it
	}
	var parts []string
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case slices.Contains(out, path):
		case len(below(out, path)) > 0:
			inner, err := siblings(path, below(out, path))
			if err != nil {
				return nil, err
			}
			parts = append(parts, inner...)
		case e.IsDir() || e.Type().IsRegular():
			parts = append(parts, path)
		}
	}
	if len(parts) > maxParts || len(entries) > maxParts {
		return nil, fmt.Errorf("has more than %d entries beside what is protected in %s: name what is needed below it", maxParts, dir)
	}
	return parts, nil
}

func (f *files) add(use, path string) []string {
	switch use {
	case read:
		f.grants.Read = append(f.grants.Read, path)
	case write:
		f.grants.Write = append(f.grants.Write, path)
	case stat:
		switch {
		case !f.r.Private: // names and sizes are seen anyway
		case path == "/": // which is another file system there
			f.grants.Mounts = appendNew(f.grants.Mounts, Mount{Source: "/", Target: HostRoot, Stat: true})
			f.grants.HostRoot = HostRoot
		default:
			f.grants.Stat = append(f.grants.Stat, path)
		}
	}
	return []string{path}
}

// ofHost grants, for an agent in a container, also the host's own places of the same
// names.
func (f *files) ofHost(use string, parts []string) (granted []string) {
	for _, part := range parts {
		for from, to := range f.r.Host {
			if from == "/proc" || !within(part, from) || use == write {
				continue
			}
			path, err := filepath.EvalSymlinks(filepath.Join(to, strings.TrimPrefix(part, from)))
			if err != nil || !within(path, realOrSelf(to)) {
				continue
			}
			if info, err := os.Lstat(path); err == nil && (info.IsDir() || info.Mode().IsRegular()) {
				got, _ := f.place(use, path) // the entry itself is judged by its own path
				granted = append(granted, got...)
			}
		}
	}
	slices.Sort(granted)
	return granted
}

// finish leaves out what is granted twice, and hides what lies below a grant and is
// not part of it.
func (f *files) finish() {
	g := &f.grants
	g.Sockets = outermost(g.Sockets)
	g.Write = outermost(g.Write)
	g.Read = slices.DeleteFunc(outermost(g.Read), func(p string) bool { return withinAny(p, g.Write) })
	g.Stat = slices.DeleteFunc(outermost(g.Stat), func(p string) bool { return withinAny(p, g.Write) || withinAny(p, g.Read) })
	if !f.r.Private {
		return
	}
	hide := slices.Clone(f.protected)
	for _, s := range f.host.sockets {
		if s = realOrSelf(s); !slices.Contains(g.Sockets, s) {
			hide = append(hide, s)
		}
	}
	shown := slices.Concat(g.Read, g.Write, g.Stat)
	for _, p := range outermost(hide) {
		if withinAny(p, shown) && exists(p) { // what is not there cannot be covered
			g.Masks = append(g.Masks, p)
		}
	}
	if g.HostRoot != "" {
		for _, p := range outermost(append(f.unseen(hide), special...)) {
			g.Masks = append(g.Masks, g.HostRoot+p)
		}
	}
}

// special are trees of no file system that is asked for, in which much is met by name.
var special = []string{"/dev", "/proc", "/run", "/sys"}

// unseen are the places to be hidden where the host is only seen. A mount point stays,
// because it is what is asked for, and nothing in it can be read; a socket, which can be
// spoken to all the same, goes with its directory: it may be made anew.
func (f *files) unseen(hide []string) []string {
	var out []string
	for _, p := range hide {
		info, err := os.Lstat(p)
		switch dir := filepath.Dir(p); {
		case err != nil || f.host.isMountPoint(p):
		case info.Mode()&fs.ModeSocket != 0 && dir != "/" && !f.host.isMountPoint(dir):
			out = append(out, dir)
		default:
			out = append(out, p)
		}
	}
	return out
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
