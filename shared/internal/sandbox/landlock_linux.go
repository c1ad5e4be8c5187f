package sandbox

import (
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Rights of Landlock (landlock(7)), by what they are for. A ruleset refuses every
// right that it handles and no rule grants.
const (
	rightsRead  = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	rightsWrite = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR |
		unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_SYM |
		unix.LANDLOCK_ACCESS_FS_REFER | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	// rightsFile are those that a rule for something else than a directory may have.
	rightsFile = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
)

// handledFS are the rights that each ABI added to the ones before.
var handledFS = []struct {
	abi    int
	rights uint64
}{
	{1, 1<<13 - 1}, // EXECUTE … MAKE_SYM
	{2, unix.LANDLOCK_ACCESS_FS_REFER},
	{3, unix.LANDLOCK_ACCESS_FS_TRUNCATE},
	{5, unix.LANDLOCK_ACCESS_FS_IOCTL_DEV},
}

// landlockPort is struct landlock_net_port_attr, and landlockRulePort its number
// (landlock_add_rule(2)).
type landlockPort struct{ access, port uint64 }

const landlockRulePort = 2

// ABIs at which the rest came.
const (
	abiTCP   = 4
	abiScope = 6
)

// landlockABI asks the kernel for its newest version; 0 where there is none, with
// the reason.
func landlockABI() (int, error) {
	n, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// rule grants rights below a path of the plugin's view.
type rule struct {
	path     string
	rights   uint64
	optional bool // it may be missing
	file     bool // it is no directory in the view, whatever it is on the host
	follow   bool // it is a link whose end only the process itself knows
}

// restrict appends a Landlock domain. connect lists TCP ports that may be connected
// to; with network set, TCP is left alone.
func (p *program) restrict(abi int, rules []rule, network bool, connect []uint16) {
	attr := &unix.LandlockRulesetAttr{}
	for _, h := range handledFS {
		if abi >= h.abi {
			attr.Handled_access_fs |= h.rights
		}
	}
	size := unsafe.Offsetof(attr.Handled_access_net)
	if abi >= abiTCP {
		size = unsafe.Offsetof(attr.Scoped)
		if !network {
			attr.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
		}
	}
	if abi >= abiScope {
		size = unsafe.Offsetof(attr.Quiet_access_fs)
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	set := p.keep(p.call("make a Landlock ruleset", unix.SYS_LANDLOCK_CREATE_RULESET, pointer(p, attr), num(size), none))
	for _, r := range rules {
		p.allow(set, r, attr.Handled_access_fs)
	}
	if attr.Handled_access_net != 0 {
		for _, port := range connect {
			attr := &landlockPort{unix.LANDLOCK_ACCESS_NET_CONNECT_TCP, uint64(port)}
			p.call("allow a port by Landlock", unix.SYS_LANDLOCK_ADD_RULE, result(set), num(landlockRulePort), pointer(p, attr), none)
		}
	}
	p.call("restrict by Landlock", unix.SYS_LANDLOCK_RESTRICT_SELF, result(set), none)
}

// allow appends one rule. A path that became a symbolic link since it was checked is
// refused.
func (p *program) allow(set register, r rule, handled uint64) {
	beneath := &unix.LandlockPathBeneathAttr{Allowed_access: r.rights & handled}
	label := "allow " + r.path + " by Landlock"
	first := len(p.ops)
	open := p.openPath(label, r.path)
	if r.follow {
		*open = op{label: label, nr: unix.SYS_OPENAT, arg: [6]uintptr{here.value, open.arg[1], unix.O_PATH | unix.O_CLOEXEC}}
	}
	open.store = &beneath.Parent_fd
	fd := p.scratch(open)
	p.call(label, unix.SYS_LANDLOCK_ADD_RULE, result(set), num(unix.LANDLOCK_RULE_PATH_BENEATH), pointer(p, beneath), none)
	p.call(label, unix.SYS_CLOSE, result(fd))
	if r.optional {
		for i := first; i < len(p.ops); i++ {
			p.ops[i].judge = may
		}
	}
}

// openPath opens a path that holds no symbolic link, as a place and not as a file.
func (p *program) openPath(label, path string) *op {
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS}
	return p.call(label, unix.SYS_OPENAT2, here, p.text(path), pointer(p, how), num(unsafe.Sizeof(*how)))
}

// procRules are what level confined shows of /proc: the process itself, which its
// children cannot see, and what tells of no process. At level full there is a /proc
// of its own.
var procRules = func() []rule {
	var out []rule
	for _, name := range []string{"self", "meminfo", "cpuinfo", "stat", "loadavg", "uptime", "version", "filesystems", "sys/kernel/random", "sys/kernel/osrelease", "sys/kernel/ngroups_max", "sys/kernel/cap_last_cap", "sys/vm/overcommit_memory", "sys/fs/pipe-max-size"} {
		out = append(out, rule{path: "/proc/" + name, rights: rightsRead, optional: true, follow: name == "self"})
	}
	return out
}()

// baseRules let a process of level confined read what baseView shows at level full.
// Links need no rule: what they lead to does.
func baseRules() []rule {
	var out []rule
	for _, n := range baseView() {
		switch {
		case n.kind == bind && n.attr == attrRead:
			out = append(out, rule{path: n.source, rights: rightsRead, optional: true})
		case n.kind == link && !within(n.target, "/dev"):
			out = append(out, resolved(n.target)...)
		}
	}
	return out
}

// resolved is a rule to read what a path leads to, none where it leads nowhere.
func resolved(path string) []rule {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil
	}
	return []rule{{path: real, rights: rightsRead, optional: true}}
}
