package sandbox

const level = "limited"

func layers() map[string]string {
	return map[string]string{
		"namespaces":   off + ": this version confines without namespaces",
		"network":      off + ": this version does not filter network access",
		"landlock":     off + ": this version draws no file boundary",
		"seccomp":      off + ": this version filters no system calls",
		"capabilities": off + ": a plugin of an agent that runs as root is root",
		"no_new_privs": enforced,
		"environment":  enforced,
		"descriptors":  enforced,
		"rlimits":      enforced,
		"memory":       enforced + ": watchdog on the resident size of the tree",
		"cpu":          off + ": CPU time is limited where a limit is given, CPU share is not",
		"processes":    enforced + ": watchdog on the tree",
		"time":         enforced,
		"kill_tree":    enforced + ": subreaper",
		"parent_death": enforced + ": of the first process, not of what it started",
	}
}
