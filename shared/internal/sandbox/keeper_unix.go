//go:build unix

package sandbox

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// keeperName is argv[0] of a keeper. No program of ours is installed under it.
const keeperName = "stavily-keeper"

// keeperProcess is this program under another name, which outlives an agent that is
// killed. How it knows what to end then is the platform's.
type keeperProcess struct {
	sync.Mutex // guards the fields below, and those of who embeds it
	pid        int
	feed       *os.File // its standard input, whose end is the agent's; nil while there is none
}

// start starts one from this program's file. The caller holds the lock.
func (k *keeperProcess) start(path string, env ...string) error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start the keeper of plugins: %w", err)
	}
	defer r.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		w.Close()
		return fmt.Errorf("start the keeper of plugins: %w", err)
	}
	defer null.Close()
	children.Lock() // it is in another session, and no stray
	defer children.Unlock()
	pid, err := syscall.ForkExec(path, []string{keeperName}, &syscall.ProcAttr{
		Dir: "/", Env: slices.Concat(helperEnv, env), Files: []uintptr{r.Fd(), null.Fd(), null.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		w.Close()
		return fmt.Errorf("start the keeper of plugins: %w", err)
	}
	children.ours[pid] = true
	k.pid, k.feed = pid, w
	return nil
}

// lives reports whether it is there, and clears up after one that is not. The caller
// holds the lock.
func (k *keeperProcess) lives() bool {
	if k.feed == nil {
		return false
	}
	if pid, err := unix.Wait4(k.pid, nil, unix.WNOHANG, nil); pid == 0 && err == nil {
		return true
	}
	k.feed.Close()
	k.feed = nil
	children.Lock()
	defer children.Unlock()
	delete(children.ours, k.pid)
	return false
}
