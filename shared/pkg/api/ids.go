package api

import "fmt"

// Identifiers are distinct types so that a run cannot be passed where an
// instruction is meant. All of them are safe in a path, a file name and a log
// line once Validate has returned nil.
type (
	OrgID         string // an organisation (tenant)
	AgentID       string // an agent, unique within its organisation
	PluginID      string // a plugin, as in its manifest
	EventID       string // an event: a ULID made by the agent, stable across resends
	InstructionID string // an instruction: a ULID made by the orchestrator
	RunID         string // a workflow run: a ULID made by the orchestrator
)

// MaxIDLength is the longest identifier. 63 is the length of a DNS label, so an
// id can name a host, a systemd unit or a Kubernetes object.
const MaxIDLength = 63

func validateName(kind, id string) error {
	if isID(id, false) {
		return nil
	}
	return fmt.Errorf("%s %q: must be 1 to %d characters of a-z, 0-9, '.', '_', '-', beginning with a letter or digit", kind, clip(id), MaxIDLength)
}

// validateRecordID accepts the 26 characters of Crockford's base 32 and, for other
// implementations, any id of the same alphabet as names in either case.
func validateRecordID(kind, id string) error {
	if isID(id, true) {
		return nil
	}
	return fmt.Errorf("%s %q: must be 1 to %d characters of A-Z, a-z, 0-9, '.', '_', '-', beginning with a letter or digit", kind, clip(id), MaxIDLength)
}

// isID is written out: a server asks it of three names for every request, and a regular
// expression takes a twentieth of what ten thousand agents that wait cost.
func isID(id string, capitals bool) bool {
	if id == "" || len(id) > MaxIDLength {
		return false
	}
	for n := range len(id) {
		switch c := id[n]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', capitals && c >= 'A' && c <= 'Z':
		case n > 0 && (c == '.' || c == '_' || c == '-'):
		default:
			return false
		}
	}
	return true
}

// clip bounds what an error repeats of a foreign value.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

// Validate reports whether the id has the form [a-z0-9][a-z0-9._-]{0,62}.
func (id OrgID) Validate() error { return validateName("organization id", string(id)) }

// Validate reports whether the id has the form [a-z0-9][a-z0-9._-]{0,62}.
func (id AgentID) Validate() error { return validateName("agent id", string(id)) }

// Validate reports whether the id has the form [a-z0-9][a-z0-9._-]{0,62}.
func (id PluginID) Validate() error { return validateName("plugin id", string(id)) }

// Validate reports whether the id has the form [A-Za-z0-9][A-Za-z0-9._-]{0,62}.
func (id EventID) Validate() error { return validateRecordID("event id", string(id)) }

// Validate reports whether the id has the form [A-Za-z0-9][A-Za-z0-9._-]{0,62}.
func (id InstructionID) Validate() error { return validateRecordID("instruction id", string(id)) }

// Validate reports whether the id has the form [A-Za-z0-9][A-Za-z0-9._-]{0,62}.
func (id RunID) Validate() error { return validateRecordID("run id", string(id)) }

// AgentType is what an agent is, by its certificate and its binary.
type AgentType string

// The two kinds of agent.
const (
	Sensor AgentType = "sensor"
	Action AgentType = "action"
)

// Validate reports whether t is one of the two types.
func (t AgentType) Validate() error {
	if t == Sensor || t == Action {
		return nil
	}
	return fmt.Errorf("agent type %q: must be %q or %q", clip(string(t)), Sensor, Action)
}
