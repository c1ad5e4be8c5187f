package sandbox

import (
	"runtime"

	"github.com/stavily/agents/shared/pkg/api"
)

// Posture tells what holds a process of the given level on this host.
func (h *Host) Posture(level Level) api.Posture {
	p := api.Posture{Level: level, Kernel: runtime.GOOS + " " + h.Kernel, Missing: h.Missing, Memory: "watchdog", SelfTest: h.selfTest()}
	seatbelt := api.LayerOff
	switch why, missing := h.Missing["seatbelt"]; {
	case missing:
		seatbelt = api.LayerUnavailable + ": " + why
	case level.AtLeast(Confined):
		seatbelt = api.LayerEnforced + ": seatbelt profile"
	}
	p.Layers = map[string]string{
		"files":        seatbelt,
		"network":      seatbelt,
		"unix_sockets": seatbelt,
		"signals":      seatbelt,
		"environment":  api.LayerEnforced,
		"descriptors":  api.LayerEnforced,
		"rlimits":      api.LayerEnforced,
		"memory":       api.LayerEnforced + ": watchdog on the resident size of the tree",
		"processes":    api.LayerEnforced + ": watchdog on the tree",
		"cpu":          api.LayerUnavailable + ": the system limits CPU time, and no share of a processor",
		"storage":      api.LayerEnforced + ": watchdog on what is stored",
		"time":         api.LayerEnforced,
		"kill_tree":    api.LayerEnforced + ": of the process group and of what a watchdog saw descend from it; who leaves both is not found",
		"parent_death": api.LayerEnforced + ": keeper",
	}
	return p
}
