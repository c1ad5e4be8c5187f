package api

import (
	"slices"
	"strings"
)

// SandboxLevel says how far plugins are confined, in words that users see. Levels
// are ordered: whatever a level holds, every higher one holds as well.
type SandboxLevel string

// The levels, lowest first.
const (
	SandboxNone     SandboxLevel = "none"     // a plugin may do what the agent's user may
	SandboxLimited  SandboxLevel = "limited"  // limits and the death of the tree; no boundary around files or network
	SandboxConfined SandboxLevel = "confined" // files, network and system calls as granted, in the host's namespaces
	SandboxFull     SandboxLevel = "full"     // the same inside namespaces and a file tree of its own
)

var sandboxLevels = []SandboxLevel{SandboxNone, SandboxLimited, SandboxConfined, SandboxFull}

// Valid reports whether l is one of the levels.
func (l SandboxLevel) Valid() bool { return slices.Contains(sandboxLevels, l) }

// AtLeast reports whether l is as good as least. Everything is as good as "" and
// none. A level that this version does not know is below all and satisfied by none:
// what is not known is no promise.
func (l SandboxLevel) AtLeast(least SandboxLevel) bool {
	if least == "" || least == SandboxNone {
		return true
	}
	wanted := slices.Index(sandboxLevels, least)
	return wanted >= 0 && slices.Index(sandboxLevels, l) >= wanted
}

// What [Posture.Achieved] may name beyond the level.
const (
	AchievedMemory = "memory" // the kernel holds the tree to its memory limit
	AchievedEgress = "egress" // network access is filtered by destination
)

// The states of a layer.
const (
	LayerEnforced    = "enforced"
	LayerUnavailable = "unavailable" // this system cannot enforce it
	LayerOff         = "off"         // it is not asked for, or this version does not enforce it
)

// Posture is what confines plugins: of an agent the best that it can give, of a
// result what that run had.
type Posture struct {
	Level    SandboxLevel `json:"level"`
	Achieved []string     `json:"achieved,omitempty"` // beyond the level: memory, egress
	// Layers has the state of each layer: enforced, unavailable or off; a colon and more
	// about it may follow. Missing has those of them that could be enforced and are
	// not, each with the reason.
	Layers      map[string]string `json:"layers,omitempty"`
	Missing     map[string]string `json:"missing,omitempty"`
	LandlockABI int               `json:"landlock_abi,omitempty"`
	Kernel      string            `json:"kernel,omitempty"`
	Memory      string            `json:"memory,omitempty"`    // what holds the memory limit: cgroup2 | cgroup1 | job | watchdog
	SelfTest    *SelfTest         `json:"self_test,omitempty"` // of an agent, how it found its level
}

// SelfTest names the probes of an agent's self-test in the level that it chose and in
// those above.
type SelfTest struct {
	Passed []string `json:"passed,omitempty"`
	Failed []string `json:"failed,omitempty"`
}

// String is the level with what was achieved beyond it, for example
// "full+memory+egress", and "unknown" where nothing was told.
func (p *Posture) String() string {
	if p == nil || p.Level == "" {
		return "unknown"
	}
	return strings.Join(append([]string{string(p.Level)}, p.Achieved...), "+")
}

// Lacks says what is missing, a line for each layer in order of name: "memory: reason".
// An agent that does not tell reasons is taken by the states of its layers.
func (p *Posture) Lacks() []string {
	if p == nil {
		return nil
	}
	var out []string
	for layer, reason := range p.Missing {
		out = append(out, layer+": "+reason)
	}
	if len(p.Missing) == 0 {
		for layer, state := range p.Layers {
			if !strings.HasPrefix(state, LayerEnforced) {
				out = append(out, layer+": "+state)
			}
		}
	}
	slices.Sort(out)
	return out
}

// Satisfies reports whether the posture is as good as least. One that was not told
// satisfies only what asks for nothing.
func (p *Posture) Satisfies(least SandboxLevel) bool {
	if p == nil {
		return SandboxLevel("").AtLeast(least)
	}
	return p.Level.AtLeast(least)
}
