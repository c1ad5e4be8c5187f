package sandbox

const level = "limited"

func layers() map[string]string {
	return map[string]string{
		"files":        off + ": this version uses no restricted token",
		"network":      off + ": this version does not filter network access",
		"environment":  enforced,
		"descriptors":  enforced,
		"memory":       enforced + ": job object and watchdog",
		"processes":    enforced + ": job object",
		"time":         enforced,
		"kill_tree":    enforced + ": job object",
		"parent_death": enforced + ": job object",
	}
}
