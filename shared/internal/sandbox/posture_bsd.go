//go:build unix && !linux

package sandbox

const level = "limited"

func layers() map[string]string {
	return map[string]string{
		"files":        off + ": this version draws no file boundary here",
		"network":      off + ": this version does not filter network access",
		"environment":  enforced,
		"descriptors":  enforced,
		"rlimits":      enforced,
		"memory":       unavailable + ": the system enforces no limit per process and tells no sizes",
		"processes":    unavailable + ": the system has no limit per process tree",
		"time":         enforced,
		"kill_tree":    enforced + ": of the process group; what leaves it (setsid) is not found",
		"parent_death": unavailable + ": the system has no death signal",
	}
}
