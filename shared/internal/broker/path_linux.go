package broker

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A place is a directory, held open, in which the plugin may connect to sockets: all
// below it, which it may also make, or one.
type place struct {
	path string
	only string // the one name, "" for all
	fd   int
}

// openPlaces opens the directories of the rules once, so that nothing that is renamed
// later is taken for them.
func openPlaces(rules Rules) (places []place, err error) {
	wanted := make([]place, 0, len(rules.Below)+len(rules.Sockets))
	for _, path := range rules.Sockets {
		wanted = append(wanted, place{path: filepath.Dir(path), only: filepath.Base(path)})
	}
	for _, dir := range rules.Below {
		wanted = append(wanted, place{path: filepath.Clean(dir)})
	}
	for _, p := range wanted {
		p.fd, err = unix.Openat2(unix.AT_FDCWD, p.path, &unix.OpenHow{
			Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS,
		})
		if err != nil {
			closePlaces(places)
			return nil, fmt.Errorf("open directory %s of sockets: %w", p.path, err)
		}
		places = append(places, p)
	}
	return places, nil
}

func (p place) whole() bool { return p.only == "" }

func closePlaces(places []place) {
	for _, p := range places {
		unix.Close(p.fd)
	}
}

// find opens the socket that the caller's path names if it is in one of the places.
// The descriptor pins it: what the plugin renames or links meanwhile has no effect.
func (s *server) find(n notification, path string) (int, error) {
	if !strings.HasPrefix(path, "/") {
		cwd, err := os.Readlink(proc(n.pid, "cwd"))
		if err != nil || !s.valid(n) {
			return -1, unix.EACCES
		}
		path = cwd + "/" + path
	}
	for _, p := range s.places {
		rel, ok := below(path, p.path)
		if !ok || !p.whole() && rel != p.only {
			continue
		}
		fd, err := unix.Openat2(p.fd, rel, &unix.OpenHow{
			Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: p.resolve(),
		})
		if err == unix.EXDEV { // a symlink or .. that leads out
			return -1, unix.EACCES
		}
		return fd, err
	}
	return -1, unix.EACCES
}

func (p place) resolve() uint64 {
	if !p.whole() {
		return unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS
	}
	return unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS
}

// below returns what of path follows dir. It looks at names only; ".." before the end
// of dir matches nothing, and after it the kernel sees to.
func below(path, dir string) (string, bool) {
	parts := make([]string, 0, 8)
	for part := range strings.SplitSeq(path, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	prefix := strings.Split(strings.Trim(dir, "/"), "/")
	if len(parts) <= len(prefix) {
		return "", false
	}
	for i, name := range prefix {
		if parts[i] != name {
			return "", false
		}
	}
	return strings.Join(parts[len(prefix):], "/"), true
}
