//go:build unix

package quota

import (
	"os"

	"golang.org/x/sys/unix"
)

// batch is how many names of a directory are held at a time.
const batch = 256

// walk counts what is below the directory at path.
func (c *count) walk(path string) {
	fd, err := unix.Open(path, openDir, 0)
	if err != nil {
		return // not made yet, or gone: nothing is stored there
	}
	c.dir(fd, 1)
}

// openDir opens directories only, and never waits: the name may have become a FIFO.
const openDir = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC

// dir counts what is in an open directory, and closes it.
func (c *count) dir(fd, depth int) {
	f := os.NewFile(uintptr(fd), "directory")
	defer f.Close()
	if c.ear != nil {
		c.ear.listen(fd) // before the look: what comes later is heard
	}
	if depth > maxDepth {
		c.deep = true
		return
	}
	for !c.enough() {
		names, err := f.Readdirnames(batch)
		for _, name := range names {
			c.entry(fd, name, depth)
		}
		if err != nil || len(names) == 0 {
			return
		}
	}
}

// entry counts one name of a directory.
func (c *count) entry(dir int, name string, depth int) {
	var st unix.Stat_t
	if c.enough() || unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return // removed meanwhile
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if !isDir && st.Nlink > 1 && !c.first(&st) {
		return
	}
	c.add(&st)
	if !isDir {
		return
	}
	fd, err := unix.Openat(dir, name, openDir, 0)
	if err == unix.EACCES {
		unlock(dir, name)
		fd, err = unix.Openat(dir, name, openDir, 0)
	}
	switch err {
	case nil:
		c.dir(fd, depth+1)
	case unix.ENOENT, unix.ENOTDIR, unix.ELOOP: // it changed meanwhile
	default:
		c.blind = true
	}
}

// first reports whether the file was not counted yet.
func (c *count) first(st *unix.Stat_t) bool {
	id := inode{uint64(st.Dev), st.Ino}
	if c.seen[id] {
		return false
	}
	c.seen[id] = true
	return true
}

// add counts one file. Blocks are of 512 bytes whatever the file system's are, and
// include what it promised and has not written yet (ext4, xfs, btrfs).
func (c *count) add(st *unix.Stat_t) {
	c.use.Files++
	c.use.Bytes += int64(st.Blocks) * 512
}

// spaceOf tells what ordinary users may still store on the file system of path.
func spaceOf(path string) space {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return space{}
	}
	free := Use{Bytes: int64(st.Bavail) * int64(st.Bsize), Files: int64(st.Ffree)}
	return space{free: free, known: true, exact: isExact(&st)}
}
