package lockfile

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// lockedByte is far behind the process id: what is locked here cannot be read by
// others, and they are to read that.
const lockedByte = 1 << 30

// lock takes the lock without waiting (LockFileEx).
func lock(f *os.File) error {
	at := windows.Overlapped{Offset: lockedByte}
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return ErrHeld
	}
	return err
}

// gone is false: no child inherits the handle, so a lock that is held has its process.
func gone(int) bool { return false }
