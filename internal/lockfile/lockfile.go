// Package lockfile keeps a second process out of a directory.
//
// The lock is the operating system's (flock(2), LockFileEx), so it is given back
// when the holder dies, however it dies; the file itself stays and holds the
// holder's process id for people. It does not work on file systems that do not
// support such locks (some network file systems), which Lock then reports.
package lockfile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/stavily/agents/internal/limits"
)

// errHeld is what the system's call returns as when somebody else has the lock.
var errHeld = errors.New("held")

// Lock takes the lock file at path, which is made when it is missing, and returns
// what gives it back. When another process has it the error names that process.
func Lock(path string) (release func() error, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if err := lock(f); err != nil {
		f.Close()
		if errors.Is(err, errHeld) {
			return nil, fmt.Errorf("lock %s: held by process %s: stop that one or use another directory", path, holder(path))
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	pid := strconv.Itoa(os.Getpid()) + "\n"
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(pid), 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: note the holder: %w", path, err)
	}
	return f.Close, nil
}

// holder is the process id in the file, for a message.
func holder(path string) string {
	const most = 32
	text, err := limits.ReadFile(path, most)
	if text = bytes.TrimSpace(text); err != nil || len(text) == 0 {
		return "(unknown)"
	}
	return string(text)
}
