package sandbox

import (
	"fmt"
	"math"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// job is a Job Object: it holds a tree of processes to limits, tells by a completion
// port which of them it held, and ends all of them with its last handle.
type job struct {
	handle, port windows.Handle
	limits       Limits
	reason       Reason // the first limit that it held; the owner's
}

// Values that package windows does not have: winnt.h.
const (
	cpuRateEnable  = 0x1
	cpuRateHardCap = 0x4
	cpuRateWhole   = 10_000 // of all processors

	msgEndOfJobTime       = 1
	msgEndOfProcessTime   = 2
	msgActiveProcessLimit = 3
	msgJobMemoryLimit     = 10
)

// cpuRate is JOBOBJECT_CPU_RATE_CONTROL_INFORMATION.
type cpuRate struct{ flags, rate uint32 }

// completionPort is JOBOBJECT_ASSOCIATE_COMPLETION_PORT.
type completionPort struct {
	key  uintptr
	port windows.Handle
}

// jobAccounting is JOBOBJECT_BASIC_ACCOUNTING_INFORMATION, with times in 100 ns.
type jobAccounting struct {
	user, kernel, periodUser, periodKernel           int64
	faults, processes, activeProcesses, terminations uint32
}

// noUI keeps a plugin from what windows, clipboards and desktops share, and from
// ending the session.
const noUI = windows.JOB_OBJECT_UILIMIT_DESKTOP | windows.JOB_OBJECT_UILIMIT_DISPLAYSETTINGS | windows.JOB_OBJECT_UILIMIT_EXITWINDOWS |
	windows.JOB_OBJECT_UILIMIT_GLOBALATOMS | windows.JOB_OBJECT_UILIMIT_HANDLES | windows.JOB_OBJECT_UILIMIT_READCLIPBOARD |
	windows.JOB_OBJECT_UILIMIT_SYSTEMPARAMETERS | windows.JOB_OBJECT_UILIMIT_WRITECLIPBOARD

// newJob makes a job that ends its processes with its last handle, and that none of
// them can leave.
func newJob(l Limits) (*job, error) {
	j := &job{limits: l}
	var err error
	if j.handle, err = windows.CreateJobObject(nil, nil); err != nil {
		return nil, fmt.Errorf("make a job object: %w", err)
	}
	if j.port, err = windows.CreateIoCompletionPort(windows.InvalidHandle, 0, 0, 1); err != nil {
		j.close()
		return nil, fmt.Errorf("make a completion port: %w", err)
	}
	ui := windows.JOBOBJECT_BASIC_UI_RESTRICTIONS{UIRestrictionsClass: noUI}
	port := completionPort{port: j.port}
	basic := basicLimits(l)
	settings := []struct {
		class uint32
		value unsafe.Pointer
		size  uintptr
	}{
		{windows.JobObjectExtendedLimitInformation, unsafe.Pointer(&basic), unsafe.Sizeof(basic)},
		{windows.JobObjectBasicUIRestrictions, unsafe.Pointer(&ui), unsafe.Sizeof(ui)},
		{windows.JobObjectAssociateCompletionPortInformation, unsafe.Pointer(&port), unsafe.Sizeof(port)},
	}
	for _, s := range settings {
		if _, err := windows.SetInformationJobObject(j.handle, s.class, uintptr(s.value), uint32(s.size)); err != nil {
			j.close()
			return nil, fmt.Errorf("limit a job object (class %d): %w", s.class, err)
		}
	}
	j.limitCPU(l.CPUShare)
	return j, nil
}

func basicLimits(l Limits) windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION {
	var info windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	b := &info.BasicLimitInformation
	b.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | windows.JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION
	if l.Memory > 0 {
		b.LimitFlags |= windows.JOB_OBJECT_LIMIT_JOB_MEMORY
		info.JobMemoryLimit = uintptr(l.Memory)
	}
	if l.Processes > 0 {
		b.LimitFlags |= windows.JOB_OBJECT_LIMIT_ACTIVE_PROCESS
		b.ActiveProcessLimit = uint32(l.Processes)
	}
	if l.CPU > 0 {
		b.LimitFlags |= windows.JOB_OBJECT_LIMIT_PROCESS_TIME
		b.PerProcessUserTimeLimit = int64(l.CPU / 100) // units of 100 ns
	}
	return info
}

// limitCPU holds the tree to a share of the processors. Where another limit of that
// kind holds already (some terminal servers), Windows refuses, and that one holds.
func (j *job) limitCPU(share float64) {
	whole := float64(runtime.NumCPU())
	if share <= 0 || share >= whole {
		return
	}
	rate := cpuRate{cpuRateEnable | cpuRateHardCap, uint32(max(1, math.Ceil(share/whole*cpuRateWhole)))}
	_, _ = windows.SetInformationJobObject(j.handle, windows.JobObjectCpuRateControlInformation, uintptr(unsafe.Pointer(&rate)), uint32(unsafe.Sizeof(rate)))
}

func (j *job) close() {
	for _, h := range []windows.Handle{j.port, j.handle} {
		if h != 0 {
			windows.CloseHandle(h)
		}
	}
}

// jobUsage is what a job took.
type jobUsage struct {
	peak      int64 // committed bytes
	processes int   // now
	cpu       time.Duration
}

func (j *job) usage() jobUsage {
	var info windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	var u jobUsage
	if windows.QueryInformationJobObject(j.handle, windows.JobObjectExtendedLimitInformation, uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)), nil) == nil {
		u.peak = int64(info.PeakJobMemoryUsed)
	}
	var a jobAccounting
	if windows.QueryInformationJobObject(j.handle, windows.JobObjectBasicAccountingInformation, uintptr(unsafe.Pointer(&a)), uint32(unsafe.Sizeof(a)), nil) == nil {
		u.processes = int(a.activeProcesses)
		u.cpu = time.Duration(a.user+a.kernel) * 100
	}
	return u
}

// exceeded is the first limit that the job held, from its messages; empty for none.
func (j *job) exceeded() Reason {
	reasons := map[uint32]Reason{
		msgEndOfJobTime: CPULimit, msgEndOfProcessTime: CPULimit, msgActiveProcessLimit: ProcessLimit, msgJobMemoryLimit: MemoryLimit,
	}
	for j.reason == "" {
		var message uint32
		var key uintptr
		var value *windows.Overlapped
		if windows.GetQueuedCompletionStatus(j.port, &message, &key, &value, 0) != nil {
			break // there is no more
		}
		j.reason = reasons[message]
	}
	return j.reason
}
