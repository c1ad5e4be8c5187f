//go:build unix

package sandbox

import (
	"fmt"
	"runtime"
	"sync"
	"syscall"
)

// forkThread is the thread that all children are forked by.
var forkThread = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go forkLoop(work)
	return work
})

// forkLoop lives as long as the process. Its thread is locked for ever: were it to
// end, PDEATHSIG would kill every plugin.
func forkLoop(work <-chan func()) {
	runtime.LockOSThread()
	adopt()
	for f := range work {
		f()
	}
}

// onForkThread makes a process by fork and registers it as a child that we started.
func onForkThread(fork func() (int, error)) (pid int, err error) {
	done := make(chan struct{})
	forkThread() <- func() {
		defer close(done)
		children.Lock()
		defer children.Unlock()
		if pid, err = fork(); err == nil {
			children.ours[pid] = true
		}
	}
	<-done
	return pid, err
}

// children are the processes that this program started and has not reaped.
var children = struct {
	sync.Mutex // held while forking, so that a child is never seen unregistered
	ours       map[int]bool
}{ours: make(map[int]bool)}

// abandon ends a process that did not become a plugin.
func (t *tree) abandon() {
	_ = syscall.Kill(t.pid, syscall.SIGKILL) // dead already, mostly
	t.await()
	closed := make(chan struct{})
	close(closed)
	t.reap(closed)
}

// execError says what execve(2) means by its errno.
func execError(errno syscall.Errno) error {
	switch errno {
	case syscall.ENOENT:
		return fmt.Errorf("execute it: %w: the interpreter that its first line names is missing", errno)
	case syscall.ENOEXEC:
		return fmt.Errorf("execute it: %w: a script needs a first line such as #!/bin/sh", errno)
	case syscall.E2BIG:
		return fmt.Errorf("execute it: %w: pass less as arguments and environment", errno)
	}
	return fmt.Errorf("execute it: %w", errno)
}
