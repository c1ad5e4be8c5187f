//go:build unix && !linux

package sandbox

import "github.com/stavily/agents/shared/pkg/api"

func layers() map[string]string {
	return map[string]string{
		"files":        api.LayerOff + ": this version draws no file boundary here",
		"network":      api.LayerOff + ": this version does not filter network access",
		"environment":  api.LayerEnforced,
		"descriptors":  api.LayerEnforced,
		"rlimits":      api.LayerEnforced,
		"memory":       api.LayerUnavailable + ": the system enforces no limit per process and tells no sizes",
		"processes":    api.LayerUnavailable + ": the system has no limit per process tree",
		"time":         api.LayerEnforced,
		"kill_tree":    api.LayerEnforced + ": of the process group; what leaves it (setsid) is not found",
		"parent_death": api.LayerUnavailable + ": the system has no death signal",
	}
}
