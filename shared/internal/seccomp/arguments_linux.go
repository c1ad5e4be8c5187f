package seccomp

import "golang.org/x/sys/unix"

// arguments decides the calls of all architectures that depend on their arguments.
func (r *rules) arguments() {
	r.files()
	r.processes()
	r.signalling()
	r.sockets()
	r.decide(r.ioctl(), unix.SYS_IOCTL)
	r.decide(r.prctl(), unix.SYS_PRCTL)
}

const (
	setID   = unix.S_ISUID | unix.S_ISGID
	creates = unix.O_CREAT | unix.O_TMPFILE&^unix.O_DIRECTORY
)

// mode refuses a file mode with the set-user-ID or set-group-ID bit: such a file in
// the process's directory would give its identity to whoever runs it.
func (r *rules) mode(arg uint32, otherwise *node) *node {
	return r.bits(low(arg), setID, denied, otherwise)
}

// opened looks at the mode only where the flags make the kernel look; else the
// argument is whatever the register held.
func (r *rules) opened(flags, mode uint32) *node {
	return r.bits(low(flags), creates, r.mode(mode, allow), allow)
}

// device refuses device nodes; named pipes, sockets and files may be made.
func (r *rules) device(arg uint32) *node {
	return r.equal(low(arg).masked(unix.S_IFMT), denied, r.mode(arg, allow), unix.S_IFCHR, unix.S_IFBLK)
}

func (r *rules) files() {
	// Gigabytes within a millisecond, too fast for anybody who watches what is stored.
	// posix_fallocate(3) writes instead, others do without.
	r.decide(errno(unix.EOPNOTSUPP), unix.SYS_FALLOCATE)
	r.decide(r.opened(2, 3), unix.SYS_OPENAT)
	r.decide(r.device(2), unix.SYS_MKNODAT)
	r.decide(r.mode(1, allow), unix.SYS_FCHMOD)
	r.decide(r.hostPath(r.mode(2, allow)), unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2)
	r.decide(r.unless(r.Namespaced || r.LandlockABI >= 3, denied), unix.SYS_TRUNCATE)
	r.decide(r.unless(r.Namespaced, r.null(1, allow, denied)), unix.SYS_UTIMENSAT) // without a path it is futimens
	r.decide(r.unless(!r.signals(), r.equal(low(1), denied, allow, unix.F_SETOWN, unix.F_SETOWN_EX)), unix.SYS_FCNTL)
}

const (
	namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
		unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET // CLONE_NEWTIME is a signal number to clone
	unshared = unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SYSVSEM // what unshare may take out of sharing among threads
)

func (r *rules) processes() {
	// CLONE_PARENT would make the child the agent's.
	r.decide(r.bits(low(0), namespaces|unix.CLONE_PARENT, denied, allow), unix.SYS_CLONE)
	r.decide(r.bits(low(0), whole&^unshared, denied, allow), unix.SYS_UNSHARE)
	r.decide(r.equal(low(0), allow, denied, perLinux, askPersonality), unix.SYS_PERSONALITY)

	self := r.equal(low(0), allow, denied, 0)
	r.decide(self, unix.SYS_SCHED_SETAFFINITY, unix.SYS_SCHED_SETPARAM, unix.SYS_SCHED_SETSCHEDULER, unix.SYS_SCHED_SETATTR)
	nobodyElse := r.equal(low(1), allow, denied, 0)
	r.decide(r.equal(low(0), nobodyElse, denied, unix.PRIO_PROCESS), unix.SYS_SETPRIORITY)
	r.decide(r.equal(low(0), nobodyElse, denied, ioprioProcess), unix.SYS_IOPRIO_SET)
	// Asking by number tells about the host's processes. The group of a child stays: to
	// end it, programs ask for it.
	r.decide(r.unless(r.Namespaced, self), unix.SYS_GETSID, unix.SYS_SCHED_GETAFFINITY, unix.SYS_SCHED_GETATTR,
		unix.SYS_SCHED_GETPARAM, unix.SYS_SCHED_GETSCHEDULER, unix.SYS_SCHED_RR_GET_INTERVAL)
	r.decide(r.unless(r.Namespaced, r.equal(low(0), nobodyElse, denied, unix.PRIO_PROCESS)), unix.SYS_GETPRIORITY)
	r.decide(r.unless(r.Namespaced, r.equal(low(0), nobodyElse, denied, ioprioProcess)), unix.SYS_IOPRIO_GET)

	// The limit of locks marks the launch: it may be read, not set.
	r.decide(r.equal(low(0), denied, allow, rlimitLocks), unix.SYS_SETRLIMIT)
	set := r.equal(low(1), r.null(2, allow, denied), allow, rlimitLocks)
	r.decide(r.equal(low(0), set, denied, 0), unix.SYS_PRLIMIT64)

	// A further filter only takes away. A listener is the agent's, not the plugin's.
	listener := r.bits(low(1), unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, denied, allow)
	r.decide(r.equal(low(0), listener, allow, unix.SECCOMP_SET_MODE_FILTER), unix.SYS_SECCOMP)
}

// Values that package unix does not have: linux/personality.h, linux/ioprio.h,
// asm-generic/resource.h.
const (
	perLinux       = 0
	askPersonality = 0xffffffff
	ioprioProcess  = 1
	rlimitLocks    = 10
)

// signalling holds signals where neither a namespace nor Landlock does. Numbers say
// nothing about whose process it is, so only the broker can let a parent end its
// children; without one, what stays is the own group (pid 0), asking whether a
// process is there (signal 0) and SIGURG between threads, on which every Go program
// relies.
func (r *rules) signalling() {
	if !r.signals() {
		r.decide(allow, unix.SYS_KILL, unix.SYS_TKILL, unix.SYS_TGKILL, unix.SYS_RT_SIGQUEUEINFO, unix.SYS_RT_TGSIGQUEUEINFO, unix.SYS_PIDFD_SEND_SIGNAL)
		return
	}
	other := denied
	if r.Broker {
		other = notify
	}
	r.decide(r.equal(low(1), allow, r.equal(low(0), allow, other, 0), 0), unix.SYS_KILL)
	r.decide(r.equal(low(1), allow, other, 0), unix.SYS_TKILL)
	r.decide(r.equal(low(2), allow, other, 0, uint32(unix.SIGURG)), unix.SYS_TGKILL)
	r.decide(denied, unix.SYS_RT_SIGQUEUEINFO, unix.SYS_RT_TGSIGQUEUEINFO)
	// Go programs that find it missing use kill, which the broker can answer.
	r.decide(missing, unix.SYS_PIDFD_SEND_SIGNAL)
}

// prctl allows the options that concern the caller alone. An option that is not
// known here gets what an older kernel says of it.
func (r *rules) prctl() *node {
	options := map[uint32]*node{
		// The death of its parent ends it: that is how it goes when the agent does.
		unix.PR_SET_PDEATHSIG: denied,
		// Becoming the parent of what its children leave is fine, ceasing to be is not.
		unix.PR_SET_CHILD_SUBREAPER: r.equal(low(1), denied, allow, 0),
		unix.PR_SET_MM:              denied,
		unix.PR_SCHED_CORE:          denied, // takes a process id
		unix.PR_SET_MEMORY_MERGE:    denied,

		unix.PR_SET_SYSCALL_USER_DISPATCH: denied,

		unix.PR_SET_PTRACER: allow,
		unix.PR_SET_VMA:     allow,
		unix.PR_GET_AUXV:    allow,
	}
	for _, s := range [][2]uint32{
		{unix.PR_GET_PDEATHSIG, unix.PR_GET_MEMORY_MERGE},
		{unix.PR_GET_SHADOW_STACK_STATUS, unix.PR_LOCK_SHADOW_STACK_STATUS},
	} {
		for option := s[0]; option <= s[1]; option++ {
			if options[option] == nil {
				options[option] = allow
			}
		}
	}
	return r.search(low(0), table(options, errno(unix.EINVAL)))
}
