package quota

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// unlock gives the owner of a directory, the agent's own user, the right to read it
// that a plugin took away. Linux changes modes by name only through links; a
// descriptor of the directory is no link.
func unlock(dir int, name string) {
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	_ = unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), 0o700) // whether it helped, the next open tells
	unix.Close(fd)
}

// removed counts files that have no name any more and are open in one of the
// processes, as every temporary file of Python is.
func (c *count) removed(pids []int, ownMemory bool) {
	for _, pid := range pids {
		if c.enough() {
			return
		}
		c.removedOf("/proc/"+strconv.Itoa(pid)+"/fd", ownMemory)
	}
}

func (c *count) removedOf(path string, ownMemory bool) {
	fd, err := unix.Open(path, openDir, 0)
	if err != nil {
		// Who is gone holds nothing. Who gave up that others of its user may look
		// at it (PR_SET_DUMPABLE) hides what it has.
		c.blind = c.blind || err == unix.EACCES || err == unix.EPERM
		return
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	for !c.enough() {
		names, err := f.Readdirnames(batch)
		if errors.Is(err, os.ErrPermission) {
			c.blind = true
		}
		for _, name := range names {
			var st unix.Stat_t
			if unix.Fstatat(fd, name, &st, 0) != nil {
				continue
			}
			if st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink == 0 && c.first(&st) && !(ownMemory && inMemory(path+"/"+name)) {
				c.add(&st)
			}
		}
		if err != nil || len(names) == 0 {
			return
		}
	}
}

func inMemory(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.TMPFS_MAGIC
}

// isExact reports whether the file system is one that counts as free only what it
// has promised to nobody: others (btrfs, network file systems) learn of it when it
// is written back.
func isExact(st *unix.Statfs_t) bool {
	switch int64(st.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.TMPFS_MAGIC:
		return true
	}
	return false
}
