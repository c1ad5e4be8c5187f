package sandbox

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// tempFS is the file system that a process of level full has for its temporary files.
// The descriptor keeps it when the process and its mounts are gone, so that it can be
// asked whether it was full.
type tempFS struct{ f *os.File }

// openTempFS finds it. Nobody can have put anything else there: the root directory of
// the process is sealed, and mounting is denied to it. Without it only figures are
// missing.
func openTempFS(pid int, temp string) *tempFS {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/root"+temp, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	return &tempFS{os.NewFile(uintptr(fd), temp)}
}

// close tells how much is stored and whether there is room for no more.
func (t *tempFS) close() (bytes int64, full bool) {
	defer t.f.Close()
	var st unix.Statfs_t
	if unix.Fstatfs(int(t.f.Fd()), &st) != nil || st.Type != unix.TMPFS_MAGIC {
		return 0, false
	}
	return int64(st.Blocks-st.Bfree) * st.Bsize, st.Bfree == 0 || st.Ffree == 0
}
