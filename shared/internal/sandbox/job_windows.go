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

// Main does nothing: a Job Object needs no launcher.
func Main() {}

// tree is one process in a Job Object of its own. The job ends with its last
// handle, so with the agent too.
type tree struct {
	pid     int
	process *os.Process
	job     windows.Handle
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
	job, err := newJob(s.Limits)
	if err != nil {
		return nil, err
	}
	const hidden = windows.CREATE_SUSPENDED | windows.CREATE_NEW_PROCESS_GROUP | windows.CREATE_NO_WINDOW
	process, err := os.StartProcess(s.Path, s.Args, &os.ProcAttr{
		Dir: s.Dir, Env: s.Env, Files: files,
		Sys: &syscall.SysProcAttr{CreationFlags: hidden, HideWindow: true},
	})
	if err != nil {
		windows.CloseHandle(job)
		return nil, err
	}
	t := &tree{pid: process.Pid, process: process, job: job}
	if err := t.release(); err != nil {
		process.Kill()
		process.Wait()
		windows.CloseHandle(job)
		return nil, err
	}
	return t, nil
}

// newJob makes a job that ends its processes with its last handle. The watchdog
// holds the memory limit by name; the job's own, at twice that, refuses the
// allocations of a plugin that is faster than the watchdog.
func newJob(l Limits) (windows.Handle, error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return 0, fmt.Errorf("make a job object: %w", err)
	}
	var info windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	info.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | windows.JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION
	if l.Memory > 0 {
		info.BasicLimitInformation.LimitFlags |= windows.JOB_OBJECT_LIMIT_JOB_MEMORY
		info.JobMemoryLimit = 2 * uintptr(l.Memory)
	}
	if l.Processes > 0 {
		info.BasicLimitInformation.LimitFlags |= windows.JOB_OBJECT_LIMIT_ACTIVE_PROCESS
		info.BasicLimitInformation.ActiveProcessLimit = uint32(l.Processes)
	}
	if l.CPU > 0 {
		info.BasicLimitInformation.LimitFlags |= windows.JOB_OBJECT_LIMIT_PROCESS_TIME
		info.BasicLimitInformation.PerProcessUserTimeLimit = int64(l.CPU / 100) // units of 100 ns
	}
	_, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation, uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)))
	if err != nil {
		windows.CloseHandle(job)
		return 0, fmt.Errorf("limit a job object: %w", err)
	}
	return job, nil
}

// release puts the suspended process into its job and resumes it.
func (t *tree) release() error {
	h, err := windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, uint32(t.pid))
	if err != nil {
		return fmt.Errorf("open the process: %w", err)
	}
	defer windows.CloseHandle(h)
	if err := windows.AssignProcessToJobObject(t.job, h); err != nil {
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
	if err := windows.TerminateJobObject(t.job, 1); err != nil {
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
	peak := t.usage().resident
	defer windows.CloseHandle(t.job)
	select {
	case <-ended:
	default:
		return ending{exit: Exit{Code: -1}}
	}
	if t.err != nil {
		return ending{exit: Exit{Code: -1}, err: fmt.Errorf("wait for process %d: %w", t.pid, t.err)}
	}
	return ending{exit: Exit{Code: t.state.ExitCode(), CPU: t.state.UserTime() + t.state.SystemTime(), MaxRSS: peak}}
}

// usage gives the job's peak of committed memory, the figure that the job keeps.
func (t *tree) usage() usage {
	var info windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	err := windows.QueryInformationJobObject(t.job, windows.JobObjectExtendedLimitInformation, uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)), nil)
	if err != nil {
		return usage{}
	}
	return usage{resident: int64(info.PeakJobMemoryUsed)}
}
