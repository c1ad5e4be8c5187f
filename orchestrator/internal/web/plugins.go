package web

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/rollout"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

type pluginsPage struct {
	frame
	Published []pluginRow
	Installed []installedRow
}

func (*pluginsPage) template() string { return "plugins.html" }

// pluginRow is a published plugin with its newest version.
type pluginRow struct {
	store.Package
	Versions int
	Assigned []store.Assignment
}

// installedRow is a plugin as agents report it.
type installedRow struct {
	ID     api.PluginID
	Type   string
	States []installedState
}

type installedState struct {
	Version, State string
	Agents         int
}

// plugins lists what is published here, and what agents have.
func (s *Site) plugins(ctx context.Context, c *route.Call) (view, error) {
	p := &pluginsPage{frame: frame{Title: "Plugins", Section: "plugins"}}
	return p, s.read(ctx, c, func(r store.Reader) error {
		published, err := r.Packages("")
		if err != nil {
			return err
		}
		assignments, err := r.Assignments()
		if err != nil {
			return err
		}
		for _, one := range published { // by id, the newest first
			if n := len(p.Published); n > 0 && p.Published[n-1].ID == one.ID {
				p.Published[n-1].Versions++
				continue
			}
			row := pluginRow{Package: one, Versions: 1}
			for _, a := range assignments {
				if a.Plugin == one.ID {
					row.Assigned = append(row.Assigned, a)
				}
			}
			p.Published = append(p.Published, row)
		}
		agents, err := r.Agents()
		p.Installed = installedOn(agents)
		return err
	})
}

// installedOn counts the agents that have each plugin, by version and state.
func installedOn(agents []store.Agent) []installedRow {
	rows := map[api.PluginID]*installedRow{}
	for _, a := range agents {
		if a.State == store.Revoked {
			continue
		}
		for _, has := range a.Plugins {
			row := rows[has.ID]
			if row == nil {
				row = &installedRow{ID: has.ID, Type: has.Type}
				rows[has.ID] = row
			}
			state := has.State
			if state == "" {
				state = "ready"
			}
			i := slices.IndexFunc(row.States, func(one installedState) bool { return one.Version == has.Version && one.State == state })
			if i < 0 {
				i = len(row.States)
				row.States = append(row.States, installedState{Version: has.Version, State: state})
			}
			row.States[i].Agents++
		}
	}
	out := make([]installedRow, 0, len(rows))
	for _, row := range rows {
		slices.SortFunc(row.States, func(a, b installedState) int { return strings.Compare(a.Version+a.State, b.Version+b.State) })
		out = append(out, *row)
	}
	slices.SortFunc(out, func(a, b installedRow) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return out
}

type pluginPage struct {
	frame
	ID       api.PluginID
	Type     string
	Versions []versionRow
	Rollouts []rolloutRow
	Compared *comparison // nil: there is one version only
}

// comparison is what one version asks for that another does not.
type comparison struct {
	From, To   string
	More, Less []string
}

func (*pluginPage) template() string { return "plugin.html" }

// versionRow is a published version and how much more it asks for than was approved.
type versionRow struct {
	store.Package
	engine.Growth
}

// Approved reports whether everything that the version asks for was approved.
func (v versionRow) Approved() bool { return !v.ApprovedAt.IsZero() }

// Asked are what the version asks for, those that need approval marked.
func (v versionRow) Asked() []ask {
	var out []ask
	for _, a := range v.Asks {
		out = append(out, ask{a, slices.Contains(v.Grown, a)})
	}
	return out
}

type ask struct {
	Text string
	New  bool
}

// rolloutRow is an assignment and how far its agents are.
type rolloutRow struct {
	store.Assignment
	Phase   string
	Members []memberRow
}

type memberRow struct {
	rollout.Member
	Version string // that it is to have
	State   string // that it reports of that
	Message string
}

// plugin shows the versions of a plugin, and who is to have it.
func (s *Site) plugin(ctx context.Context, c *route.Call) (view, error) {
	id := api.PluginID(c.PathValue("id"))
	p := &pluginPage{frame: frame{Title: string(id), Section: "plugins"}, ID: id}
	return p, s.read(ctx, c, func(r store.Reader) error {
		published, err := r.Packages(id)
		if err == nil && len(published) == 0 {
			err = store.ErrNotFound
		}
		if err != nil {
			return err
		}
		p.Type = published[0].Kind
		for _, one := range published {
			g, err := engine.GrowthOf(r, one)
			if err != nil {
				return err
			}
			p.Versions = append(p.Versions, versionRow{one, g})
		}
		if p.Compared, err = compare(published, c.Query.Get("from"), c.Query.Get("to")); err != nil {
			return err
		}
		p.Rollouts, err = rolloutsOf(r, id)
		return err
	})
}

// compare holds two versions against each other; the newest against the one before it where
// none are named.
func compare(published []store.Package, from, to string) (*comparison, error) {
	if len(published) < 2 && from == "" && to == "" {
		return nil, nil
	}
	find := func(version string, otherwise int) (store.Package, error) {
		if version == "" && otherwise < len(published) {
			return published[otherwise], nil
		}
		i := slices.IndexFunc(published, func(p store.Package) bool { return p.Version == version })
		if i < 0 {
			return store.Package{}, api.Errorf(api.CodeNotFound, "Version %.80q is not published; the plugin's page has those that are.", version)
		}
		return published[i], nil
	}
	older, err := find(from, 1)
	if err != nil {
		return nil, err
	}
	newer, err := find(to, 0)
	if err != nil {
		return nil, err
	}
	more, less, err := engine.Difference(older, newer)
	return &comparison{older.Version, newer.Version, more, less}, err
}

func rolloutsOf(r store.Reader, id api.PluginID) (out []rolloutRow, err error) {
	assignments, err := r.Assignments()
	if err != nil {
		return nil, err
	}
	agents, err := r.Agents()
	for _, a := range assignments {
		if a.Plugin != id {
			continue
		}
		row := rolloutRow{Assignment: a, Phase: string(a.State.Phase)}
		if row.Phase == "" {
			row.Phase = "idle"
		}
		for _, m := range engine.MembersOf(agents, assignments, a, time.Now()) {
			has := a.State.For(m.Agent)
			member := memberRow{Member: m, Version: has.Version, State: "not told"}
			if m.Report.Release == has {
				member.State, member.Message = string(m.Report.State), m.Report.Message
			}
			row.Members = append(row.Members, member)
		}
		out = append(out, row)
	}
	return out, err
}

// pluginDo is every button of a plugin's page.
func (s *Site) pluginDo(ctx context.Context, c *route.Call, f form) (string, error) {
	id, org, to := api.PluginID(c.PathValue("id")), c.Principal.Org, "/plugins/"+c.PathValue("id")
	selector := store.Selector(f.text("selector"))
	var err error
	switch do := f.text("do"); do {
	case "approve":
		_, err = s.engine.Approve(ctx, org, id, f.text("version"))
	case "remove":
		err = s.engine.RemovePackage(ctx, org, id, f.text("version"))
	case "assign":
		_, err = s.engine.Assign(ctx, org, engine.AssignSpec{Plugin: id, Range: f.text("range"), Selector: selector})
	case "unassign":
		err = s.engine.Unassign(ctx, org, id, selector)
	case string(rollout.Resume), string(rollout.Abort), string(rollout.AtOnce):
		_, err = s.engine.Rollout(ctx, org, id, selector, rollout.Command(do))
	default:
		err = api.Errorf(api.CodeInvalid, "%.40q is nothing that can be done with a plugin.", do)
	}
	if errors.Is(err, store.ErrNotFound) {
		err = api.Errorf(api.CodeNotFound, "This version or assignment of plugin %.80s is gone; look at its page again.", id)
	}
	return to, err
}
