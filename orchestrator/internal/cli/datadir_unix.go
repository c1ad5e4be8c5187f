//go:build unix

package cli

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// writable reports whether this user may write in dir, or create it.
func writable(dir string) bool {
	for {
		err := unix.Access(dir, unix.W_OK)
		if err == nil {
			return true
		}
		parent := filepath.Dir(dir)
		if err != unix.ENOENT || parent == dir {
			return false
		}
		dir = parent
	}
}
