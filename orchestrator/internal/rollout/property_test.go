package rollout

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stavily/agents/shared/pkg/api"
)

// world is a fleet that does anything, in front of a roll-out.
type world struct {
	*rapid.T
	now     time.Time
	plan    Plan
	members []Member
	best    Release
	missing string
	state   State
}

// change lets one thing happen.
func (w *world) change() {
	switch rapid.IntRange(0, 9).Draw(w.T, "change") {
	case 0:
		w.best = version(rapid.SampledFrom([]string{"1.0.0", "1.1.0", "2.0.0"}).Draw(w.T, "best"))
	case 1:
		w.missing = rapid.SampledFrom([]string{"", "it asks for more"}).Draw(w.T, "missing")
	case 2:
		id := api.AgentID(fmt.Sprintf("a%02d", rapid.IntRange(0, 39).Draw(w.T, "id")))
		at, found := slices.BinarySearchFunc(w.members, id, func(m Member, id api.AgentID) int { return cmpID(m.Agent, id) })
		if found {
			w.members = slices.Delete(slices.Clone(w.members), at, at+1)
		} else {
			w.members = slices.Insert(slices.Clone(w.members), at, Member{Agent: id, Online: true})
		}
	case 3:
		w.now = w.now.Add(time.Duration(rapid.IntRange(0, 1000).Draw(w.T, "seconds")) * time.Second)
	default:
		w.report()
	}
}

func cmpID(a, b api.AgentID) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// report lets agents tell something about what they are to have, mostly good things.
func (w *world) report() {
	states := []api.PackageState{api.PackageReady, api.PackageReady, api.PackageReady, api.PackageReady, api.PackageInstalling, api.PackageFailed}
	state := rapid.SampledFrom(states).Draw(w.T, "state")
	w.members = slices.Clone(w.members)
	for i := range w.members {
		m := &w.members[i]
		want := w.state.For(m.Agent)
		if want.IsZero() || !rapid.Bool().Draw(w.T, "tells") {
			continue
		}
		if m.Report.Release != want || m.Report.State != state {
			m.Report = Report{Release: want, State: state, Since: w.now}
		}
	}
}

func (w *world) step(c Command) {
	in := Input{Now: w.now, Plan: w.plan, Best: w.best, Missing: w.missing, Members: w.members, Command: c}
	before := w.state
	after, effects, err := Step(before, in)
	if err != nil {
		if c == "" || !cmp.Equal(before, after) {
			w.Fatalf("command %q: %v, and the state changed: %s", c, err, cmp.Diff(before, after))
		}
		return
	}
	w.check(before, after, in, effects)
	stored, err := json.Marshal(after)
	if err != nil {
		w.Fatal(err)
	}
	w.state = State{}
	if err := json.Unmarshal(stored, &w.state); err != nil { // as after a restart
		w.Fatal(err)
	}
	in.Command = ""
	again, more, _ := Step(w.state, in)
	if len(more) > 0 || !cmp.Equal(again, w.state, equalTimes) {
		w.Fatalf("the same step again: %v, %s", more, cmp.Diff(w.state, again, equalTimes))
	}
}

var equalTimes = cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })

func (w *world) check(before, after State, in Input, effects []Effect) {
	delivered := slices.ContainsFunc(effects, func(e Effect) bool { _, ok := e.(Deliver); return ok })
	fresh := 0
	for _, m := range in.Members {
		had, has := before.For(m.Agent), after.For(m.Agent)
		kept := after.Done.IsZero() && slices.ContainsFunc(after.Kept, func(k Kept) bool { return k.Release == has })
		if has != after.Target && has != after.Done && !kept {
			w.Fatalf("%s is to have %v, neither target nor done", m.Agent, has)
		}
		if !had.IsZero() && has.IsZero() && in.Command == "" && !in.Best.IsZero() {
			w.Fatalf("%s loses %v to nothing", m.Agent, had)
		}
		if had != has && !delivered {
			w.Fatalf("%s is to have %v instead of %v, and nobody is told", m.Agent, has, had)
		}
		if had != has && has == after.Target {
			fresh++
		}
	}
	switch {
	case after.Phase == Waiting && slices.ContainsFunc(in.Members, func(m Member) bool { return !after.Target.IsZero() && after.For(m.Agent) == after.Target }):
		w.Fatal("an agent is to have what was not approved")
	case before.Phase == Stopped && after.Target == before.Target && after.Phase == Rolling && in.Command == "":
		w.Fatal("it went on by itself after a stop")
	case after.Phase == Rolling && after.Stage == One && fresh > 1:
		w.Fatalf("%d agents in stage one", fresh)
	}
	if before.Phase == Rolling && after.Stage != before.Stage && after.Target == before.Target && in.Command == "" {
		w.settled(before, in)
	}
	if after.Done != before.Done && in.Command == "" && before.Phase == Rolling {
		w.settled(before, in)
	}
	if !after.Due.IsZero() && after.Due.Before(in.Now) {
		w.Fatalf("due at %s, which is over at %s", after.Due, in.Now)
	}
	if after.Phase == Rolling && after.Due.IsZero() {
		w.Fatal("it rolls and nobody would look again")
	}
}

// settled holds that a stage ended only when each of its agents that is still there had
// the target ready for long enough.
func (w *world) settled(s State, in Input) {
	for _, m := range in.Members {
		if !slices.Contains(s.Agents, m.Agent) {
			continue
		}
		if r := m.Report; r.Release != s.Target || r.State != api.PackageReady || in.Now.Sub(r.Since) < in.Plan.settle() {
			w.Fatalf("stage %s ended with %s at %+v", s.Stage, m.Agent, r)
		}
	}
}

func TestRollOutProperties(t *testing.T) {
	completed := 0
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{T: rt, now: begin, best: version("1.0.0")}
		w.plan.AtOnce = rapid.IntRange(0, 9).Draw(rt, "at once") == 0
		for n := range rapid.IntRange(0, 30).Draw(rt, "agents") {
			w.members = append(w.members, Member{Agent: api.AgentID(fmt.Sprintf("a%02d", n)), Online: rapid.IntRange(0, 5).Draw(rt, "off") > 0})
		}
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			w.change()
			c := Command("")
			if rapid.IntRange(0, 14).Draw(rt, "commanded") == 0 {
				c = rapid.SampledFrom([]Command{Resume, Abort, AtOnce}).Draw(rt, "command")
			}
			w.step(c)
		}
		if !w.state.Done.IsZero() {
			completed++
		}
	})
	if completed == 0 {
		t.Error("no roll-out was ever completed: the property was not tried")
	}
}
