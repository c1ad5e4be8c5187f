package sandbox

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/stavily/agents/internal/limits"
)

// namespaces are those of level full besides the user namespace.
const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// capabilities needed to do without a user namespace (capabilities(7)).
var rootCapabilities = []int{unix.CAP_SYS_ADMIN, unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_SETPCAP, unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE}

// privileged reports whether this process makes namespaces and changes ids in its own
// right.
var privileged = sync.OnceValue(func() bool {
	b, err := limits.ReadFile("/proc/self/status", maxProcFile)
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), "\nCapEff:")
	field, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
	effective, err := strconv.ParseUint(field, 16, 64)
	if err != nil {
		return false
	}
	for _, c := range rootCapabilities {
		if effective&(1<<c) == 0 {
			return false
		}
	}
	return true
})

// lastCapability is the highest number that this kernel knows.
var lastCapability = sync.OnceValue(func() int {
	b, err := limits.ReadFile("/proc/sys/kernel/cap_last_cap", 16)
	if err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			return n
		}
	}
	return 63 // what is refused is passed over
})

// mapIDs makes the user known in its new user namespace, under the same number.
// Nobody else exists there, and groups cannot be dropped to gain a right
// (user_namespaces(7)).
func (p *program) mapIDs() {
	const label = "map the user into its namespace"
	p.writeFile(label, "/proc/self/setgroups", "deny")
	p.writeFile(label, "/proc/self/uid_map", fmt.Sprintf("%[1]d %[1]d 1", os.Geteuid()))
	p.writeFile(label, "/proc/self/gid_map", fmt.Sprintf("%[1]d %[1]d 1", os.Getegid()))
}

// Bits of PR_SET_SECUREBITS: user 0 is a user like others, for good.
const secureBits = 1<<0 | 1<<1 | 1<<2 | 1<<3 | 1<<6 | 1<<7 // NOROOT, NO_SETUID_FIXUP, NO_CAP_AMBIENT_RAISE, each with its lock

// dropPrivileges gives up everything that is more than an ordinary user's, and the
// means to get it back. What fails here is missing already; that nothing is left is
// the self-test's to see.
func (p *program) dropPrivileges(become *Credential) {
	p.call("give up new privileges", unix.SYS_PRCTL, num(unix.PR_SET_NO_NEW_PRIVS), num(1), none, none, none)
	p.try(unix.SYS_PRCTL, num(unix.PR_CAP_AMBIENT), num(unix.PR_CAP_AMBIENT_CLEAR_ALL), none, none, none)
	for c := range lastCapability() + 1 {
		p.try(unix.SYS_PRCTL, num(unix.PR_CAPBSET_DROP), num(c), none, none, none)
	}
	p.try(unix.SYS_PRCTL, num(unix.PR_SET_SECUREBITS), num(secureBits), none, none, none)
	if become != nil {
		uid, gid := num(become.UID), num(become.GID)
		p.call("leave the groups", unix.SYS_SETGROUPS, none, none)
		p.call("become the plugins' group", unix.SYS_SETRESGID, gid, gid, gid)
		p.call("become the plugins' user", unix.SYS_SETRESUID, uid, uid, uid)
	}
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	empty := new([2]unix.CapUserData)
	p.call("give up capabilities", unix.SYS_CAPSET, pointer(p, header), pointer(p, empty))
}
