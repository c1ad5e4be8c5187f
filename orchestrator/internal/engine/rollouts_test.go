package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/engine/packtest"
	"github.com/stavily/agents/orchestrator/internal/rollout"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// fleet enrols action agents that ask for their packages.
func (w world) fleet(agents int) []agent {
	w.t.Helper()
	var all []agent
	for n := range agents {
		a := w.enrol(api.Action, api.AgentID(fmt.Sprintf("a%02d", n)), "h")
		w.set(a)
		w.tells(a)
		all = append(all, a)
	}
	return all
}

// set is what an agent is to have now.
func (w world) set(a agent) api.Assignments {
	w.t.Helper()
	set, _, err := w.Assignments(w.t.Context(), a.Identity, "", 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return set
}

// has is the one version that an agent is to have, or "".
func (w world) has(a agent) string {
	w.t.Helper()
	set := w.set(a)
	if len(set.Plugins) == 0 {
		return ""
	}
	return set.Plugins[0].Version
}

// have lists what the agents are to have.
func (w world) have(agents []agent) string {
	w.t.Helper()
	var versions []string
	for _, a := range agents {
		versions = append(versions, w.has(a))
	}
	return strings.Join(versions, " ")
}

// tells sends a heartbeat with these states of assigned packages.
func (w world) tells(a agent, states ...api.AssignedState) {
	w.t.Helper()
	if _, err := w.Heartbeat(w.t.Context(), a.Identity, api.Heartbeat{Status: StatusOnline, Assigned: states}); err != nil {
		w.t.Fatal(err)
	}
}

// tell lets agents report what they are to have in this state, at once and again for a
// while, as they do.
func (w world) tell(agents []agent, state api.PackageState, lasting time.Duration) {
	w.t.Helper()
	for end := time.Now().Add(lasting); ; time.Sleep(30 * time.Second) {
		for _, a := range agents {
			var states []api.AssignedState
			for _, p := range w.set(a).Plugins {
				states = append(states, api.AssignedState{ID: p.ID, Version: p.Version, Digest: p.Digest, Attempt: p.Attempt, State: state, Message: "disk full"})
			}
			w.tells(a, states...)
		}
		if time.Now().After(end) {
			return
		}
	}
}

func (w world) assigns(plugin api.PluginID, within string, s store.Selector) store.Assignment {
	w.t.Helper()
	a, err := w.Assign(w.t.Context(), "default", AssignSpec{Plugin: plugin, Range: within, Selector: s})
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w world) assignment(plugin api.PluginID, s store.Selector) (a store.Assignment) {
	w.t.Helper()
	w.read(func(r store.Reader) (err error) {
		a, err = r.Assignment(plugin, s)
		return err
	})
	return a
}

const longEnough = rollout.DefaultSettle + time.Minute

func TestStagedRollOut(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		agents := w.fleet(12)
		w.publishes("default", packtest.Pack(t, "cleaner", "1.0.0", nil), "")
		w.assigns("cleaner", "^1", store.All)
		if got := w.have(agents); got != "1.0.0"+strings.Repeat(" ", 11) {
			t.Errorf("at first %q, want one agent to have it", got)
		}
		w.tell(agents, api.PackageReady, longEnough)
		if got := w.have(agents); got != "1.0.0 1.0.0"+strings.Repeat(" ", 10) {
			t.Errorf("then %q, want a tenth of 12 agents to have it", got)
		}
		w.tell(agents, api.PackageReady, longEnough)
		w.tell(agents, api.PackageReady, longEnough)
		if a := w.assignment("cleaner", store.All); a.State.Phase != rollout.Idle || a.State.Done.Version != "1.0.0" {
			t.Fatalf("state %+v, want it complete", a.State)
		}
		fresh := w.enrol(api.Action, "fresh", "h")
		w.publishes("default", packtest.Pack(t, "cleaner", "1.1.0", nil), "")
		if got := w.has(agents[0]) + w.has(agents[1]) + w.has(fresh); got != "1.1.01.0.01.0.0" {
			t.Errorf("after 1.1.0 was published: %q, want the first agent alone to have it, and a fresh one what completed", got)
		}
		w.tell(agents, api.PackageFailed, time.Second)
		a := w.assignment("cleaner", store.All)
		if a.State.Phase != rollout.Stopped || !strings.Contains(a.State.Reason, "a00: failed: disk full") {
			t.Errorf("after a failure: %+v", a.State)
		}
		w.audited("rollout.stop", "cleaner to all")
		if _, err := w.Rollout(t.Context(), "default", "cleaner", "", rollout.Resume); err != nil {
			t.Fatal(err)
		}
		if p := w.set(agents[0]).Plugins[0]; p.Attempt != 3 {
			t.Errorf("attempt %d after a resume, want 3: the agent has to try again", p.Attempt)
		}
		if _, err := w.Rollout(t.Context(), "default", "cleaner", "", rollout.Abort); err != nil {
			t.Fatal(err)
		}
		if got := w.have(agents); strings.Contains(got, "1.1.0") {
			t.Errorf("after abort: %q", got)
		}
		if _, err := w.Rollout(t.Context(), "default", "cleaner", "", rollout.Abort); api.CodeOf(err) != api.CodeConflict {
			t.Errorf("abort of nothing: %v", err)
		}
	})
}

// TestAReportDuringALookCounts: agents tell what is new once, also while a look that has read
// what they told before is not over.
func TestAReportDuringALookCounts(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		agents := w.fleet(2)
		w.publishes("default", packtest.Pack(t, "cleaner", "1.0.0", nil), "")
		a := w.assigns("cleaner", "^1", store.All)
		told := func(state api.PackageState) {
			p := w.set(agents[0]).Plugins[0]
			w.tells(agents[0], api.AssignedState{ID: p.ID, Version: p.Version, Digest: p.Digest, Attempt: p.Attempt, State: state})
		}
		told(api.PackageInstalling)

		until := w.now().Add(lookLimit)
		if err := w.postpone(t.Context(), "default", []store.Assignment{a}, until); err != nil {
			t.Fatal(err)
		}
		var members []rollout.Member
		w.read(func(r store.Reader) error {
			all, err := r.Agents()
			members = MembersOf(all, []store.Assignment{a}, a, w.now())
			return err
		})
		told(api.PackageReady)
		if err := w.lookAtRollout(t.Context(), "default", a, members, until); err != nil {
			t.Fatal(err)
		}
		time.Sleep(longEnough)
		if got := w.has(agents[1]); got != "1.0.0" {
			t.Errorf("the second agent has %q, want 1.0.0 since the first told that it is ready", got)
		}
	})
}

// TestARollOutThatFailsHoldsUpNoOther: what cannot be looked at is told, and the rest is looked at.
func TestARollOutThatFailsHoldsUpNoOther(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		w.fleet(2)
		w.publishes("default", packtest.Pack(t, "cleaner", "1.0.0", nil), "")
		good := w.assigns("cleaner", "^1", store.All)
		err := w.update(t.Context(), "default", func(x *tx) error {
			bad := store.Assignment{Plugin: "broken", Selector: store.All, Range: "no range"}
			bad.State.Due, good.State.Due = x.now.Add(-time.Hour), x.now // the broken one is first
			return errors.Join(x.PutAssignment(bad), x.PutAssignment(good))
		})
		if err != nil {
			t.Fatal(err)
		}
		postponed := w.now().Add(lookLimit)
		if _, err := w.tickRollouts(t.Context(), "default"); err == nil || !strings.Contains(err.Error(), "no range") {
			t.Errorf("the look says %v, want what is wrong with the range", err)
		}
		if got := w.assignment("cleaner", store.All).State.Due; !got.After(postponed) {
			t.Errorf("the other one is due at %v, as it was postponed: it was not looked at", got)
		}
	})
}

// TestSilentAgentStopsTheRollOut needs no heartbeat to notice that there is none.
func TestSilentAgentStopsTheRollOut(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		w.fleet(3)
		w.publishes("default", packtest.Pack(t, "cleaner", "1.0.0", nil), "")
		w.assigns("cleaner", "^1", store.All)
		time.Sleep(rollout.DefaultDeadline + time.Second)
		if a := w.assignment("cleaner", store.All); a.State.Phase != rollout.Stopped || !strings.Contains(a.State.Reason, "a00 has said nothing") {
			t.Errorf("after the deadline: %+v", a.State)
		}
	})
}

// TestAnEngineThatRestartsGoesOn over the same store.
func TestAnEngineThatRestartsGoesOn(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		agents := w.fleet(3)
		w.publishes("default", packtest.Pack(t, "cleaner", "1.0.0", nil), "")
		w.assigns("cleaner", "^1", store.All)
		set := w.set(agents[0])
		next := world{New(w.store, w.ca, Options{Logger: slog.New(slog.DiscardHandler), Depot: w.depot}), w.uses, t, nil}
		if again := next.set(agents[0]); again.Version != set.Version {
			t.Errorf("the set has version %s after a restart, %s before: every agent would look anew", again.Version, set.Version)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- next.Run(ctx) }()
		next.tell(agents, api.PackageReady, longEnough)
		if got := next.have(agents); got != "1.0.0 1.0.0 1.0.0" {
			t.Errorf("after a restart %q", got)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestGrownPermissionsWait(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		agents := w.fleet(2)
		w.publishes("default", packtest.Pack(t, "cleaner", "1.0.0", nil, "permissions: {network: ['a.example:443']}"), "")
		w.assigns("cleaner", "^1", store.All)
		if p := w.set(agents[0]).Plugins[0]; !p.Approved {
			t.Error("the version that is assigned first is not approved")
		}
		for range 2 {
			w.tell(agents, api.PackageReady, longEnough)
		}
		w.publishes("default", packtest.Pack(t, "cleaner", "1.1.0", nil, "permissions: {network: ['a.example:443', 'b.example:443']}"), "")
		a := w.assignment("cleaner", store.All)
		if a.State.Phase != rollout.Waiting || !strings.Contains(a.State.Reason, "network b.example:443") || !strings.Contains(a.State.Reason, "approve cleaner@1.1.0") {
			t.Fatalf("state %+v", a.State)
		}
		if got := w.have(agents); got != "1.0.0 1.0.0" {
			t.Errorf("an agent has what was not approved: %q", got)
		}
		p := w.publishes("default", packtest.Pack(t, "cleaner", "1.2.0", nil, "permissions: {network: ['b.example:443']}"), "")
		if !p.ApprovedAt.IsZero() {
			t.Error("1.2.0 is approved though no approved version asks for that")
		}
		if _, err := w.Approve(t.Context(), "default", "cleaner", "1.1.0"); err != nil {
			t.Fatal(err)
		}
		if got := w.have(agents); got != "1.2.0 1.0.0" { // which asks for no more than 1.1.0
			t.Errorf("after the approval: %q", got)
		}
		if p := w.set(agents[0]).Plugins[0]; !p.Approved {
			t.Error("the agent is not told of the approval")
		}
		w.audited("package.approve", "cleaner@1.1.0")
		if _, err := w.Approve(t.Context(), "default", "cleaner", "9.0.0"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("approving what is not there: %v", err)
		}
	})
}

// TestLongPoll: an agent that waits is told of a change at once, and of nothing else.
func TestLongPoll(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		agents := w.fleet(1)
		w.publishes("default", packtest.Pack(t, "cleaner", "1.0.0", nil), "")
		begin := time.Now()
		known := w.set(agents[0])
		time.AfterFunc(10*time.Second, func() { w.assigns("cleaner", "1.0.0", store.All) })
		set, changed, err := w.Assignments(t.Context(), agents[0].Identity, known.Version, time.Minute)
		if err != nil || !changed || len(set.Plugins) != 1 || time.Since(begin) > 11*time.Second {
			t.Errorf("%+v, %v, %v after %s; want the set once it was assigned", set, changed, err, time.Since(begin))
		}
		if _, changed, err = w.Assignments(t.Context(), agents[0].Identity, set.Version, time.Minute); err != nil || changed {
			t.Errorf("without a change: %v, %v", changed, err)
		}
		if err := w.Unassign(t.Context(), "default", "cleaner", store.All); err != nil {
			t.Fatal(err)
		}
		if got := w.set(agents[0]); len(got.Plugins) != 0 || got.Version != known.Version {
			t.Errorf("after it was unassigned: %+v, want what it was before", got)
		}
		if err := w.Unassign(t.Context(), "default", "cleaner", store.All); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("again: %v", err)
		}
	})
}

// TestWhoHasWhat: the closest assignment holds, for agents that run such plugins.
func TestWhoHasWhat(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		agents := w.fleet(2)
		sensor := w.enrol(api.Sensor, "s", "h")
		other := w
		for _, v := range []string{"1.0.0", "1.1.0", "2.0.0", "3.0.0-rc.1"} {
			w.publishes("default", packtest.Pack(t, "cleaner", v, nil), "")
		}
		plan := rollout.Plan{AtOnce: true}
		for selector, within := range map[store.Selector]string{store.All: "^1", store.OfAgent("a01"): ">=1, <3"} {
			if _, err := w.Assign(t.Context(), "default", AssignSpec{Plugin: "cleaner", Range: within, Selector: selector, Plan: plan}); err != nil {
				t.Fatal(err)
			}
		}
		if got := w.have(append(agents, sensor)); got != "1.1.0 2.0.0 " {
			t.Errorf("versions %q", got)
		}
		if _, _, err := w.PackageFile(t.Context(), agents[0].Identity, "cleaner", "2.0.0"); api.CodeOf(err) != api.CodeNotFound {
			t.Errorf("another's version: %v", err)
		}
		p, f, err := w.PackageFile(t.Context(), agents[1].Identity, "cleaner", "2.0.0")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if content, err := io.ReadAll(f); err != nil || int64(len(content)) != p.Size {
			t.Errorf("%d bytes, %v, want %d", len(content), err, p.Size)
		}
		if err := other.RemovePackage(t.Context(), "default", "cleaner", "2.0.0"); api.CodeOf(err) != api.CodeConflict {
			t.Errorf("removing what agents have: %v", err)
		}
		if err := w.RemovePackage(t.Context(), "default", "cleaner", "1.0.0"); err != nil {
			t.Errorf("removing what nobody has: %v", err)
		}
		if _, err := w.Rollout(t.Context(), "default", "cleaner", "", rollout.Resume); api.CodeOf(err) != api.CodeInvalid {
			t.Errorf("a roll-out of two: %v", err)
		}
	})
}

func TestAssignmentsThatCannotBe(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		w.publishes("default", packtest.Pack(t, "cleaner", "1.0.0", nil), "")
		for name, c := range map[string]struct {
			spec AssignSpec
			want api.Code
		}{
			"no such plugin":       {AssignSpec{Plugin: "nothing", Selector: store.All}, api.CodeNotFound},
			"a path":               {AssignSpec{Plugin: "../x", Selector: store.All}, api.CodeInvalid},
			"no such version":      {AssignSpec{Plugin: "cleaner", Range: "^2", Selector: store.All}, api.CodeInvalid},
			"no range":             {AssignSpec{Plugin: "cleaner", Range: "newest", Selector: store.All}, api.CodeInvalid},
			"nobody":               {AssignSpec{Plugin: "cleaner"}, api.CodeInvalid},
			"no agent's id":        {AssignSpec{Plugin: "cleaner", Selector: "agent:../x"}, api.CodeInvalid},
			"an empty tag":         {AssignSpec{Plugin: "cleaner", Selector: "tag:"}, api.CodeInvalid},
			"a time that is none":  {AssignSpec{Plugin: "cleaner", Selector: store.All, Plan: rollout.Plan{Settle: -1}}, api.CodeInvalid},
			"a deadline too late":  {AssignSpec{Plugin: "cleaner", Selector: store.All, Plan: rollout.Plan{Deadline: 1e18}}, api.CodeInvalid},
			"another organisation": {AssignSpec{Plugin: "cleaner", Selector: store.All}, api.CodeNotFound},
		} {
			org := api.OrgID("default")
			if name == "another organisation" {
				org = "other"
			}
			if _, err := w.Assign(t.Context(), org, c.spec); api.CodeOf(err) != c.want {
				t.Errorf("%s: %v, want %s", name, err, c.want)
			}
		}
		if _, err := w.Rollout(t.Context(), "default", "cleaner", "", rollout.Abort); api.CodeOf(err) != api.CodeNotFound {
			t.Errorf("a roll-out of what is assigned to nobody: %v", err)
		}
		a := w.fleet(1)[0]
		_, err := w.Heartbeat(t.Context(), a.Identity, api.Heartbeat{Status: StatusOnline, Assigned: []api.AssignedState{{ID: "x", Version: "../1", Digest: "sha256:"}}})
		if api.CodeOf(err) != api.CodeInvalid {
			t.Errorf("a report of no package: %v", err)
		}
	})
}
