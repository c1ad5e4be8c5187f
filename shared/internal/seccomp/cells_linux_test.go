package seccomp

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

const big = 1 << 32 // a bit that the kernel does not look at in an int

// cell is one call under the four policies of filter_linux_test.go.
type cell struct {
	nr                        uint32
	args                      []uint64
	full, confined, old, bare string
}

func same(want string, nr uint32, args ...uint64) cell { return cell{nr, args, want, want, want, want} }

// host is a call that namespaces make harmless.
func host(nr uint32, args ...uint64) cell {
	return cell{nr, args, "allow", "EPERM", "EPERM", "EPERM"}
}

func (c cell) check(t *testing.T, network Net) {
	t.Helper()
	for _, under := range []struct {
		name string
		Policy
		want string
	}{{"full", full, c.full}, {"confined", confined, c.confined}, {"old", old, c.old}, {"bare", bare, c.bare}} {
		if got := decision(t, filter(t, with(under.Policy, network)), c.nr, c.args...); got != under.want {
			t.Errorf("%s, network %v: call %d%#x: %s, want %s", under.name, network, c.nr, c.args, got, under.want)
		}
	}
}

const at = uint64(1<<64 - 100) // AT_FDCWD

var fileCells = []cell{
	same("allow", unix.SYS_OPENAT, at, 1, unix.O_RDONLY, 0o4755), // the mode is not looked at
	same("allow", unix.SYS_OPENAT, at, 1, unix.O_CREAT|unix.O_WRONLY, 0o755),
	same("allow", unix.SYS_OPENAT, at, 1, unix.O_CREAT|unix.O_WRONLY, 0o1644),
	same("EPERM", unix.SYS_OPENAT, at, 1, unix.O_CREAT|unix.O_WRONLY, 0o4755),
	same("EPERM", unix.SYS_OPENAT, at, 1, unix.O_CREAT|unix.O_WRONLY|big, 0o2755|big),
	same("EPERM", unix.SYS_OPENAT, at, 1, unix.O_TMPFILE|unix.O_RDWR, 0o6755),
	same("allow", unix.SYS_OPENAT, at, 1, unix.O_DIRECTORY, 0o6755),
	same("ENOSYS", unix.SYS_OPENAT2, at, 1, 2, 24),
	same("allow", unix.SYS_MKNODAT, at, 1, unix.S_IFIFO|0o600, 0),
	same("allow", unix.SYS_MKNODAT, at, 1, unix.S_IFSOCK|0o600, 0),
	same("allow", unix.SYS_MKNODAT, at, 1, 0o600, 0),
	same("EPERM", unix.SYS_MKNODAT, at, 1, unix.S_IFCHR|0o600, 259),
	same("EPERM", unix.SYS_MKNODAT, at, 1, unix.S_IFBLK|0o600|big, 259),
	same("EPERM", unix.SYS_MKNODAT, at, 1, unix.S_IFREG|unix.S_ISUID|0o755, 0),
	same("allow", unix.SYS_FCHMOD, 3, 0o777),
	same("allow", unix.SYS_FCHMOD, 3, 0o1777),
	same("EPERM", unix.SYS_FCHMOD, 3, 0o4755),
	same("EPERM", unix.SYS_FCHMOD, 3, 0o2755),
	same("EPERM", unix.SYS_FCHMOD, 3, 0o6755|1<<16),
	host(unix.SYS_FCHMODAT, at, 1, 0o600),
	same("EPERM", unix.SYS_FCHMODAT, at, 1, 0o4600),
	host(unix.SYS_FCHMODAT2, at, 1, 0o600, 0),
	same("EPERM", unix.SYS_FCHMODAT2, at, 1, 0o2600, 0),
	same("allow", unix.SYS_FCHOWN, 3, 0, 0),
	host(unix.SYS_FCHOWNAT, at, 1, 0, 0, 0),
	same("allow", unix.SYS_UTIMENSAT, 3, 0, 1, 0),
	host(unix.SYS_UTIMENSAT, 3, 1, 1, 0),
	host(unix.SYS_UTIMENSAT, 3, big, 1, 0),
	{unix.SYS_TRUNCATE, []uint64{1, 0}, "allow", "allow", "EPERM", "EPERM"},
	same("allow", unix.SYS_FTRUNCATE, 3, 0),
	host(unix.SYS_INOTIFY_ADD_WATCH, 3, 1, 2),
	host(unix.SYS_SETXATTR, 1, 2, 3, 4, 5),
	same("allow", unix.SYS_FSETXATTR, 1, 2, 3, 4, 5),
	same("allow", unix.SYS_FCNTL, 3, unix.F_SETFL, 0),
	same("allow", unix.SYS_FCNTL, 3, unix.F_DUPFD_CLOEXEC, 0),
	same("allow", unix.SYS_FCNTL, 3, unix.F_OFD_SETLK, 0),
	{unix.SYS_FCNTL, []uint64{3, unix.F_SETOWN, 77}, "allow", "allow", "EPERM", "EPERM"},
	{unix.SYS_FCNTL, []uint64{3, unix.F_SETOWN_EX | big, 77}, "allow", "allow", "EPERM", "EPERM"},
}

var processCells = []cell{
	same("allow", unix.SYS_CLONE, uint64(unix.SIGCHLD)),
	same("allow", unix.SYS_CLONE, unix.CLONE_VM|unix.CLONE_VFORK|uint64(unix.SIGCHLD)),
	same("allow", unix.SYS_CLONE, 0x3d0f00), // pthread_create of glibc
	same("allow", unix.SYS_CLONE, 0x7d0f00), // and of musl
	same("EPERM", unix.SYS_CLONE, unix.CLONE_PARENT|uint64(unix.SIGCHLD)),
	same("ENOSYS", unix.SYS_CLONE3, 1, 88),
	same("allow", unix.SYS_UNSHARE, 0),
	same("allow", unix.SYS_UNSHARE, unix.CLONE_FS|unix.CLONE_FILES),
	same("EPERM", unix.SYS_UNSHARE, unix.CLONE_NEWUSER),
	same("EPERM", unix.SYS_UNSHARE, unix.CLONE_NEWTIME),
	same("EPERM", unix.SYS_UNSHARE, unix.CLONE_FS|unix.CLONE_NEWNS),
	same("allow", unix.SYS_PERSONALITY, 0),
	same("allow", unix.SYS_PERSONALITY, 0xffffffff),
	same("EPERM", unix.SYS_PERSONALITY, 0x0040000), // ADDR_NO_RANDOMIZE
	same("EPERM", unix.SYS_PERSONALITY, 0x0400000), // READ_IMPLIES_EXEC
	same("EPERM", unix.SYS_PERSONALITY, 8),         // PER_LINUX32
	same("allow", unix.SYS_SCHED_SETAFFINITY, 0, 8, 1),
	same("EPERM", unix.SYS_SCHED_SETAFFINITY, 77, 8, 1),
	same("EPERM", unix.SYS_SCHED_SETSCHEDULER, 77, 0, 1),
	same("EPERM", unix.SYS_SCHED_SETPARAM, 77, 1),
	same("EPERM", unix.SYS_SCHED_SETATTR, 77, 1, 0),
	same("allow", unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, 0, 10),
	same("EPERM", unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, 77, 10),
	same("EPERM", unix.SYS_SETPRIORITY, unix.PRIO_PGRP, 0, 10),
	same("EPERM", unix.SYS_SETPRIORITY, unix.PRIO_USER, 0, 10),
	same("allow", unix.SYS_GETPRIORITY, unix.PRIO_PROCESS, 0),
	host(unix.SYS_GETPRIORITY, unix.PRIO_PROCESS, 77),
	host(unix.SYS_GETPRIORITY, unix.PRIO_USER, 0),
	same("allow", unix.SYS_IOPRIO_GET, ioprioProcess, 0),
	host(unix.SYS_IOPRIO_GET, ioprioProcess, 77),
	same("allow", unix.SYS_GETSID, 0),
	host(unix.SYS_GETSID, 77),
	same("allow", unix.SYS_GETPGID, 77),
	same("allow", unix.SYS_SCHED_GETAFFINITY, 0, 8, 1),
	host(unix.SYS_SCHED_GETAFFINITY, 77, 8, 1),
	host(unix.SYS_SCHED_GETSCHEDULER, 77),
	same("EPERM", unix.SYS_SHMGET, 1, 4096, 0o1600),
	same("allow", unix.SYS_IOPRIO_SET, 1, 0, 4),
	same("EPERM", unix.SYS_IOPRIO_SET, 1, 77, 4),
	same("EPERM", unix.SYS_IOPRIO_SET, 3, 0, 4),
	same("allow", unix.SYS_SETRLIMIT, unix.RLIMIT_NOFILE, 1),
	same("EPERM", unix.SYS_SETRLIMIT, rlimitLocks, 1),
	same("EPERM", unix.SYS_SETRLIMIT, rlimitLocks|big, 1),
	same("allow", unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, 1, 1),
	same("allow", unix.SYS_PRLIMIT64, 0, rlimitLocks, 0, 1),
	same("EPERM", unix.SYS_PRLIMIT64, 0, rlimitLocks, 1, 1),
	same("EPERM", unix.SYS_PRLIMIT64, big, rlimitLocks|big, big, 1),
	same("EPERM", unix.SYS_PRLIMIT64, 77, unix.RLIMIT_NOFILE, 1, 1),
	same("EPERM", unix.SYS_PRLIMIT64, 77, unix.RLIMIT_NOFILE, 0, 1),
	same("allow", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, 1),
	same("allow", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, 1),
	same("EPERM", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, 1),
	same("allow", unix.SYS_SECCOMP, unix.SECCOMP_GET_NOTIF_SIZES, 0, 1),
	same("ENOTSUP", unix.SYS_FALLOCATE, 3, 0, 0, 64<<20),
	same("EPERM", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, 0),
	same("EPERM", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG|big, 0),
	same("EPERM", unix.SYS_PRCTL, unix.PR_SET_CHILD_SUBREAPER, 0),
	same("allow", unix.SYS_PRCTL, unix.PR_SET_CHILD_SUBREAPER, 1),
	same("EPERM", unix.SYS_PRCTL, unix.PR_SET_MM, 1),
	same("EPERM", unix.SYS_PRCTL, unix.PR_SCHED_CORE, 1),
	same("EPERM", unix.SYS_PRCTL, unix.PR_SET_SYSCALL_USER_DISPATCH, 1),
	same("allow", unix.SYS_PRCTL, unix.PR_SET_NAME, 1),
	same("allow", unix.SYS_PRCTL, unix.PR_GET_NAME, 1),
	same("allow", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1),
	same("allow", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0),
	same("allow", unix.SYS_PRCTL, unix.PR_SET_VMA, 0),
	same("allow", unix.SYS_PRCTL, unix.PR_SET_SECCOMP, 2, 1),
	same("allow", unix.SYS_PRCTL, unix.PR_CAPBSET_READ, 1),
	same("EINVAL", unix.SYS_PRCTL, 0),
	same("EINVAL", unix.SYS_PRCTL, 200),
	same("EINVAL", unix.SYS_PRCTL, whole),
}

var signalCells = []cell{
	{unix.SYS_KILL, []uint64{77, 9}, "allow", "allow", "notify", "EPERM"},
	{unix.SYS_KILL, []uint64{whole, 9}, "allow", "allow", "notify", "EPERM"},
	{unix.SYS_KILL, []uint64{big | 77, 9}, "allow", "allow", "notify", "EPERM"},
	same("allow", unix.SYS_KILL, 0, 15),
	same("allow", unix.SYS_KILL, 77, 0),
	{unix.SYS_TKILL, []uint64{77, 9}, "allow", "allow", "notify", "EPERM"},
	{unix.SYS_TGKILL, []uint64{77, 77, 9}, "allow", "allow", "notify", "EPERM"},
	same("allow", unix.SYS_TGKILL, 77, 78, uint64(unix.SIGURG)),
	same("allow", unix.SYS_TGKILL, 77, 78, 0),
	{unix.SYS_RT_SIGQUEUEINFO, []uint64{77, 9, 1}, "allow", "allow", "EPERM", "EPERM"},
	{unix.SYS_RT_TGSIGQUEUEINFO, []uint64{77, 77, 9, 1}, "allow", "allow", "EPERM", "EPERM"},
	{unix.SYS_PIDFD_SEND_SIGNAL, []uint64{3, 9, 0, 0}, "allow", "allow", "ENOSYS", "ENOSYS"},
	{unix.SYS_IOCTL, []uint64{3, fioSetOwner, 1}, "allow", "allow", "EPERM", "EPERM"},
	{unix.SYS_IOCTL, []uint64{3, siocSetGroup, 1}, "allow", "allow", "EPERM", "EPERM"},
}

var ioctlCells = []cell{
	same("allow", unix.SYS_IOCTL, 0, unix.TCGETS, 1),
	same("allow", unix.SYS_IOCTL, 0, unix.TIOCGWINSZ, 1),
	same("allow", unix.SYS_IOCTL, 0, unix.TIOCSPTLCK, 1),
	same("allow", unix.SYS_IOCTL, 0, 0x5421, 1), // FIONBIO
	same("allow", unix.SYS_IOCTL, 0, unix.SIOCGIFCONF, 1),
	same("EPERM", unix.SYS_IOCTL, 0, unix.TIOCSTI, 1),
	same("EPERM", unix.SYS_IOCTL, 0, unix.TIOCSTI|big, 1),
	same("EPERM", unix.SYS_IOCTL, 0, unix.TIOCLINUX, 1),
	same("EPERM", unix.SYS_IOCTL, 0, unix.TIOCSETD, 1),
	same("allow", unix.SYS_IOCTL, 3, fsGetFlags, 1),
	same("allow", unix.SYS_IOCTL, 3, fsFiemap, 1),
	same("allow", unix.SYS_IOCTL, 3, fileClone, 4),
	same("EPERM", unix.SYS_IOCTL, 3, 0x40086602, 1), // FS_IOC_SETFLAGS
	same("EPERM", unix.SYS_IOCTL, 3, 0x40046602, 1), // FS_IOC32_SETFLAGS
	same("EPERM", unix.SYS_IOCTL, 3, 0x40086602|big, 1),
	same("EPERM", unix.SYS_IOCTL, 3, 0x401c5820, 1), // FS_IOC_FSSETXATTR
	same("EPERM", unix.SYS_IOCTL, 3, 0x40087602, 1), // FS_IOC_SETVERSION
	same("EPERM", unix.SYS_IOCTL, 3, 0x40806685, 1), // FS_IOC_ENABLE_VERITY
	same("EPERM", unix.SYS_IOCTL, 3, 0x800c6613, 1), // FS_IOC_SET_ENCRYPTION_POLICY
	same("EPERM", unix.SYS_IOCTL, 3, 0x5000940e, 1), // BTRFS_IOC_SUBVOL_CREATE
}

// Sockets under network None. EACCES is the socket rule, EAFNOSUPPORT a family, ENOTSUP
// the other name of EOPNOTSUPP.
var socketCells = []cell{
	same("allow", unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0),
	same("allow", unix.SYS_SOCKET, unix.AF_UNIX|big, unix.SOCK_SEQPACKET, 0),
	{unix.SYS_SOCKET, []uint64{unix.AF_UNIX, unix.SOCK_DGRAM, 0}, "allow", "EACCES", "EACCES", "EACCES"},
	{unix.SYS_SOCKET, []uint64{unix.AF_UNIX, unix.SOCK_RAW, 0}, "allow", "EACCES", "EACCES", "EACCES"},
	{unix.SYS_SOCKETPAIR, []uint64{unix.AF_UNIX, unix.SOCK_DGRAM | unix.SOCK_CLOEXEC, 0}, "allow", "EACCES", "EACCES", "EACCES"},
	same("allow", unix.SYS_SOCKETPAIR, unix.AF_UNIX, unix.SOCK_STREAM, 0),
	same("EACCES", unix.SYS_SOCKETPAIR, unix.AF_TIPC, unix.SOCK_STREAM, 0),
	same("EACCES", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0),
	same("EACCES", unix.SYS_SOCKET, unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_TCP),
	same("EACCES", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM, 0),
	same("EAFNOSUPPORT", unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE),
	same("allow", unix.SYS_SENDTO, 3, 1, 1, 0, 0, 0),
	{unix.SYS_SENDTO, []uint64{3, 1, 1, 0, 1, 16}, "allow", "EACCES", "EACCES", "EACCES"},
	{unix.SYS_SENDTO, []uint64{3, 1, 1, 0, big, 16}, "allow", "EACCES", "EACCES", "EACCES"},
	same("ENOTSUP", unix.SYS_SENDTO, 3, 1, 1, unix.MSG_FASTOPEN, 1, 16),
	same("ENOTSUP", unix.SYS_SENDMSG, 3, 1, unix.MSG_FASTOPEN|unix.MSG_NOSIGNAL),
	same("ENOTSUP", unix.SYS_SENDMMSG, 3, 1, 1, unix.MSG_FASTOPEN|big),
	same("allow", unix.SYS_SENDMSG, 3, 1, unix.MSG_NOSIGNAL),
	{unix.SYS_CONNECT, []uint64{3, 1, 110}, "allow", "notify", "notify", "allow"},
	same("allow", unix.SYS_LISTEN, 3, 5),
	{unix.SYS_BIND, []uint64{3, 1, 110}, "allow", "notify", "notify", "allow"},
	same("allow", unix.SYS_ACCEPT4, 3, 1, 1, 0),
	same("allow", unix.SYS_SETSOCKOPT, 3, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1, 4),
	same("allow", unix.SYS_SETSOCKOPT, 3, unix.SOL_TCP, unix.TCP_NODELAY, 1, 4),
	same("EPERM", unix.SYS_SETSOCKOPT, 3, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, 1, 16),
	same("EPERM", unix.SYS_SETSOCKOPT, 3, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, 1, 16),
	same("allow", unix.SYS_SETSOCKOPT, 3, unix.SOL_IP, unix.SO_ATTACH_FILTER, 1, 16),
	same("ENOPROTOOPT", unix.SYS_SETSOCKOPT, 3, unix.SOL_TCP, tcpULP, 1, 4),
}

var tcpCells = []cell{
	same("allow", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0),
	same("allow", unix.SYS_SOCKET, unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_TCP),
	same("EPROTONOSUPPORT", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP),
	same("EPROTONOSUPPORT", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP),
	same("EACCES", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM, 0),
	same("EACCES", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP),
	same("EACCES", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_SEQPACKET, 0),
	same("EAFNOSUPPORT", unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE),
	same("ENOTSUP", unix.SYS_SENDTO, 3, 1, 1, unix.MSG_FASTOPEN, 1, 16),
	{unix.SYS_LISTEN, []uint64{3, 5}, "allow", "notify", "notify", "allow"},
	{unix.SYS_BIND, []uint64{3, 1, 16}, "allow", "notify", "notify", "allow"},
	{unix.SYS_CONNECT, []uint64{3, 1, 16}, "allow", "notify", "notify", "allow"},
}

var allCells = []cell{
	same("allow", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP),
	same("allow", unix.SYS_SOCKET, unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, unix.IPPROTO_UDP),
	same("allow", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP),
	same("EPROTONOSUPPORT", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE),
	same("EACCES", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP),
	same("allow", unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE),
	same("EAFNOSUPPORT", unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT),
	same("allow", unix.SYS_SENDTO, 3, 1, 1, unix.MSG_FASTOPEN, 1, 16),
	same("allow", unix.SYS_SENDMSG, 3, 1, unix.MSG_FASTOPEN),
	{unix.SYS_SOCKET, []uint64{unix.AF_UNIX, unix.SOCK_DGRAM, 0}, "allow", "EACCES", "EACCES", "EACCES"},
	same("allow", unix.SYS_LISTEN, 3, 5),
	{unix.SYS_BIND, []uint64{3, 1, 2}, "allow", "notify", "notify", "allow"},
}

func TestArguments(t *testing.T) {
	cells := 0
	for network, tables := range map[Net][][]cell{
		None: {fileCells, processCells, signalCells, ioctlCells, socketCells},
		TCP:  {fileCells, processCells, signalCells, ioctlCells, tcpCells},
		All:  {fileCells, processCells, signalCells, ioctlCells, allCells},
	} {
		for _, table := range tables {
			for _, c := range table {
				c.check(t, network)
				cells += 4
			}
		}
	}
	t.Logf("%d decisions", cells)
}

// TestFamilies goes through all families that there are and some that are not.
func TestFamilies(t *testing.T) {
	for _, p := range every() {
		program := filter(t, p)
		for family := range uint64(60) {
			want := "EAFNOSUPPORT"
			switch family {
			case unix.AF_UNIX:
				want = "allow"
			case unix.AF_INET, unix.AF_INET6:
				if want = "allow"; p.Network == None {
					want = "EACCES"
				}
			case unix.AF_NETLINK:
				if p.Network == All {
					want = "allow"
				}
			}
			if got := decision(t, program, unix.SYS_SOCKET, family, unix.SOCK_STREAM, 0); got != want {
				t.Errorf("%+v: socket of family %d: %s, want %s", p, family, got, want)
			}
		}
	}
}

func TestEveryNamespaceFlag(t *testing.T) {
	program := filter(t, full)
	for bit := range 32 {
		flag := uint64(1) << bit
		want := "allow"
		if flag&(0x7e020000|unix.CLONE_PARENT) != 0 { // the mask of Docker's profile
			want = "EPERM"
		}
		for _, flags := range []uint64{flag, flag | uint64(unix.SIGCHLD), flag | big} {
			if got := decision(t, program, unix.SYS_CLONE, flags); got != want {
				t.Errorf("clone with %#x: %s, want %s", flags, got, want)
			}
		}
	}
}

func TestBind(t *testing.T) {
	for _, p := range every() {
		want := "allow"
		if p.Broker && !p.Namespaced {
			want = "notify"
		}
		if got := decision(t, filter(t, p), unix.SYS_BIND, 3, 1, 110); got != want {
			t.Errorf("%+v: bind: %s, want %s", p, got, want)
		}
	}
}

func TestNoConnect(t *testing.T) {
	program := filter(t, Policy{NoConnect: true})
	if got := decision(t, program, unix.SYS_CONNECT, 3, 1, 110); got != "EACCES" {
		t.Errorf("connect: %s, want EACCES", got)
	}
}

func ExampleFilter() {
	program, err := Filter(Policy{Network: TCP, LandlockABI: 4, Broker: true})
	fmt.Println(len(program) > 0, err)
	// Output: true <nil>
}
