//go:build unix

package diskspace

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Of tells what ordinary users may still store on the file system of a path, and how
// much it has in all.
func Of(path string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), int64(st.Blocks) * int64(st.Bsize), nil
}

// Full reports whether an error says that there is no room.
func Full(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }
