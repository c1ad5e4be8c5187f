package operatorapi

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/rollout"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/plugin"
)

func viewPackage(p store.Package) Package {
	return Package{
		ID: p.ID, Version: p.Version, Type: p.Kind, Digest: p.Digest, TreeDigest: p.TreeDigest, Size: p.Size,
		Signed: p.Signature != "", Signer: p.Signer, PublishedAt: api.At(p.PublishedAt), ApprovedAt: api.At(p.ApprovedAt), ApprovedBy: p.ApprovedBy,
	}
}

func viewDetail(r store.PackageReader, p store.Package) (PackageDetail, error) {
	g, err := engine.GrowthOf(r, p)
	return PackageDetail{Package: viewPackage(p), Asks: orEmpty(g.Asks), Grown: orEmpty(g.Grown), Against: g.Against}, err
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// viewRollouts shows the assignments of a plugin, or of all.
func viewRollouts(r store.Reader, id api.PluginID) ([]Rollout, error) {
	views := []Rollout{}
	assignments, err := r.Assignments()
	if err != nil {
		return nil, err
	}
	agents, err := r.Agents()
	if err != nil {
		return nil, err
	}
	for _, a := range assignments {
		if id == "" || a.Plugin == id {
			views = append(views, viewRollout(a, engine.MembersOf(agents, assignments, a, time.Now())))
		}
	}
	return views, nil
}

func viewRollout(a store.Assignment, members []rollout.Member) Rollout {
	s := a.State
	view := Rollout{
		Plugin: a.Plugin, Selector: string(a.Selector), Range: a.Range, AssignedAt: api.At(a.AssignedAt), AtOnce: a.Plan.AtOnce,
		SettleSeconds:   int(cmp.Or(a.Plan.Settle, rollout.DefaultSettle) / time.Second),
		DeadlineSeconds: int(cmp.Or(a.Plan.Deadline, rollout.DefaultDeadline) / time.Second),
		Phase:           cmp.Or(string(s.Phase), "idle"), Stage: string(s.Stage), Version: s.Done.Version, Target: s.Target.Version, Skipped: s.Skip.Version,
		Reason: s.Reason, Since: api.At(s.StageAt), Agents: []RolloutAgent{},
	}
	for _, m := range members {
		has := s.For(m.Agent)
		agent := RolloutAgent{ID: m.Agent, Online: m.Online, Version: has.Version}
		if m.Report.Release == has {
			agent.State, agent.Message, agent.Since = string(m.Report.State), m.Report.Message, api.At(m.Report.Since)
		}
		view.Agents = append(view.Agents, agent)
	}
	return view
}

// nobodyYet says that an assignment is for nobody. To assign ahead of enrolment is meant to work, and an
// id or a tag that is mistyped, or that only agents of the other type have, looks the same.
func nobodyYet(r store.Reader, a store.Assignment) ([]string, error) {
	agents, err := r.Agents()
	if err != nil || a.Selector == store.All {
		return nil, err
	}
	others := ""
	for _, agent := range agents {
		if agent.State == store.Revoked || !a.Selector.Selects(agent) {
			continue
		}
		if plugin.Kind(a.Kind).RunsOn(agent.Type) {
			return nil, nil
		}
		others = fmt.Sprintf(" that could run it (%s is of type %s: those run no plugins of type %s)", agent.ID, agent.Type, a.Kind)
	}
	kind, name, _ := strings.Cut(string(a.Selector), ":")
	which := "the id"
	if kind == "tag" {
		which = "the tag"
	}
	return []string{fmt.Sprintf("No agent with %s %s%s is enrolled yet: one that will be gets it. `stavily agents list` has those that are; "+
		"if this is mistyped: stavily plugins unassign %s --%s %s", which, name, others, a.Plugin, kind, name)}, nil
}

func viewPublisher(p store.Publisher) Publisher {
	return Publisher{Fingerprint: p.Fingerprint, Key: p.Line, TrustedAt: api.At(p.TrustedAt)}
}
