package web

import (
	"context"
	"html/template"
	"slices"
	"strconv"
	"time"

	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/rollout"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
)

type overviewPage struct {
	frame
	Attention []concern
	More      int // concerns than are shown
	Agents    map[string]int
	AgentsAll int
	Workflows int
	Active    []store.Run
	Failed    int // runs of the last day, of those that were looked at
	Runs      []store.Run
	Chart     template.HTML
	Changes   []change

	fleet []store.Agent
}

func (*overviewPage) template() string { return "overview.html" }

// concern is something that is not fine: what, since when, and what to do.
type concern struct {
	Kind, What, Do, URL string
	Since               time.Time
}

// Fine is the answer to the first question.
func (p *overviewPage) Fine() string {
	worst := "ok"
	for _, c := range p.Attention {
		if kind(c.Kind) == "bad" {
			return "bad"
		}
		worst = "warn"
	}
	return worst
}

const (
	mostConcerns = 20
	mostActive   = 10
	lookedAtRuns = 1000 // for the chart of the last day
	dayHours     = 24
)

// overview answers whether it is fine, what changed, and what to do.
func (s *Site) overview(ctx context.Context, c *route.Call) (view, error) {
	p := &overviewPage{frame: frame{Title: "Overview", Section: "overview"}, Agents: map[string]int{}}
	now := time.Now()
	if c, full := s.engine.Full(); full {
		p.concern(c.Status, "The server takes no events: "+c.Message, c.Remedy, "/", c.Since.Time)
	}
	return p, s.read(ctx, c, func(r store.Reader) error {
		for _, look := range []func(store.Reader, time.Time) error{p.lookAtApprovals, p.lookAtAgents, p.lookAtRollouts, p.lookAtRuns, p.lookAtChanges} {
			if err := look(r, now); err != nil {
				return err
			}
		}
		slices.SortStableFunc(p.Attention, func(a, b concern) int { return urgency(a.Kind) - urgency(b.Kind) })
		p.More = max(0, len(p.Attention)-mostConcerns)
		p.Attention = p.Attention[:len(p.Attention)-p.More]
		return nil
	})
}

func (p *overviewPage) concern(kind, what, do, url string, since time.Time) {
	p.Attention = append(p.Attention, concern{kind, what, do, url, since})
}

func (p *overviewPage) lookAtApprovals(r store.Reader, _ time.Time) error {
	all, err := r.Approvals()
	for _, a := range all {
		p.concern("approval needed", "Run of "+a.Workflow+" asks for "+plural(a.Count, "approval")+" in step "+a.Step, "Approve or deny it", "/runs/"+string(a.Run), a.Since)
	}
	return err
}

func (p *overviewPage) lookAtAgents(r store.Reader, now time.Time) error {
	all, err := r.Agents()
	p.fleet = all
	for _, a := range all {
		row := agentRow{a, statusOf(a, now)}
		if row.Now == engine.StatusRevoked {
			continue
		}
		p.Agents[row.Now]++
		p.AgentsAll++
		url := "/agents/" + string(a.ID)
		switch {
		case row.Now == engine.StatusQuarantined:
			p.concern("approval needed", "Agent "+string(a.ID)+" is in quarantine: "+a.QuarantineReason, "Let it in, or revoke it", url, a.QuarantinedAt)
		case row.Now == engine.StatusLost:
			p.concern("lost", "Agent "+string(a.ID)+" has fallen silent", "See that its host is up, its service runs, and it reaches this server", url, a.LastSeen)
		case a.Health != nil && len(a.Health.Conditions) > 0 && row.Now != engine.StatusOffline:
			worst := a.Health.Conditions[0]
			p.concern(worst.Status, "Agent "+string(a.ID)+": "+worst.Message, worst.Remedy, url, worst.Since.Time)
		}
		if row.Ends() {
			p.concern("degraded", "The certificate of agent "+string(a.ID)+" ends at "+clock(a.NotAfter).Text, "See in the agent's log why it was not renewed", url, a.ActivatedAt)
		}
	}
	return err
}

func (p *overviewPage) lookAtRollouts(r store.Reader, _ time.Time) error {
	all, err := r.Assignments()
	for _, a := range all {
		url := "/plugins/" + string(a.Plugin)
		switch a.State.Phase {
		case rollout.Stopped:
			p.concern("stopped", "The roll-out of "+string(a.Plugin)+" "+a.State.Target.Version+" has stopped: "+a.State.Reason, "Resume or abort it", url, a.State.StageAt)
		case rollout.Waiting:
			p.concern("not approved", string(a.Plugin)+" "+a.State.Target.Version+" asks for more than was approved", "Look at what, and approve it or not", url, a.State.StageAt)
		}
	}
	return err
}

func (p *overviewPage) lookAtRuns(r store.Reader, now time.Time) error {
	workflows, err := r.Workflows()
	if err != nil {
		return err
	}
	p.Workflows = len(workflows)
	for _, status := range []string{"running", "queued"} {
		active, err := r.Runs(store.RunQuery{Status: status, Limit: mostActive})
		if err != nil {
			return err
		}
		p.Active = append(p.Active, active...)
	}
	p.Active = p.Active[:min(len(p.Active), mostActive)]
	marks, err := r.RunMarks("", lookedAtRuns)
	if err != nil {
		return err
	}
	bars := make([]sparkBar, dayHours)
	for _, run := range marks {
		ago := int(now.Sub(begunAt(run.ID)) / time.Hour)
		if ago >= dayHours {
			continue
		}
		bar := &bars[dayHours-1-max(ago, 0)]
		bar.All++
		if kind(run.Status) == "bad" {
			bar.Bad++
			p.Failed++
		}
	}
	title := "Runs of the last 24 hours by the hour, " + strconv.Itoa(p.Failed) + " failed"
	if len(marks) == lookedAtRuns {
		title = "The last " + strconv.Itoa(lookedAtRuns) + " runs by the hour, " + strconv.Itoa(p.Failed) + " failed"
	}
	if p.Chart, err = inline(spark{Title: title, Bars: bars}.svg); err != nil {
		return err
	}
	if p.Runs, err = r.Runs(store.RunQuery{Limit: 10}); err != nil {
		return err
	}
	return p.failedLately(r, marks, now)
}

// failedLately tells of each workflow whose last run began within the hour and failed.
func (p *overviewPage) failedLately(r store.Reader, marks []store.RunMark, now time.Time) error {
	seen := map[string]bool{}
	for _, mark := range marks {
		if seen[mark.Workflow] || kind(mark.Status) == "go" || kind(mark.Status) == "wait" {
			continue
		}
		seen[mark.Workflow] = true
		if mark.Status != "failed" || now.Sub(begunAt(mark.ID)) > time.Hour || len(p.Attention) > mostConcerns {
			continue
		}
		run, err := r.Run(mark.ID)
		if err != nil {
			return err
		}
		p.concern("failed", "The last run of "+run.Workflow+" failed: "+clip(200, run.Error), "See the step that failed, and its log", "/runs/"+string(run.ID), run.FinishedAt)
	}
	return nil
}

// change is something that somebody did to what is set up.
type change struct {
	At        time.Time
	What, URL string
}

const mostChanges = 8

// lookAtChanges finds what changed last: workflows that were applied, versions that were
// published, agents that came or were revoked.
func (p *overviewPage) lookAtChanges(r store.Reader, _ time.Time) error {
	workflows, err := r.Workflows()
	if err != nil {
		return err
	}
	for _, w := range workflows {
		p.Changes = append(p.Changes, change{w.AppliedAt, "Workflow " + w.Name + " version " + strconv.Itoa(w.Version) + " applied", "/workflows/" + w.Name + "/history"})
	}
	packages, err := r.Packages("")
	if err != nil {
		return err
	}
	for _, one := range packages {
		p.Changes = append(p.Changes, change{one.PublishedAt, "Plugin " + string(one.ID) + " " + one.Version + " published", "/plugins/" + string(one.ID)})
	}
	for _, a := range p.fleet {
		url := "/agents/" + string(a.ID)
		p.Changes = append(p.Changes, change{a.EnrolledAt, "Agent " + string(a.ID) + " enrolled", url})
		if !a.RevokedAt.IsZero() {
			p.Changes = append(p.Changes, change{a.RevokedAt, "Agent " + string(a.ID) + " revoked", url})
		}
	}
	slices.SortStableFunc(p.Changes, func(a, b change) int { return b.At.Compare(a.At) })
	p.Changes = p.Changes[:min(len(p.Changes), mostChanges)]
	return nil
}
