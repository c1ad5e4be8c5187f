package sandbox

import "github.com/stavily/agents/shared/pkg/api"

// States of a layer in [api.Posture]; a colon and the reason may follow.
const (
	enforced    = "enforced"
	unavailable = "unavailable"
	off         = "off"
)

// Posture tells what confines the plugins of this build on this platform. The
// level is "limited" where resource limits and the death of the tree hold, and no
// file or network boundary: a plugin can read and reach what the agent's user can.
func Posture() api.Posture {
	return api.Posture{Level: level, Layers: layers()}
}
