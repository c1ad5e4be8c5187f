package sandbox

import "github.com/stavily/agents/shared/pkg/api"

// Level is how far a plugin is confined, in the words that users read.
type Level = api.SandboxLevel

// The levels, from the lowest. The zero Level is None.
const (
	None     = api.SandboxNone     // an ordinary process with a clean environment
	Limited  = api.SandboxLimited  // system calls are filtered, resources bounded
	Confined = api.SandboxConfined // and files bounded by Landlock: what stock Docker and Kubernetes allow
	Full     = api.SandboxFull     // and namespaces with a private root directory
)

// Levels lists them, from the highest.
var Levels = []Level{Full, Confined, Limited, None}

// Host is what this machine and this agent's rights allow, as [Probe] found it. It does
// not change afterwards.
type Host struct {
	Level       Level             `json:"level"` // the highest that passed its self-test
	Kernel      string            `json:"kernel"`
	LandlockABI int               `json:"landlock_abi"`
	Proc        bool              `json:"proc"`   // level full has a /proc of its own
	Broker      bool              `json:"broker"` // level confined tells Unix sockets apart
	Checks      []Check           `json:"checks"`
	Missing     map[string]string `json:"missing,omitempty"` // layer → why this host does not give it
}

// Check is one thing that the self-test tried.
type Check struct {
	Level  Level  `json:"level"`
	Name   string `json:"name"`
	Passed bool   `json:"passed"`
	Detail string `json:"detail,omitempty"` // what happened instead
}
