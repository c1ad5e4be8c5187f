package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/stavily/agents/orchestrator/internal/rollout"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

// maxPlan bounds the times of a roll-out.
const maxPlan = 30 * 24 * time.Hour

// AssignSpec says who is to have a plugin, and in which versions.
type AssignSpec struct {
	Plugin   api.PluginID
	Range    string // of semantic versions; "": every release
	Selector store.Selector
	Plan     rollout.Plan
}

func (s *AssignSpec) check() error {
	if s.Range == "" {
		s.Range = "*"
	}
	if _, err := semver.NewConstraint(s.Range); err != nil || len(s.Range) > maxText {
		return api.Errorf(api.CodeInvalid, "%.80q is no range of versions; write for example 1.2.3, ^1.2 or \">=1.2, <3\".", s.Range)
	}
	if err := s.Plugin.Validate(); err != nil {
		return api.Errorf(api.CodeInvalid, "%v.", err)
	}
	kind, rest, _ := strings.Cut(string(s.Selector), ":")
	switch {
	case s.Selector == store.All, kind == "tag" && rest != "" && len(rest) <= maxText, kind == "agent" && api.AgentID(rest).Validate() == nil:
	default:
		return api.Errorf(api.CodeInvalid, "%.80q names no agents; it is all, tag: and a tag, or agent: and an id.", string(s.Selector))
	}
	for _, d := range []time.Duration{s.Plan.Settle, s.Plan.Deadline} {
		if d < 0 || d > maxPlan {
			return api.Errorf(api.CodeInvalid, "The settle time and the deadline of a roll-out are from 0 to %s, and not %s.", maxPlan, d)
		}
	}
	return nil
}

// Assign makes agents have the highest published version in a range, now and whenever one
// is published. The version that is first assigned of a plugin is approved by that: what
// it asks for was shown to whoever assigns it.
func (e *Engine) Assign(ctx context.Context, org api.OrgID, s AssignSpec) (a store.Assignment, err error) {
	if err := s.check(); err != nil {
		return a, err
	}
	err = e.update(ctx, org, func(t *tx) error {
		a, err = t.assign(s)
		return err
	})
	return a, err
}

func (t *tx) assign(s AssignSpec) (store.Assignment, error) {
	published, err := t.Packages(s.Plugin)
	if err != nil {
		return store.Assignment{}, err
	}
	best, err := highest(published, s.Range)
	if err != nil {
		return store.Assignment{}, err
	}
	if best.Version == "" {
		return store.Assignment{}, nothingIn(s, published)
	}
	a, err := t.Assignment(s.Plugin, s.Selector)
	if errors.Is(err, store.ErrNotFound) {
		a, err = store.Assignment{Plugin: s.Plugin, Selector: s.Selector, Kind: best.Kind, AssignedAt: t.now}, t.roomFor(s.Plugin)
	}
	if err != nil {
		return a, err
	}
	a.Range, a.Plan = s.Range, s.Plan
	if first(published) {
		if err := t.approve(&best, t.actor); err != nil {
			return a, err
		}
	}
	detail := fmt.Sprintf("%s, now %s", s.Range, best.Version)
	// It is there before the steps, which ask which assignment holds for an agent; another
	// one of the plugin may lose agents to it.
	err = errors.Join(t.PutAssignment(a), t.audit(t.actor, "plugin.assign", string(a.Plugin)+" to "+string(a.Selector), detail), t.stepPlugin(a.Plugin))
	if err != nil {
		return a, err
	}
	t.delivered = true // agents may go from another assignment's version to this one's
	return t.Assignment(a.Plugin, a.Selector)
}

// nothingIn says why nothing can be assigned.
func nothingIn(s AssignSpec, published []store.Package) error {
	if len(published) == 0 {
		return api.Errorf(api.CodeNotFound, "No version of plugin %s is published; publish a package first: stavily plugins publish FILE.", s.Plugin)
	}
	const enough = 5
	var versions []string
	for n, p := range published {
		if n == enough {
			versions = append(versions, "…")
			break
		}
		versions = append(versions, p.Version)
	}
	return api.Errorf(api.CodeInvalid, "No published version of %s is in the range %q; published are %s.", s.Plugin, s.Range, strings.Join(versions, ", "))
}

// first reports whether no version was ever approved.
func first(published []store.Package) bool {
	for _, p := range published {
		if !p.ApprovedAt.IsZero() {
			return false
		}
	}
	return true
}

// roomFor refuses what would be too much for one answer to an agent.
func (t *tx) roomFor(id api.PluginID) error {
	assignments, err := t.Assignments()
	if err != nil {
		return err
	}
	plugins := map[api.PluginID]bool{id: true}
	for _, a := range assignments {
		plugins[a.Plugin] = true
	}
	if len(plugins) > api.MaxAssigned {
		return api.Errorf(api.CodeInvalid, "%d plugins are assigned in this organisation, which is the most; unassign one first.", api.MaxAssigned)
	}
	return nil
}

// highest is the highest version in a range; it is zero when there is none. Versions
// before a release count only where the range names one (https://semver.org, 11).
func highest(published []store.Package, within string) (store.Package, error) {
	constraint, err := semver.NewConstraint(within)
	if err != nil {
		return store.Package{}, fmt.Errorf("range %q of an assignment: %w", within, err)
	}
	var best store.Package
	var top *semver.Version
	for _, p := range published {
		v, err := semver.NewVersion(p.Version)
		if err != nil {
			return store.Package{}, fmt.Errorf("published package %s: version %q: %w", p.ID, p.Version, err)
		}
		if constraint.Check(v) && (top == nil || v.GreaterThan(top)) {
			best, top = p, v
		}
	}
	return best, nil
}

// Unassign lets agents have a plugin no more.
func (e *Engine) Unassign(ctx context.Context, org api.OrgID, id api.PluginID, s store.Selector) error {
	return e.update(ctx, org, func(t *tx) error {
		t.delivered = true
		return errors.Join(t.DeleteAssignment(id, s), t.audit(t.actor, "plugin.unassign", string(id)+" from "+string(s), ""), t.stepPlugin(id))
	})
}

// closest is the assignment of a plugin that holds for an agent, of those that could.
func closest(assignments []store.Assignment, id api.PluginID, agent store.Agent) (store.Assignment, bool) {
	var best store.Assignment
	found := false
	for _, a := range assignments { // by selector, so that of two tags always the same holds
		if a.Plugin != id || !plugin.Kind(a.Kind).RunsOn(agent.Type) || !a.Selector.Selects(agent) {
			continue
		}
		if !found || a.Selector.Closeness() > best.Selector.Closeness() {
			best, found = a, true
		}
	}
	return best, found
}
