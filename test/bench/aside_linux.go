package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// aside starts a process that runs where a processor has next to nothing else to do: with SCHED_IDLE,
// which it has from the thread that starts it, and in a session of its own, of the least weight.
// For the kernel weighs sessions first, and only within one what its processes are (sched(7), autogroup).
func aside(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its goroutine
		attr := unix.SchedAttr{Policy: unix.SCHED_IDLE}
		attr.Size = uint32(unsafe.Sizeof(attr))
		if err := unix.SchedSetAttr(0, &attr, 0); err != nil {
			failed <- fmt.Errorf("sched_setattr: %w", err)
			return
		}
		failed <- cmd.Start()
	}()
	if err := <-failed; err != nil {
		return err
	}
	err := os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", cmd.Process.Pid), []byte("19"), 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a kernel that does not weigh sessions
	}
	return err
}

// granted is how much of the processor time that this process asked for it got, in per cent: the
// rest its threads were ready and waited for others.
func granted() float64 {
	threads, _ := filepath.Glob("/proc/self/task/*/schedstat")
	var ran, waited float64
	for _, name := range threads {
		var r, w float64
		if text, err := os.ReadFile(name); err == nil { // else the thread has ended
			_, _ = fmt.Sscan(string(text), &r, &w)
		}
		ran, waited = ran+r, waited+w
	}
	return 100 * ran / (ran + waited)
}
