package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stavily/agents/orchestrator/internal/rollout"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

const (
	// onlineWithin is how long ago an agent was heard of that counts as online.
	onlineWithin = SilentAfter

	// reportLag gathers the reports of many agents into one look at a roll-out; with
	// thousands of agents a look is long, and lagFactor keeps it to a part of the time.
	reportLag = 500 * time.Millisecond
	lagFactor = 10

	// lookLimit is in which a look is over. Of a server that dies in one the next takes it up.
	lookLimit = 30 * time.Second
)

// orchestrator is the actor of what nobody asked for just now.
const orchestrator = "orchestrator"

// MembersOf are the agents that an assignment is for, in order of id.
func MembersOf(agents []store.Agent, assignments []store.Assignment, a store.Assignment, now time.Time) []rollout.Member {
	var members []rollout.Member
	for _, agent := range agents {
		holds, found := closest(assignments, a.Plugin, agent)
		if agent.State == store.Revoked || !found || holds.Selector != a.Selector {
			continue
		}
		members = append(members, rollout.Member{
			Agent:  agent.ID,
			Online: agent.State == store.Active && agent.TakesPackages && agent.Status != StatusOffline && now.Sub(agent.LastSeen) < onlineWithin,
			Report: reportOf(agent, a.Plugin),
		})
	}
	return members
}

func reportOf(agent store.Agent, id api.PluginID) rollout.Report {
	for _, told := range agent.Assigned {
		if told.ID == id {
			release := rollout.Release{Version: told.Version, Digest: told.Digest, Attempt: told.Attempt}
			return rollout.Report{Release: release, State: told.State, Message: told.Message, Since: told.Since}
		}
	}
	return rollout.Report{}
}

// stepPlugin looks at every assignment of a plugin.
func (t *tx) stepPlugin(id api.PluginID) error {
	assignments, err := t.Assignments()
	if err != nil || !slices.ContainsFunc(assignments, func(a store.Assignment) bool { return a.Plugin == id }) {
		return err
	}
	agents, err := t.Agents()
	if err != nil {
		return err
	}
	for _, a := range assignments {
		if a.Plugin == id {
			err = errors.Join(err, t.stepRollout(a, MembersOf(agents, assignments, a, t.now), "", orchestrator))
		}
	}
	return err
}

// stepRollout moves one roll-out as far as it goes.
func (t *tx) stepRollout(a store.Assignment, members []rollout.Member, c rollout.Command, by string) error {
	in := rollout.Input{Now: t.now, Plan: a.Plan, Members: members, Command: c}
	published, err := t.Packages(a.Plugin)
	if err != nil {
		return err
	}
	best, err := highest(published, a.Range)
	if err != nil {
		return err
	}
	in.Best = rollout.Release{Version: best.Version, Digest: best.Digest}
	if best.Version != "" && best.ApprovedAt.IsZero() {
		growth, err := GrowthOf(t, best)
		if err != nil {
			return err
		}
		in.Missing = fmt.Sprintf("%s asks for what %s does not: %s. Approve it with: stavily plugins approve %s@%s", best.Version, cmp.Or(growth.Against, "nothing that was approved"), strings.Join(growth.Grown, ", "), best.ID, best.Version)
	}
	state, effects, err := rollout.Step(a.State, in)
	if err != nil {
		return api.Errorf(api.CodeConflict, "%s for %s: %v.", a.Plugin, a.Selector, err)
	}
	a.State = state
	if err := t.PutAssignment(a); err != nil {
		return err
	}
	t.due = earlier(t.due, state.Due)
	for _, effect := range effects {
		switch effect := effect.(type) {
		case rollout.Deliver:
			t.delivered = true
		case rollout.Record:
			t.engine.log.Info("roll-out", "org", t.org, "plugin", a.Plugin, "agents", a.Selector, "action", effect.Action, "detail", effect.Detail)
			if err := t.audit(by, "rollout."+effect.Action, string(a.Plugin)+" to "+string(a.Selector), effect.Detail); err != nil {
				return err
			}
		}
	}
	return nil
}

// Rollout lets an operator resume, abort or speed up a roll-out. Without a selector it is
// the only assignment of the plugin.
func (e *Engine) Rollout(ctx context.Context, org api.OrgID, id api.PluginID, s store.Selector, c rollout.Command) (a store.Assignment, err error) {
	if c == "" {
		return a, api.Errorf(api.CodeInvalid, "A roll-out needs to be told something: resume, abort or at-once.")
	}
	err = e.update(ctx, org, func(t *tx) error {
		assignments, err := t.Assignments()
		if err != nil {
			return err
		}
		if a, err = only(assignments, id, s); err != nil {
			return err
		}
		agents, err := t.Agents()
		if err != nil {
			return err
		}
		if err := t.stepRollout(a, MembersOf(agents, assignments, a, t.now), c, t.actor); err != nil {
			return err
		}
		a, err = t.Assignment(a.Plugin, a.Selector)
		return err
	})
	return a, err
}

// only finds the assignment that is meant.
func only(assignments []store.Assignment, id api.PluginID, s store.Selector) (store.Assignment, error) {
	var found []store.Assignment
	var selectors []string
	for _, a := range assignments {
		if a.Plugin != id {
			continue
		}
		selectors = append(selectors, string(a.Selector))
		if s == "" || s == a.Selector {
			found = append(found, a)
		}
	}
	switch {
	case len(selectors) == 0:
		return store.Assignment{}, api.Errorf(api.CodeNotFound, "Plugin %.80s is assigned to nobody.", id)
	case len(found) == 0:
		return store.Assignment{}, api.Errorf(api.CodeNotFound, "Plugin %s is not assigned to %.80s, but to %s.", id, s, strings.Join(selectors, ", "))
	case len(found) > 1:
		return store.Assignment{}, api.Errorf(api.CodeInvalid, "Plugin %s is assigned several times; say which is meant: %s.", id, strings.Join(selectors, ", "))
	}
	return found[0], nil
}

// tickRollouts looks at the roll-outs that are due, each in its own transaction. The
// agents are read before: there may be thousands, and writers wait for nobody.
func (e *Engine) tickRollouts(ctx context.Context, org api.OrgID) (next time.Time, err error) {
	var due, assignments []store.Assignment
	var agents []store.Agent
	begin := e.now()
	err = e.View(ctx, org, func(r store.Reader) (err error) {
		due, err = r.DueAssignments(begin)
		return err
	})
	if len(due) > 0 {
		err = errors.Join(err, e.postpone(ctx, org, due, begin.Add(lookLimit)), e.View(ctx, org, func(r store.Reader) (err error) {
			if assignments, err = r.Assignments(); err != nil {
				return err
			}
			agents, err = r.Agents()
			return err
		}))
	}
	if err == nil {
		for _, a := range due {
			err = errors.Join(err, e.lookAtRollout(ctx, org, a, MembersOf(agents, assignments, a, e.now()), begin.Add(lookLimit)))
		}
	}
	if len(due) > 0 {
		e.lookTime.Store(int64(e.now().Sub(begin)))
	}
	if err != nil {
		return time.Time{}, err
	}
	err = e.View(ctx, org, func(r store.Reader) (err error) {
		next, _, err = r.NextDueAssignment()
		return err
	})
	if now := e.now(); !next.IsZero() && !next.After(now) {
		next = now.Add(reapRetry)
	}
	return next, err
}

// postpone has roll-outs be due later, before what agents told is read: what they tell from then
// on makes them due earlier than that.
func (e *Engine) postpone(ctx context.Context, org api.OrgID, due []store.Assignment, until time.Time) error {
	return e.update(ctx, org, func(t *tx) error {
		for _, a := range due {
			a, err := t.Assignment(a.Plugin, a.Selector)
			if errors.Is(err, store.ErrNotFound) {
				continue // unassigned meanwhile
			}
			if err != nil {
				return err
			}
			a.State.Due = until
			if err := t.PutAssignment(a); err != nil {
				return err
			}
		}
		return nil
	})
}

// lookAtRollout moves a roll-out by what its members told, and soon again where one told more
// meanwhile: that it was due before it had been postponed until says so.
func (e *Engine) lookAtRollout(ctx context.Context, org api.OrgID, a store.Assignment, members []rollout.Member, until time.Time) error {
	return e.update(ctx, org, func(t *tx) error {
		a, err := t.Assignment(a.Plugin, a.Selector)
		if errors.Is(err, store.ErrNotFound) {
			return nil // unassigned meanwhile
		}
		if err != nil {
			return err
		}
		hastened, err := t.DueAssignments(until.Add(-1))
		if err != nil {
			return err
		}
		if err := t.stepRollout(a, members, "", orchestrator); err != nil {
			return err
		}
		if !slices.ContainsFunc(hastened, func(h store.Assignment) bool { return h.Plugin == a.Plugin && h.Selector == a.Selector }) {
			return nil
		}
		return t.hasten(a.Plugin)
	})
}

// hasten has the roll-outs of a plugin be looked at soon.
func (t *tx) hasten(id api.PluginID) error {
	at := t.now.Add(max(reportLag, lagFactor*time.Duration(t.engine.lookTime.Load())))
	t.due = earlier(t.due, at)
	return t.HastenAssignments(id, at)
}

// reported takes what an agent tells of its assigned packages.
func (t *tx) reported(a *store.Agent, told []api.AssignedState) error {
	now := make([]store.PackageState, len(told))
	for n, state := range told {
		now[n] = store.PackageState{AssignedState: state, Since: t.now}
		for _, before := range a.Assigned {
			if before.ID == state.ID && before.Digest == state.Digest && before.Attempt == state.Attempt && before.State == state.State {
				now[n].Since = before.Since
			}
		}
		if slices.Contains(a.Assigned, now[n]) {
			continue
		}
		if err := t.hasten(state.ID); err != nil {
			return err
		}
	}
	a.Assigned = now
	return nil
}

// checkReports bounds what an agent tells of its packages.
func checkReports(told []api.AssignedState) error {
	if len(told) > api.MaxAssigned {
		return api.Errorf(api.CodeInvalid, "assigned has %d packages and may have %d.", len(told), api.MaxAssigned)
	}
	for n := range told {
		if err := errors.Join(told[n].ID.Validate(), api.ValidateVersion(told[n].Version), api.ValidateDigest(told[n].Digest)); err != nil {
			return api.Errorf(api.CodeInvalid, "assigned: %v.", err)
		}
		told[n].Message = shortened(told[n].Message)
		told[n].State = api.PackageState(shortened(string(told[n].State)))
	}
	return nil
}

// maxMessage is how much of an agent's sentence about one package is kept.
const maxMessage = 1 << 10

func shortened(s string) string {
	if len(s) > maxMessage {
		return strings.ToValidUTF8(s[:maxMessage], "") + "…"
	}
	return s
}
