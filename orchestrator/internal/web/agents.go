package web

import (
	"cmp"
	"context"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

const (
	certificate = 7 * 24 * time.Hour // how long before its end a certificate is something to look at
	agentsPage1 = 200                // rows of the list
)

type agentsPage struct {
	frame
	Find, Status string
	Statuses     []string
	Agents       []agentRow
	Counts       map[string]int
	More         int
}

func (*agentsPage) template() string { return "agents.html" }

// agentRow is an agent and what it amounts to now.
type agentRow struct {
	store.Agent
	Now string // status
}

// statusOf is how an agent is: what ails one that is online, and else its status.
func statusOf(a store.Agent, now time.Time) string {
	status := engine.StatusOf(a, now)
	if status == engine.StatusOnline && a.Health != nil && a.Health.Status != "ok" {
		return a.Health.Status
	}
	return status
}

// Ends reports whether the certificate of the agent needs a look.
func (a agentRow) Ends() bool {
	return a.Now != engine.StatusRevoked && time.Until(a.NotAfter) < min(certificate, a.NotAfter.Sub(a.ActivatedAt)/4)
}

// agents lists the agents, those that need a look first.
func (s *Site) agents(ctx context.Context, c *route.Call) (view, error) {
	p := &agentsPage{
		frame: frame{Title: "Agents", Section: "agents"}, Find: strings.TrimSpace(c.Query.Get("find")), Status: c.Query.Get("status"),
		Statuses: []string{"online", "degraded", "failing", "lost", "draining", "offline", "quarantined", "revoked"}, Counts: map[string]int{},
	}
	return p, s.read(ctx, c, func(r store.Reader) error {
		all, err := r.Agents()
		now := time.Now()
		for _, a := range all {
			row := agentRow{a, statusOf(a, now)}
			p.Counts[row.Now]++
			if (p.Status == "" || p.Status == row.Now) && found(a, p.Find) {
				p.Agents = append(p.Agents, row)
			}
		}
		slices.SortStableFunc(p.Agents, func(a, b agentRow) int { return urgency(a.Now) - urgency(b.Now) })
		p.More = max(0, len(p.Agents)-agentsPage1)
		p.Agents = p.Agents[:len(p.Agents)-p.More]
		return err
	})
}

func urgency(status string) int {
	return map[string]int{"bad": 0, "warn": 1, "go": 2, "wait": 2, "ok": 3, "off": 4}[kind(status)]
}

// Applied is the serial of the certificate with which an agent in quarantine would be let in.
func (a agentRow) Applied() string {
	serial, _ := engine.Applied(a.Agent)
	return serial
}

// found reports whether an agent is what somebody looks for.
func found(a store.Agent, text string) bool {
	text = strings.ToLower(text)
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), text) }
	return text == "" || has(string(a.ID)) || has(a.Name) || has(a.Hostname) || slices.ContainsFunc(a.Tags, has)
}

type agentPage struct {
	frame
	Agent  agentRow
	Lacks  []string
	Layers []layer
	Gaps   []store.Gap // the newest
	More   bool        // gaps than are shown
	Events []store.Event
	Sparks []sparkFact
}

// sparkFact is a row of bars with what it is of.
type sparkFact struct {
	Name  string
	Spark template.HTML
	Now   string // the sum or the most of all bars
}

// layer is one of the sandbox's with how it is, and why not where it could be and is not.
type layer struct{ Name, State, Why string }

func (*agentPage) template() string { return "agent.html" }

// recentEvents is of how many events of a sensor the bars are.
const recentEvents = 500

// agent shows one agent.
func (s *Site) agent(ctx context.Context, c *route.Call) (view, error) {
	id := api.AgentID(c.PathValue("id"))
	p := &agentPage{frame: frame{Title: string(id), Section: "agents"}}
	return p, s.read(ctx, c, func(r store.Reader) error {
		a, err := r.Agent(id)
		if err != nil {
			return err
		}
		p.Agent = agentRow{a, statusOf(a, time.Now())}
		if a.Sandbox != nil {
			p.Lacks, p.Layers = a.Sandbox.Lacks(), layersOf(a.Sandbox)
		}
		if p.Sparks, err = usageSparks(s.engine.UsageOf(c.Principal.Org, id)); err != nil {
			return err
		}
		if p.Gaps, err = r.NewestGaps(id, store.GapsShown+1); err != nil || a.Type != api.Sensor {
			return err
		}
		p.More = len(p.Gaps) > store.GapsShown
		p.Gaps = p.Gaps[:min(len(p.Gaps), store.GapsShown)]
		if p.Events, err = r.Events(store.EventQuery{Agent: id, Newest: true, Limit: recentEvents}); err != nil {
			return err
		}
		bars := hourly(p.Events, time.Now())
		drawn, err := inline(bars.svg)
		p.Sparks = append(p.Sparks, sparkFact{"Events, last 24 h", drawn, ""})
		p.Events = p.Events[:min(len(p.Events), 10)]
		return err
	})
}

// layersOf are the layers of a sandbox by name.
func layersOf(p *api.Posture) (out []layer) {
	for _, name := range slices.Sorted(maps.Keys(p.Layers)) {
		state, more, _ := strings.Cut(p.Layers[name], ":")
		out = append(out, layer{name, state, cmp.Or(p.Missing[name], strings.TrimSpace(more))})
	}
	return out
}

// usageSparks show what an agent's work came to, hour by hour.
func usageSparks(hours []engine.Usage) (out []sparkFact, err error) {
	if hours == nil {
		return nil, nil
	}
	ended, cpu, memory := make([]sparkBar, len(hours)), make([]sparkBar, len(hours)), make([]sparkBar, len(hours))
	var all engine.Usage
	for n, h := range hours {
		ended[n] = sparkBar{All: h.Ended, Bad: h.Failed}
		cpu[n], memory[n] = sparkBar{All: int(h.CPU.Milliseconds())}, sparkBar{All: int(h.Memory >> 10)}
		all.Ended, all.Failed, all.CPU, all.Memory = all.Ended+h.Ended, all.Failed+h.Failed, all.CPU+h.CPU, max(all.Memory, h.Memory)
	}
	const since = ", by the hour, as far as this server was told since it began"
	for _, one := range []struct {
		name, now, title string
		bars             []sparkBar
	}{
		{"Work, last 24 h", strconv.Itoa(all.Ended), fmt.Sprintf("%s in the last 24 hours, of which %d did not complete", plural(all.Ended, "instruction"), all.Failed), ended},
		{"CPU", duration(all.CPU), duration(all.CPU) + " of processor time in the last 24 hours", cpu},
		{"Memory, at most", size(all.Memory), size(all.Memory) + " at most by one instruction in the last 24 hours", memory},
	} {
		drawn, err := inline(spark{Title: one.title + since, Bars: one.bars}.svg)
		if err != nil {
			return nil, err
		}
		out = append(out, sparkFact{one.name, drawn, one.now})
	}
	return out, nil
}

// hourly counts events by the hour, of the last day.
func hourly(events []store.Event, now time.Time) spark {
	const hours = 24
	bars := make([]sparkBar, hours)
	n := 0
	for _, e := range events {
		if ago := int(now.Sub(e.ReceivedAt) / time.Hour); ago < hours {
			n++
			bars[hours-1-max(ago, 0)].All++
		}
	}
	title := plural(n, "event") + " in the last 24 hours, by the hour"
	if len(events) == recentEvents {
		title = "the last " + strconv.Itoa(recentEvents) + " events, by the hour"
	}
	return spark{Title: title, Bars: bars}
}

// agentApprove lets an agent in again that is in quarantine.
func (s *Site) agentApprove(ctx context.Context, c *route.Call, f form) (string, error) {
	id := c.PathValue("id")
	return "/agents/" + id, s.engine.LetIn(ctx, c.Principal.Org, api.AgentID(id), f.text("serial"))
}

// agentRevoke lets an agent do nothing more.
func (s *Site) agentRevoke(ctx context.Context, c *route.Call, f form) (string, error) {
	id := c.PathValue("id")
	return "/agents/" + id, s.engine.Revoke(ctx, c.Principal.Org, api.AgentID(id), f.text("reason"))
}
