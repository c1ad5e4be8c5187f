package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// tree is one process in a Job Object of its own. The job ends with its last
// handle, so with the agent too.
type tree struct {
	pid     int
	process *os.Process
	job     *job
	state   *os.ProcessState
	err     error
}

// launch starts the program suspended, puts it into its job and lets it go, so
// that no child of it can be outside.
func launch(_ context.Context, s *Spec) (*tree, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	files := []*os.File{s.Stdin, s.Stdout, s.Stderr}
	for i, f := range files {
		if f == nil {
			files[i] = null
		}
	}
	var token windows.Token // none is the agent's own
	if s.confined(Limited) {
		if token, err = restrictedToken(s); err != nil {
			return nil, err
		}
		defer token.Close()
	}
	if s.lowers() {
		if err := openToLow(s.Temp, s.Home, s.Socket); err != nil {
			return nil, err
		}
	}
	job, err := newJob(s.Limits)
	if err != nil {
		return nil, err
	}
	const hidden = windows.CREATE_SUSPENDED | windows.CREATE_NEW_PROCESS_GROUP | windows.CREATE_NO_WINDOW
	process, err := os.StartProcess(s.Path, s.Args, &os.ProcAttr{
		Dir: s.Dir, Env: s.Env, Files: files,
		Sys: &syscall.SysProcAttr{CreationFlags: hidden, HideWindow: true, Token: syscall.Token(token)},
	})
	if err != nil {
		job.close()
		return nil, err
	}
	t := &tree{pid: process.Pid, process: process, job: job}
	if err := t.release(); err != nil {
		process.Kill()
		process.Wait()
		job.close()
		return nil, err
	}
	return t, nil
}

// release puts the suspended process into its job and resumes it.
func (t *tree) release() error {
	h, err := windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, uint32(t.pid))
	if err != nil {
		return fmt.Errorf("open the process: %w", err)
	}
	defer windows.CloseHandle(h)
	if err := windows.AssignProcessToJobObject(t.job.handle, h); err != nil {
		return fmt.Errorf("put the process into its job object: %w", err)
	}
	return resume(uint32(t.pid))
}

// resume lets the only thread of a suspended process run. The handle that
// CreateProcess gave is closed by the standard library, hence the search.
func resume(pid uint32) error {
	snapshot, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPTHREAD, 0)
	if err != nil {
		return fmt.Errorf("list threads: %w", err)
	}
	defer windows.CloseHandle(snapshot)
	entry := windows.ThreadEntry32{Size: uint32(unsafe.Sizeof(windows.ThreadEntry32{}))}
	for err = windows.Thread32First(snapshot, &entry); err == nil; err = windows.Thread32Next(snapshot, &entry) {
		if entry.OwnerProcessID != pid {
			continue
		}
		thread, err := windows.OpenThread(windows.THREAD_SUSPEND_RESUME, false, entry.ThreadID)
		if err != nil {
			return fmt.Errorf("open the first thread: %w", err)
		}
		defer windows.CloseHandle(thread)
		if _, err := windows.ResumeThread(thread); err != nil {
			return fmt.Errorf("resume the first thread: %w", err)
		}
		return nil
	}
	return errors.New("the suspended process has no thread")
}

// await blocks until the first process ended.
func (t *tree) await() { t.state, t.err = t.process.Wait() }

// terminate reports that there is no way to ask: a process without a console gets
// no signal. The stdio contract asks by its own means before.
func (t *tree) terminate() bool { return false }

// kill ends the whole job.
func (t *tree) kill(ended <-chan struct{}) error {
	if err := windows.TerminateJobObject(t.job.handle, 1); err != nil {
		return fmt.Errorf("end the job object of process %d: %w", t.pid, err)
	}
	select {
	case <-ended:
		return nil
	case <-time.After(deathLimit):
		return fmt.Errorf("process %d does not die: it hangs in the kernel", t.pid)
	}
}

// reap gives the exit status and closes the job.
func (t *tree) reap(ended <-chan struct{}) ending {
	defer t.job.close()
	u := t.job.usage()
	select {
	case <-ended:
	default:
		return ending{exit: Exit{Code: -1}}
	}
	if t.err != nil {
		return ending{exit: Exit{Code: -1}, err: fmt.Errorf("wait for process %d: %w", t.pid, t.err)}
	}
	exit := Exit{Code: t.state.ExitCode(), CPU: max(u.cpu, t.state.UserTime()+t.state.SystemTime()), MaxRSS: u.peak}
	if exit.Code != 0 {
		exit.Reason = t.job.exceeded()
	}
	return ending{exit: exit}
}

// usage adds up the tree. What the job refuses because of a limit counts as above it.
func (t *tree) usage() usage {
	u := t.job.usage()
	out := usage{resident: u.peak, processes: u.processes}
	switch t.job.exceeded() {
	case MemoryLimit:
		out.resident = max(out.resident, t.job.limits.Memory+1)
	case ProcessLimit:
		out.processes = max(out.processes, t.job.limits.Processes+1)
	}
	return out
}
