package lockfile

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// ErrHeld is wrapped by the error of Lock when another holder has the lock.
var ErrHeld = errors.New("lock is held")

const (
	lingers = 5 * time.Second       // that the lock of a process that is gone is waited for
	look    = 10 * time.Millisecond // between two tries
)

// Lock takes the lock on path, whose directory must exist, and keeps it until
// release or the end of the process. When it is held the error wraps ErrHeld; where the holder
// is gone, that takes 5 s.
func Lock(path string) (release func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	err = lock(f)
	for end := time.Now().Add(lingers); errors.Is(err, ErrHeld) && gone(pidIn(f)) && time.Now().Before(end); err = lock(f) {
		time.Sleep(look)
	}
	if err != nil {
		defer f.Close()
		if errors.Is(err, ErrHeld) {
			return nil, fmt.Errorf("%w by %s: %s; stop it, or use another directory", ErrHeld, holder(f), path)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if err := sign(f); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f.Close, nil // which gives the lock back
}

// sign writes our process id over that of the holder before.
func sign(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt(strconv.AppendInt(nil, int64(os.Getpid()), 10), 0)
	return err
}

// holder says who has the lock.
func holder(f *os.File) string {
	if pid := pidIn(f); pid > 0 {
		return fmt.Sprintf("process %d", pid)
	}
	return "another process"
}

// pidIn is the holder's process id. It is missing, and 0, for the moment between the holder's
// lock and its sign.
func pidIn(f *os.File) int {
	b := make([]byte, 20) // no process id is longer
	n, _ := f.ReadAt(b, 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil {
		return 0
	}
	return pid
}
