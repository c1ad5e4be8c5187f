package seccomp

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_X86_64

// The calls that newer architectures do not have any more, as in calls_linux.go.
var (
	olderHarmless = []uint32{
		unix.SYS_ACCESS, unix.SYS_STAT, unix.SYS_LSTAT, unix.SYS_READLINK, unix.SYS_GETDENTS,
		unix.SYS_MKDIR, unix.SYS_RMDIR, unix.SYS_LINK, unix.SYS_SYMLINK, unix.SYS_UNLINK, unix.SYS_RENAME,
		unix.SYS_DUP2, unix.SYS_PIPE, unix.SYS_POLL, unix.SYS_SELECT, unix.SYS_EPOLL_CREATE, unix.SYS_EPOLL_WAIT,
		unix.SYS_EVENTFD, unix.SYS_SIGNALFD, unix.SYS_INOTIFY_INIT,
		unix.SYS_FORK, unix.SYS_VFORK, unix.SYS_GETPGRP, unix.SYS_PAUSE, unix.SYS_ALARM, unix.SYS_TIME,
		unix.SYS_ARCH_PRCTL,
		// Called by what the kernel puts into a traced process, never by a program: without
		// them an operator's uprobe would end the plugin.
		unix.SYS_URETPROBE, unix.SYS_UPROBE,
	}
	olderRefused = []uint32{unix.SYS_IOPL, unix.SYS_IOPERM}
	olderAbsent  = []uint32{
		unix.SYS_MODIFY_LDT, // segments of 16-bit programs
		unix.SYS_AFS_SYSCALL, unix.SYS_CREATE_MODULE, unix.SYS_EPOLL_CTL_OLD, unix.SYS_EPOLL_WAIT_OLD, unix.SYS_GETPMSG,
		unix.SYS_GET_KERNEL_SYMS, unix.SYS_GET_THREAD_AREA, unix.SYS_PUTPMSG, unix.SYS_QUERY_MODULE, unix.SYS_SECURITY,
		unix.SYS_SET_THREAD_AREA, unix.SYS_SYSFS, unix.SYS_TUXCALL, unix.SYS_USELIB, unix.SYS_USTAT, unix.SYS_VSERVER, unix.SYS__SYSCTL,
	}
	olderHostPaths = []uint32{unix.SYS_CHOWN, unix.SYS_LCHOWN, unix.SYS_UTIME, unix.SYS_UTIMES, unix.SYS_FUTIMESAT}
)

// older decides the calls that only this architecture has.
func (r *rules) older() {
	r.decide(allow, olderHarmless...)
	r.decide(denied, olderRefused...)
	r.decide(missing, olderAbsent...)
	r.decide(r.hostPath(allow), olderHostPaths...)
	r.decide(r.opened(1, 2), unix.SYS_OPEN)
	r.decide(r.mode(1, allow), unix.SYS_CREAT)
	r.decide(r.device(1), unix.SYS_MKNOD)
	r.decide(r.hostPath(r.mode(1, allow)), unix.SYS_CHMOD)
}
