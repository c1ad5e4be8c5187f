package sandbox

import "strings"

// remedies say what to change on a host for each layer that may be missing. The first
// whose sign stands in the reason counts; an empty sign is for all others.
var remedies = map[string][]struct{ sign, remedy string }{
	"namespaces": {
		{"no space left", "allow user namespaces: sysctl user.max_user_namespaces=15000"},
		{"make a process", "allow unprivileged user namespaces. Docker: a seccomp profile that allows clone, unshare, mount and pivot_root (--security-opt seccomp=FILE); Kubernetes: seccompProfile of type Localhost with the same; systemd: no RestrictNamespaces; Debian: sysctl kernel.unprivileged_userns_clone=1"},
		{"map the user", "Ubuntu: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile with 'userns,' for this program"},
		{"mount", "allow mounts in user namespaces. Ubuntu: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile with 'userns,' for this program; systemd: SystemCallFilter=@mount; Docker: --security-opt apparmor=unconfined"},
		{"", "see which call is refused: strace -f -p of the agent while it starts"},
	},
	"proc": {
		{"", "let /proc be mounted anew: Docker --security-opt systempaths=unconfined; Kubernetes procMount: Unmasked with hostUsers: false; systemd: no ProtectKernelTunables, ProtectProc, ProcSubset or ProtectKernelLogs. Without it plugins work and have no /proc"},
	},
	"landlock": {
		{"", "use a kernel of 5.13 or newer with 'landlock' in its lsm= list (cat /sys/kernel/security/lsm); systemd: SystemCallFilter= with landlock_create_ruleset landlock_add_rule landlock_restrict_self"},
	},
	"unix_sockets": {
		{"openat2", "use a kernel of 5.9 or newer; systemd: no RestrictSUIDSGID, and openat2 in SystemCallFilter. Without it a plugin of level confined can connect to every Unix socket that the agent's user can"},
		{"", "use a kernel of 5.9 or newer, and no tracer on the agent. Without it a plugin of level confined can connect to every Unix socket that the agent's user can"},
	},
	"seccomp": {
		{"", "use a kernel with CONFIG_SECCOMP_FILTER; systemd: allow seccomp in SystemCallFilter"},
	},
	"seatbelt": {
		{"", "see what macOS refuses: log stream --predicate 'sender == \"Sandbox\"' while the agent starts without data/state/sandbox.json, where it keeps the result"},
	},
	"integrity": {
		{"", "keep the base directory on an NTFS volume, and let the agent's account own it"},
	},
	"memory": {
		{"", "systemd: Delegate=yes; Docker: --cgroupns=private with a writable /sys/fs/cgroup, or leave it: a watchdog looks every 50 ms"},
	},
}

// Remedy says what to change where a layer is missing for a reason; empty when nothing
// is known.
func Remedy(layer, why string) string {
	for _, r := range remedies[layer] {
		if strings.Contains(why, r.sign) {
			return r.remedy
		}
	}
	return ""
}
