package rollout

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// Command is what an operator asks for.
type Command string

// The commands.
const (
	Resume Command = "resume"  // go on after a stop, with a new attempt
	Abort  Command = "abort"   // go back to what completed last
	AtOnce Command = "at-once" // give it to all now
)

// Input is everything that a step goes by.
type Input struct {
	Now     time.Time
	Plan    Plan
	Best    Release  // the highest version in range; Attempt is not read; none: there is none
	Missing string   // what Best asks for beyond what was approved, and how to approve it; "": nothing
	Members []Member // all of them, in order of id
	Command Command  // "": none
}

// Effect is what the engine has to do.
type Effect interface{ effect() }

// Record is a change that somebody may ask about later.
type Record struct{ Action, Detail string }

// Deliver says that some agents are to have another release than before.
type Deliver struct{}

func (Record) effect()  {}
func (Deliver) effect() {}

// retry is when to look again for an agent to begin with, when none is online.
const retry = 15 * time.Second

// Step moves a roll-out as far as it goes. The error is a sentence about a command that
// has nothing to act on; then the state is as it was.
func Step(s State, in Input) (State, []Effect, error) {
	m := machine{State: s, in: in}
	m.Agents = slices.Clone(s.Agents)
	if err := m.command(); err != nil {
		return s, nil, err
	}
	m.choose()
	m.roll()
	m.Due = m.due()
	if m.moved {
		m.effects = append(m.effects, Deliver{})
	}
	return m.State, m.effects, nil
}

// machine is a step on its way.
type machine struct {
	State
	in      Input
	moved   bool // some agents are to have another release
	effects []Effect
}

func (m *machine) record(action, format string, args ...any) {
	m.effects = append(m.effects, Record{action, fmt.Sprintf(format, args...)})
}

func (m *machine) command() error {
	switch m.in.Command {
	case "":
	case Abort:
		if m.Target.IsZero() {
			return errors.New("nothing is rolled out here, so there is nothing to abort")
		}
		m.record("abort", "%s; agents go back to %s", m.Target.Version, cmp.Or(m.Done.Version, "none"))
		m.Skip = m.Target
		m.end()
	case Resume, AtOnce:
		return m.goOn()
	default:
		return fmt.Errorf("%q is nothing that a roll-out can do; it is resume, abort or at-once", m.in.Command)
	}
	return nil
}

// goOn resumes what stopped or was aborted, or gives what is rolled out to all.
func (m *machine) goOn() error {
	switch {
	case m.Phase == Stopped:
		m.record(string(m.in.Command), "%s, attempt %d", m.Target.Version, m.Attempts+1)
		m.attempt()
	case m.Phase == Rolling && m.in.Command == AtOnce:
		m.record("at-once", "%s", m.Target.Version)
	case m.Phase == Idle && !m.Skip.IsZero() && m.Skip.same(m.in.Best):
		m.record(string(m.in.Command), "%s, which was aborted", m.Skip.Version)
		m.Skip = Release{}
		m.choose()
	default:
		return fmt.Errorf("there is nothing to %s: no roll-out has stopped here or was aborted", m.in.Command)
	}
	if m.in.Command == AtOnce && m.Phase == Rolling {
		m.enter(All)
	}
	return nil
}

// choose decides what is rolled out.
func (m *machine) choose() {
	best := m.in.Best
	switch {
	case best.IsZero() || best.same(m.Done):
		if !m.Target.IsZero() {
			m.record("withdrawn", "%s is not the version to have any more", m.Target.Version)
			m.end()
		}
		m.moved = m.moved || len(m.Kept) > 0
		m.Skip, m.Kept = Release{}, nil
	case best.same(m.Target):
		if m.Phase == Waiting && m.in.Missing == "" {
			m.begin()
		}
	case best.same(m.Skip):
	default:
		m.moved = m.moved || len(m.Agents) > 0 || m.Stage == All && m.Phase != Idle
		m.keep()
		m.Target, m.Skip, m.Agents = Release{Version: best.Version, Digest: best.Digest}, Release{}, nil
		if m.in.Missing != "" {
			m.Phase, m.Stage, m.Reason = Waiting, "", m.in.Missing
			m.record("wait", "%s: %s", best.Version, m.in.Missing)
			return
		}
		m.begin()
	}
	if m.Phase == Waiting {
		m.Reason = m.in.Missing
	}
}

// keep leaves the target, which gives way, to those that were given it.
func (m *machine) keep() {
	if !m.Done.IsZero() || m.Phase != Rolling && m.Phase != Stopped {
		return
	}
	var kept []Kept
	for _, k := range m.Kept {
		if k.Agents = slices.DeleteFunc(slices.Clone(k.Agents), m.given); k.All && m.Stage != All || len(k.Agents) > 0 {
			kept = append(kept, k)
		}
	}
	if m.Stage == All || len(m.Agents) > 0 {
		kept = append(kept, Kept{m.Target, m.Agents, m.Stage == All})
	}
	m.Kept = kept
}

func (m *machine) begin() {
	m.attempt()
	m.record("begin", "%s, attempt %d, to %d agents", m.Target.Version, m.Attempts, len(m.in.Members))
	if m.in.Plan.AtOnce {
		m.enter(All)
		return
	}
	m.enter(One)
}

// attempt lets the target begin, or begin again for those that were given it.
func (m *machine) attempt() {
	m.Attempts++
	m.Target.Attempt = m.Attempts
	m.Phase, m.Reason, m.StageAt = Rolling, "", m.in.Now
	m.moved = m.moved || len(m.Agents) > 0 || m.Stage == All
}

func (m *machine) end() {
	m.moved = m.moved || m.Phase == Rolling || m.Phase == Stopped
	m.Phase, m.Target, m.Agents, m.Stage, m.StageAt, m.Reason = Idle, Release{}, nil, "", time.Time{}, ""
}

// enter begins a stage with as many agents as it wants and as are online.
func (m *machine) enter(stage Stage) {
	m.moved = m.moved || stage == All && m.Stage != All
	m.Stage, m.StageAt = stage, m.in.Now
	m.pick()
}

// pick adds agents to the stage until it has its number.
func (m *machine) pick() {
	for _, member := range m.in.Members {
		if len(m.Agents) >= m.size() {
			return
		}
		if member.Online && !slices.Contains(m.Agents, member.Agent) {
			m.Agents = append(m.Agents, member.Agent)
			m.StageAt, m.moved = m.in.Now, true
		}
	}
}

// size is how many agents the stage wants.
func (m *machine) size() int {
	n := len(m.in.Members)
	switch m.Stage {
	case One:
		return min(1, n)
	case Tenth:
		return (n + 9) / 10
	}
	return n
}

// short reports whether the stage takes agents that come online later. The last one has
// given the target to everybody, and needs only somebody to wait for.
func (m *machine) short() bool {
	if m.Stage == All {
		return len(m.Agents) == 0
	}
	return len(m.Agents) < m.size()
}

// roll goes through as many stages as are through.
func (m *machine) roll() {
	for m.Phase == Rolling {
		m.prune()
		if m.short() {
			m.pick()
		}
		if reason := m.failure(); reason != "" {
			m.Phase = Stopped
			m.Reason = fmt.Sprintf("%s stopped in stage %s: %s", m.Target.Version, m.Stage, reason)
			m.record("stop", "%s", m.Reason)
			return
		}
		if !m.through() {
			return
		}
		m.advance()
	}
}

// prune forgets agents that the assignment is not for any more.
func (m *machine) prune() {
	m.Agents = slices.DeleteFunc(m.Agents, func(a api.AgentID) bool {
		_, found := m.member(a)
		return !found
	})
}

func (m *machine) member(a api.AgentID) (Member, bool) {
	i, found := slices.BinarySearchFunc(m.in.Members, a, func(m Member, a api.AgentID) int { return cmp.Compare(m.Agent, a) })
	if !found {
		return Member{}, false
	}
	return m.in.Members[i], true
}

// failure says why the stage must stop, or "".
func (m *machine) failure() string {
	for _, member := range m.in.Members {
		r := member.Report
		if m.given(member.Agent) && r.about(m.Target) && r.failed() {
			return fmt.Sprintf("%s: %s: %s", member.Agent, r.State, cmp.Or(r.Message, "it does not say why"))
		}
	}
	if m.in.Now.Before(m.StageAt.Add(m.in.Plan.deadline())) {
		return ""
	}
	for _, a := range m.Agents {
		member, _ := m.member(a)
		switch r := member.Report; {
		case !r.about(m.Target):
			return fmt.Sprintf("%s has said nothing about it within %s", a, m.in.Plan.deadline())
		case r.State != api.PackageReady:
			return fmt.Sprintf("%s has not got it ready within %s: %s", a, m.in.Plan.deadline(), cmp.Or(r.Message, string(r.State)))
		}
	}
	return ""
}

// through reports whether every agent of the stage has had the target ready for long
// enough. A stage without agents waits for one, unless there is none at all.
func (m *machine) through() bool {
	if len(m.Agents) == 0 {
		return len(m.in.Members) == 0
	}
	for _, a := range m.Agents {
		member, _ := m.member(a)
		r := member.Report
		if !r.about(m.Target) || r.State != api.PackageReady || m.in.Now.Before(r.Since.Add(m.in.Plan.settle())) {
			return false
		}
	}
	return true
}

func (m *machine) advance() {
	switch {
	case m.Stage == All:
		m.record("complete", "%s on %d agents", m.Target.Version, len(m.Agents))
		m.Done, m.Kept = m.Target, nil
		m.Phase, m.Target, m.Agents, m.Stage, m.StageAt = Idle, Release{}, nil, "", time.Time{}
	case m.Stage == One && (len(m.in.Members)+9)/10 > len(m.Agents):
		m.record("stage", "%s: a tenth of %d agents", m.Target.Version, len(m.in.Members))
		m.enter(Tenth)
	default:
		m.record("stage", "%s: all %d agents", m.Target.Version, len(m.in.Members))
		m.enter(All)
	}
}

// due is when the state changes by time alone.
func (m *machine) due() time.Time {
	if m.Phase != Rolling {
		return time.Time{}
	}
	if m.short() {
		return m.in.Now.Add(retry)
	}
	due, settled := m.StageAt.Add(m.in.Plan.deadline()), m.in.Now
	for _, a := range m.Agents {
		member, _ := m.member(a)
		if r := member.Report; !r.about(m.Target) || r.State != api.PackageReady {
			return due
		} else if at := r.Since.Add(m.in.Plan.settle()); at.After(settled) {
			settled = at
		}
	}
	return settled
}
