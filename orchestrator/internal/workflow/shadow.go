package workflow

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// ShadowReport is what a workflow in mode shadow would have done, by the events that came near
// it.
type ShadowReport struct {
	Workflow string      `json:"workflow"`
	Since    api.Time    `json:"since"`
	Events   int         `json:"events"`  // that it decided on
	Runs     int         `json:"runs"`    // that it would have started
	Older    bool        `json:"older"`   // there are more, which are not counted: only the newest are
	Begins   []Foreseen  `json:"begins"`  // what those runs would have begun with, the most frequent first
	Reasons  []Refusal   `json:"reasons"` // what decided against the others, the most frequent first
	Last     []ShadowRun `json:"last"`    // runs that it would have started, the newest first
}

// Foreseen is a first step of runs, on a target, for the events of an agent.
type Foreseen struct {
	Step   string       `json:"step"`
	Plugin api.PluginID `json:"plugin"`
	Target string       `json:"target"`          // in words, to stand after "on"
	Agent  api.AgentID  `json:"agent,omitempty"` // that sent the events
	Count  int          `json:"count"`
}

// Refusal is a clause that decided against runs.
type Refusal struct {
	Clause string `json:"clause"`
	Count  int    `json:"count"`
}

// ShadowRun is a run that would have been started.
type ShadowRun struct {
	Event   api.EventID `json:"event"`
	Agent   api.AgentID `json:"agent"`
	Version int         `json:"version"`
	At      api.Time    `json:"at"`
}

// maxShadowLines bounds each list of a report; its counts are of all.
const maxShadowLines = 50

// ShadowCount counts decisions, the newest first, for a report.
type ShadowCount struct {
	report  ShadowReport
	begins  map[Foreseen]int
	reasons map[string]int
}

// NewShadowCount begins a report on a workflow.
func NewShadowCount(name string, since time.Time) *ShadowCount {
	return &ShadowCount{
		report: ShadowReport{Workflow: name, Since: api.At(since), Last: []ShadowRun{}},
		begins: map[Foreseen]int{}, reasons: map[string]int{},
	}
}

// Add counts the decision on an event.
func (c *ShadowCount) Add(on ShadowRun, d Decision) {
	c.report.Events++
	if !d.Run {
		c.reasons[d.Decider()]++
		return
	}
	c.report.Runs++
	if len(c.report.Last) < maxShadowLines {
		c.report.Last = append(c.report.Last, on)
	}
	for _, b := range d.Begins {
		c.begins[Foreseen{Step: b.Step, Plugin: b.Plugin, Target: b.Target.String(), Agent: on.Agent}]++
	}
}

// Report is what was counted. older says that there are decisions which were not added.
func (c *ShadowCount) Report(older bool) ShadowReport {
	r := c.report
	r.Older, r.Begins, r.Reasons = older, []Foreseen{}, []Refusal{}
	for f, count := range c.begins {
		f.Count = count
		r.Begins = append(r.Begins, f)
	}
	slices.SortFunc(r.Begins, func(a, b Foreseen) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Step, b.Step), cmp.Compare(a.Target, b.Target), cmp.Compare(a.Agent, b.Agent))
	})
	for _, clause := range slices.Sorted(maps.Keys(c.reasons)) {
		r.Reasons = append(r.Reasons, Refusal{clause, c.reasons[clause]})
	}
	slices.SortStableFunc(r.Reasons, func(a, b Refusal) int { return cmp.Compare(b.Count, a.Count) })
	r.Begins, r.Reasons = r.Begins[:min(len(r.Begins), maxShadowLines)], r.Reasons[:min(len(r.Reasons), maxShadowLines)]
	return r
}
