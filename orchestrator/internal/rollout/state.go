package rollout

import (
	"slices"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// Release is one published version. Attempt counts how often it was begun or resumed;
// what an agent reports of an earlier attempt is no answer to a later one.
type Release struct {
	Version string
	Digest  string // of the package
	Attempt int
}

// IsZero reports whether r is none.
func (r Release) IsZero() bool { return r.Digest == "" }

// same reports whether r and o are the same package of the same version.
func (r Release) same(o Release) bool { return r.Version == o.Version && r.Digest == o.Digest }

// Phase is where a roll-out stands.
type Phase string

// The phases.
const (
	Idle    Phase = ""        // nothing is rolled out; agents have Done
	Waiting Phase = "waiting" // the target asks for more than was approved
	Rolling Phase = "rolling"
	Stopped Phase = "stopped" // an agent failed; an operator decides
)

// Stage is how far a roll-out goes at the moment.
type Stage string

// The stages.
const (
	One   Stage = "one"
	Tenth Stage = "tenth"
	All   Stage = "all"
)

// Plan is how a roll-out goes. The zero value of a duration is the default.
type Plan struct {
	Settle   time.Duration // an agent must have kept a version for so long
	Deadline time.Duration // and must have it ready within so long
	AtOnce   bool          // without stages
}

// Defaults of a plan. Agents go back to the version before by themselves when a new one
// fails in its first minute, and tell at the next heartbeat.
const (
	DefaultSettle   = 2 * time.Minute
	DefaultDeadline = 15 * time.Minute
)

func (p Plan) settle() time.Duration   { return orDefault(p.Settle, DefaultSettle) }
func (p Plan) deadline() time.Duration { return orDefault(p.Deadline, DefaultDeadline) }

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// State is one roll-out, of one assignment. The zero state is one that has not begun.
type State struct {
	Phase  Phase
	Done   Release // what completed last
	Target Release // what is rolled out; none when idle
	Skip   Release // what an operator aborted: not begun again by itself

	Kept []Kept // as long as nothing has completed: what agents were given before the target, the newest last

	Stage    Stage
	StageAt  time.Time     // when it began, or was resumed
	Agents   []api.AgentID // that were given the target, in the order in which they were
	Attempts int           // begun so far, over all targets
	Reason   string        // why it waits or stopped, and what to do
	Due      time.Time     // when to look again though nothing happened; zero: never
}

// Kept is a release whose roll-out gave way to another before it completed. Who has it keeps
// it until there is something else: a plugin is not taken away because a newer version waits.
// An agent stands in one Kept only.
type Kept struct {
	Release Release
	Agents  []api.AgentID
	All     bool // whoever they are
}

// For is the release that an agent is to have; it may be none.
func (s State) For(agent api.AgentID) Release {
	switch {
	case s.given(agent):
		return s.Target
	case !s.Done.IsZero():
		return s.Done
	}
	for _, k := range slices.Backward(s.Kept) {
		if k.All || slices.Contains(k.Agents, agent) {
			return k.Release
		}
	}
	return Release{}
}

// Has reports whether some agent may be to have the package.
func (s State) Has(digest string) bool {
	return s.Done.Digest == digest || s.Target.Digest == digest || slices.ContainsFunc(s.Kept, func(k Kept) bool { return k.Release.Digest == digest })
}

// given reports whether the agent was given the target.
func (s State) given(agent api.AgentID) bool {
	switch s.Phase {
	case Rolling, Stopped:
		return s.Stage == All || slices.Contains(s.Agents, agent)
	}
	return false
}

// Member is an agent that the assignment is for, as it is known now.
type Member struct {
	Agent  api.AgentID
	Online bool   // heard of lately, and asks for its assignments
	Report Report // about the release that it is to have
}

// Report is what an agent told last about a release, and since when it tells that.
type Report struct {
	Release Release
	State   api.PackageState // "": nothing
	Message string
	Since   time.Time
}

// about reports whether r answers for exactly this attempt of this release.
func (r Report) about(target Release) bool { return r.Release == target && r.State != "" }

func (r Report) failed() bool {
	return r.State == api.PackageRefused || r.State == api.PackageFailed || r.State == api.PackageRolledBack
}
