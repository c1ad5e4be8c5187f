package rollout

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/shared/pkg/api"
)

var begin = time.Date(2026, 1, 2, 15, 0, 0, 0, time.UTC)

func version(v string) Release { return Release{Version: v, Digest: "sha256:" + v} }

// fleet is a set of simulated agents and one roll-out for them.
type fleet struct {
	t       *testing.T
	now     time.Time
	state   State
	members []Member
	best    Release
	missing string
	plan    Plan
	records []string
}

func newFleet(t *testing.T, agents int, best Release) *fleet {
	f := &fleet{t: t, now: begin, best: best}
	for n := range agents {
		f.members = append(f.members, Member{Agent: api.AgentID(fmt.Sprintf("a%03d", n)), Online: true})
	}
	return f
}

func (f *fleet) step(c Command) error {
	f.t.Helper()
	state, effects, err := Step(f.state, Input{Now: f.now, Plan: f.plan, Best: f.best, Missing: f.missing, Members: f.members, Command: c})
	if err != nil {
		return err
	}
	f.state = state
	for _, e := range effects {
		if r, ok := e.(Record); ok {
			f.records = append(f.records, r.Action)
		}
	}
	return nil
}

// after lets time pass and looks.
func (f *fleet) after(d time.Duration) {
	f.t.Helper()
	f.now = f.now.Add(d)
	if err := f.step(""); err != nil {
		f.t.Fatal(err)
	}
}

// report lets every agent that has not answered about what it is to have do so.
func (f *fleet) report(state api.PackageState) {
	for i := range f.members {
		want := f.state.For(f.members[i].Agent)
		if r := &f.members[i].Report; !want.IsZero() && f.members[i].Online && (r.Release != want || r.State != state) {
			*r = Report{Release: want, State: state, Message: "disk full", Since: f.now}
		}
	}
}

// have counts the agents that are to have each version.
func (f *fleet) have() string {
	count := map[string]int{}
	for _, m := range f.members {
		count[f.state.For(m.Agent).Version]++
	}
	return strings.TrimPrefix(fmt.Sprint(count), "map")
}

func (f *fleet) want(phase Phase, stage Stage, have string) {
	f.t.Helper()
	if f.state.Phase != phase || f.state.Stage != stage || f.have() != have {
		f.t.Errorf("phase %q, stage %q, %s (%s); want %q, %q, %s", f.state.Phase, f.state.Stage, f.have(), f.state.Reason, phase, stage, have)
	}
}

// completed is a fleet on which 1.0.0 is complete.
func completed(t *testing.T, agents int) *fleet {
	f := newFleet(t, agents, version("1.0.0"))
	f.plan.AtOnce = true
	f.after(0)
	f.report(api.PackageReady)
	f.after(DefaultSettle)
	f.plan.AtOnce, f.records = false, nil
	f.want(Idle, "", fmt.Sprintf("[1.0.0:%d]", agents))
	return f
}

func TestStages(t *testing.T) {
	f := completed(t, 25)
	f.best = version("1.1.0")
	f.after(time.Hour)
	f.want(Rolling, One, "[1.0.0:24 1.1.0:1]")
	f.report(api.PackageInstalling)
	f.after(time.Second)
	f.report(api.PackageReady)
	f.after(DefaultSettle - time.Second)
	f.want(Rolling, One, "[1.0.0:24 1.1.0:1]")
	f.after(time.Second)
	f.want(Rolling, Tenth, "[1.0.0:22 1.1.0:3]")
	f.report(api.PackageReady)
	f.after(DefaultSettle)
	f.want(Rolling, All, "[1.1.0:25]")
	f.report(api.PackageReady)
	f.after(DefaultSettle)
	f.want(Idle, "", "[1.1.0:25]")
	if diff := cmp.Diff([]string{"begin", "stage", "stage", "complete"}, f.records); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	f.members = append(f.members, Member{Agent: "new", Online: true})
	f.want(Idle, "", "[1.1.0:26]")
}

func TestFewAgents(t *testing.T) {
	for agents, stages := range map[int]string{0: "begin stage complete", 1: "begin stage complete", 2: "begin stage complete", 10: "begin stage complete", 11: "begin stage stage complete"} {
		f := newFleet(t, agents, version("1.0.0"))
		f.after(0)
		for range 3 {
			f.report(api.PackageReady)
			f.after(DefaultSettle)
		}
		if got := strings.Join(f.records, " "); f.state.Phase != Idle || got != stages {
			t.Errorf("%d agents: %q in phase %q, want %q", agents, got, f.state.Phase, stages)
		}
	}
}

func TestAFailureStopsIt(t *testing.T) {
	for _, state := range []api.PackageState{api.PackageRefused, api.PackageFailed, api.PackageRolledBack} {
		f := completed(t, 25)
		f.best = version("1.1.0")
		f.after(0)
		f.report(api.PackageReady)
		f.after(DefaultSettle)
		f.report(state)
		f.after(0)
		f.want(Stopped, Tenth, "[1.0.0:22 1.1.0:3]")
		if !strings.Contains(f.state.Reason, "a000: "+string(state)+": disk full") {
			t.Errorf("%s: reason %q", state, f.state.Reason)
		}
		f.after(24 * time.Hour)
		f.want(Stopped, Tenth, "[1.0.0:22 1.1.0:3]")
		if !f.state.Due.IsZero() {
			t.Errorf("%s: due at %s though only an operator can go on", state, f.state.Due)
		}
	}
}

// TestResume: what was reported of the attempt before does not count for the new one.
func TestResume(t *testing.T) {
	f := completed(t, 25)
	f.best = version("1.1.0")
	f.after(0)
	f.report(api.PackageFailed)
	f.after(0)
	f.want(Stopped, One, "[1.0.0:24 1.1.0:1]")
	if err := f.step(Resume); err != nil {
		t.Fatal(err)
	}
	f.want(Rolling, One, "[1.0.0:24 1.1.0:1]")
	f.report(api.PackageReady)
	f.after(DefaultSettle)
	f.want(Rolling, Tenth, "[1.0.0:22 1.1.0:3]")
}

func TestAbortAndBegin(t *testing.T) {
	f := completed(t, 25)
	f.best = version("1.1.0")
	f.after(0)
	if err := f.step(Abort); err != nil {
		t.Fatal(err)
	}
	f.want(Idle, "", "[1.0.0:25]")
	f.after(time.Hour)
	f.want(Idle, "", "[1.0.0:25]")
	if err := f.step(Abort); err == nil {
		t.Error("a second abort succeeds")
	}
	if err := f.step(Resume); err != nil {
		t.Fatal(err)
	}
	f.want(Rolling, One, "[1.0.0:24 1.1.0:1]")
	if err := f.step(Resume); err == nil {
		t.Error("a resume of what rolls succeeds")
	}
	if err := f.step("explode"); err == nil {
		t.Error("an unknown command succeeds")
	}
}

func TestAtOnce(t *testing.T) {
	f := completed(t, 25)
	f.best = version("1.1.0")
	f.after(0)
	if err := f.step(AtOnce); err != nil {
		t.Fatal(err)
	}
	f.want(Rolling, All, "[1.1.0:25]")
	f.report(api.PackageFailed)
	f.after(0)
	f.want(Stopped, All, "[1.1.0:25]")
}

func TestSilenceStopsIt(t *testing.T) {
	f := completed(t, 25)
	f.best = version("1.1.0")
	f.after(0)
	f.after(DefaultDeadline - 1)
	f.want(Rolling, One, "[1.0.0:24 1.1.0:1]")
	f.after(1)
	f.want(Stopped, One, "[1.0.0:24 1.1.0:1]")

	f = completed(t, 25)
	f.best = version("1.1.0")
	f.after(0)
	f.report(api.PackageWaiting)
	f.after(DefaultDeadline)
	f.want(Stopped, One, "[1.0.0:24 1.1.0:1]")
	if !strings.Contains(f.state.Reason, "disk full") {
		t.Errorf("reason %q does not say what the agent says", f.state.Reason)
	}
}

// TestWhoIsSwitchedOff: agents that are not online are not chosen to go first, and the
// last stage does not wait for them.
func TestWhoIsSwitchedOff(t *testing.T) {
	f := completed(t, 3)
	for i := range f.members {
		f.members[i].Online = false
	}
	f.best = version("1.1.0")
	f.after(0)
	f.want(Rolling, One, "[1.0.0:3]")
	f.after(24 * time.Hour)
	f.want(Rolling, One, "[1.0.0:3]")
	f.members[1].Online = true
	f.after(retry)
	f.want(Rolling, One, "[1.0.0:2 1.1.0:1]")
	f.report(api.PackageReady)
	f.after(DefaultSettle)
	f.want(Idle, "", "[1.1.0:3]")
}

// TestALateFailureInTheLastStage: who comes online later is not waited for, but heard.
func TestALateFailureInTheLastStage(t *testing.T) {
	f := completed(t, 3)
	f.members[2].Online = false
	f.best = version("1.1.0")
	f.after(0)
	if err := f.step(AtOnce); err != nil {
		t.Fatal(err)
	}
	f.members[2].Online = true
	f.members[2].Report = Report{Release: f.state.For("a002"), State: api.PackageFailed, Since: f.now}
	f.after(0)
	f.want(Stopped, All, "[1.1.0:3]")
}

func TestApproval(t *testing.T) {
	f := completed(t, 25)
	f.best, f.missing = version("1.1.0"), "it asks for the network"
	f.after(0)
	f.want(Waiting, "", "[1.0.0:25]")
	if f.state.Reason != f.missing {
		t.Errorf("reason %q", f.state.Reason)
	}
	f.after(time.Hour)
	f.want(Waiting, "", "[1.0.0:25]")
	f.missing = ""
	f.after(0)
	f.want(Rolling, One, "[1.0.0:24 1.1.0:1]")
}

// TestAnotherVersionTakesItsPlace while one rolls, waits or has stopped.
func TestAnotherVersionTakesItsPlace(t *testing.T) {
	f := completed(t, 25)
	f.best = version("1.1.0")
	f.after(0)
	f.report(api.PackageFailed)
	f.after(0)
	f.best = version("1.1.1")
	f.after(0)
	f.want(Rolling, One, "[1.0.0:24 1.1.1:1]")
	f.best = version("1.0.0")
	f.after(0)
	f.want(Idle, "", "[1.0.0:25]")
}

func TestAgentsThatLeave(t *testing.T) {
	f := completed(t, 25)
	f.best = version("1.1.0")
	f.after(0)
	f.members = f.members[1:] // the one that went first
	f.after(0)
	f.want(Rolling, One, "[1.0.0:23 1.1.0:1]")
	f.members = nil
	f.after(0)
	f.want(Idle, "", "[]")
	if f.state.Done.Version != "1.1.0" {
		t.Errorf("done is %q with nobody to wait for, want 1.1.0", f.state.Done.Version)
	}
}
