package sandbox

import (
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// process is what the kernel tells of one (sysctl kern.proc).
type process struct {
	pid, parent, group int
	start              unix.Timeval // with pid, it is one process for ever
	zombie             bool
}

// zombie is SZOMB of sys/proc.h.
const zombie = 5

// censusAge is how old a list of all processes may be that watchdogs look at: many of
// them share one, which takes half a millisecond.
const censusAge = 20 * time.Millisecond

var census struct {
	sync.Mutex
	at   time.Time
	list []process
}

// processes lists this user's, at most that old.
func processes(age time.Duration) []process {
	census.Lock()
	defer census.Unlock()
	if time.Since(census.at) < age {
		return census.list
	}
	infos, err := unix.SysctlKinfoProcSlice("kern.proc.uid", os.Geteuid())
	if err != nil {
		return nil // then nothing is known but the process group
	}
	list := make([]process, 0, len(infos))
	for i := range infos {
		p, e := &infos[i].Proc, &infos[i].Eproc
		list = append(list, process{
			pid: int(p.P_pid), parent: int(e.Ppid), group: int(e.Pgid), start: p.P_starttime, zombie: p.P_stat == zombie,
		})
	}
	census.at, census.list = time.Now(), list
	return list
}

// startOf tells when a process began; zero when it is gone.
func startOf(pid int) unix.Timeval {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return unix.Timeval{}
	}
	return info.Proc.P_starttime
}

// Of proc_info(2), which libproc(3) calls: flavor PROC_PIDTASKINFO of call
// PROC_INFO_CALL_PIDINFO fills struct proc_taskinfo, of 96 bytes.
const (
	callPIDInfo  = 2
	flavorTask   = 4
	taskInfoSize = 96
)

// resident is the resident size of one process in bytes; 0 when it is gone.
func resident(pid int) int64 {
	var info [taskInfoSize / 8]uint64
	n, _, errno := unix.Syscall6(unix.SYS_PROC_INFO, callPIDInfo, uintptr(pid), flavorTask, 0, uintptr(unsafe.Pointer(&info)), taskInfoSize)
	if errno != 0 || n != taskInfoSize {
		return 0
	}
	return int64(info[1]) // pti_virtual_size, pti_resident_size, …
}
