package sandbox

import "github.com/stavily/agents/shared/pkg/api"

// Posture tells what holds a process of the given level on this host.
func (h *Host) Posture(level Level) api.Posture {
	p := api.Posture{Level: level, LandlockABI: h.LandlockABI, Kernel: h.Kernel, Missing: h.Missing, Memory: "watchdog", SelfTest: h.selfTest()}
	p.Layers = map[string]string{
		"no_new_privs": api.LayerEnforced,
		"capabilities": api.LayerEnforced,
		"environment":  api.LayerEnforced,
		"descriptors":  api.LayerEnforced,
		"rlimits":      api.LayerEnforced,
		"memory":       api.LayerEnforced + ": watchdog on the resident size of the tree",
		"processes":    api.LayerEnforced + ": watchdog on the tree",
		"cpu":          api.LayerOff + ": the share of a processor takes a control group; CPU time is limited",
		"storage":      api.LayerEnforced + ": watchdog on what is stored",
		"time":         api.LayerEnforced,
		"namespaces":   h.layer(level, Full, "namespaces"),
		"private_root": h.layer(level, Full, "namespaces"),
		"proc":         h.layer(level, Full, "proc"),
		"landlock":     h.layer(level, Confined, "landlock"),
		"network":      h.layer(level, Confined, "landlock"),
		"seccomp":      h.layer(level, Limited, "seccomp"),
		"unix_sockets": h.layer(level, Confined, "unix_sockets"),
		"kill_tree":    api.LayerEnforced + ": subreaper and sweep",
		"parent_death": api.LayerEnforced + ": keeper",
	}
	if level == Full {
		p.Layers["storage"] = api.LayerEnforced + ": a file system of its own, and a watchdog on the home"
		p.Layers["kill_tree"] = api.LayerEnforced + ": process-id namespace"
		p.Layers["parent_death"] = api.LayerEnforced + ": process-id namespace"
	}
	return p
}

// layer is the state of what comes with a level.
func (h *Host) layer(level, with Level, name string) string {
	why, missing := h.Missing[name]
	switch {
	case missing:
		return api.LayerUnavailable + ": " + why
	case !level.AtLeast(with):
		return api.LayerOff
	}
	return api.LayerEnforced
}
