package sandbox

import "github.com/stavily/agents/shared/pkg/api"

func layers() map[string]string {
	return map[string]string{
		"files":        api.LayerOff + ": this version uses no restricted token",
		"network":      api.LayerOff + ": this version does not filter network access",
		"environment":  api.LayerEnforced,
		"descriptors":  api.LayerEnforced,
		"memory":       api.LayerEnforced + ": job object and watchdog",
		"processes":    api.LayerEnforced + ": job object",
		"time":         api.LayerEnforced,
		"kill_tree":    api.LayerEnforced + ": job object",
		"parent_death": api.LayerEnforced + ": job object",
	}
}
