package web

import (
	"context"
	"errors"
	"html/template"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

type workflowsPage struct {
	frame
	Workflows []workflowRow
}

func (*workflowsPage) template() string { return "workflows.html" }

// workflowRow is a workflow in effect and how its last runs went.
type workflowRow struct {
	store.Workflow
	Description, Owner, Mode string
	Problem                  string // this release cannot read it
	Triggers                 []string
	Last                     *store.RunMark
	LastAt                   time.Time
	Recent                   template.HTML
}

// recentRuns is how many runs the bars beside a workflow are about.
const recentRuns = 20

// workflows lists what is in effect.
func (s *Site) workflows(ctx context.Context, c *route.Call) (view, error) {
	p := &workflowsPage{frame: frame{Title: "Workflows", Section: "workflows"}}
	err := s.read(ctx, c, func(r store.Reader) error {
		all, err := r.Workflows()
		if err != nil {
			return err
		}
		for _, w := range all {
			row, err := rowOf(r, w)
			if err != nil {
				return err
			}
			p.Workflows = append(p.Workflows, row)
		}
		return nil
	})
	for i := range p.Workflows {
		p.Workflows[i].define(s.engine, c.Principal.Org)
	}
	return p, err
}

func rowOf(r store.Reader, w store.Workflow) (workflowRow, error) {
	row := workflowRow{Workflow: w}
	runs, err := r.RunMarks(w.Name, recentRuns)
	if err != nil {
		return row, err
	}
	if len(runs) > 0 {
		row.Last, row.LastAt = &runs[0], begunAt(runs[0].ID)
	}
	row.Recent, err = inline(recentOf(runs).svg)
	return row, err
}

// define adds what the text of the workflow says. It may have to be compiled, so no view of the
// store is open.
func (row *workflowRow) define(e *engine.Engine, org api.OrgID) {
	d, err := e.Definition(org, row.Workflow)
	if err != nil {
		row.Problem = err.Error()
		return
	}
	row.Description, row.Owner, row.Mode = d.Description, d.Owner, string(d.Mode)
	for _, line := range d.Outline() {
		if on, ok := strings.CutPrefix(line, "  on    "); ok {
			row.Triggers = append(row.Triggers, on)
		}
	}
}

// recentOf draws the last runs of a workflow, a bar each: low where it goes on, red where it
// failed.
func recentOf(runs []store.RunMark) spark {
	failed := 0
	bars := make([]sparkBar, recentRuns)
	for i, run := range runs {
		bar := sparkBar{All: 2}
		switch kind(run.Status) {
		case "bad":
			bar.Bad = 2
			failed++
		case "go", "wait":
			bar.All = 1
		}
		bars[recentRuns-1-i] = bar
	}
	return spark{Title: "the last " + plural(len(runs), "run") + ", " + strconv.Itoa(failed) + " failed", Bars: bars}
}

// begunAt is when a run began, which its id tells.
func begunAt(id api.RunID) time.Time {
	u, err := ulid.ParseStrict(string(id))
	if err != nil {
		return time.Time{}
	}
	return ulid.Time(u.Time())
}

type workflowPage struct {
	frame
	Tab       string
	Workflow  store.Workflow
	Current   int // version in effect; 0: it was deleted
	Problem   string
	Facts     *workflow.Definition
	Graph     template.HTML
	Lines     []string
	Trials    []workflow.Trial
	Schedules []store.Schedule
	Runs      []store.Run
	Versions  []store.Workflow
	Inputs    []field // of a run by hand
	Manual    bool
	Shadow    *workflow.ShadowReport // nil: it decided on nothing in mode shadow lately
}

// shadowEvents is how many events the shadow report of a page is about at most.
const shadowEvents = 500

func (*workflowPage) template() string { return "workflow.html" }

// field is an input of a run by hand as the form shows it.
type field struct {
	workflow.InputDefinition
	Value string
}

// workflow shows one workflow, or an earlier version of it.
func (s *Site) workflow(ctx context.Context, c *route.Call) (view, error) {
	name := c.PathValue("id")
	version, err := strconv.Atoi("0" + c.Query.Get("version"))
	if err != nil {
		return nil, api.Errorf(api.CodeInvalid, "Query parameter version=%.40q: must be a whole number.", c.Query.Get("version"))
	}
	p := &workflowPage{frame: frame{Title: name, Section: "workflows"}}
	err = s.read(ctx, c, func(r store.Reader) error {
		current, err := r.Workflow(name)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		p.Current, p.Workflow = current.Version, current
		if version > 0 || p.Current == 0 {
			if p.Workflow, err = versionOf(r, name, version); err != nil {
				return err
			}
		}
		if p.Schedules, err = r.Schedules(name); err != nil {
			return err
		}
		if p.Runs, err = r.Runs(store.RunQuery{Workflow: name, Limit: 10}); err != nil {
			return err
		}
		shadow, err := engine.ShadowReport(r, name, time.Now().Add(-engine.ShadowLookback), shadowEvents)
		if err != nil {
			return err
		}
		if shadow.Events > 0 {
			p.Shadow = &shadow
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	p.Org = c.Principal.Org
	return p, p.define(ctx, s.engine)
}

// versionOf is a version of a workflow; 0 is the last one, also of one that was deleted.
func versionOf(r store.Reader, name string, version int) (store.Workflow, error) {
	if version > 0 {
		return r.WorkflowVersion(name, version)
	}
	versions, err := r.WorkflowVersions(name, 1)
	if err == nil && len(versions) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Workflow{}, err
	}
	return versions[0], nil
}

// define adds what the text of the workflow says and how its tests go, while somebody waits for
// it. No view of the store is open: whoever reads shares the few that there are.
func (p *workflowPage) define(ctx context.Context, e *engine.Engine) error {
	p.Lines = strings.Split(strings.TrimSuffix(p.Workflow.Text, "\n"), "\n")
	d, err := e.Definition(p.Org, p.Workflow)
	if err != nil {
		p.Problem = err.Error()
		return nil
	}
	p.Facts = d
	p.Trials, _ = d.TryAll(ctx) // each says what is not as expected
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, t := range d.Triggers {
		p.Manual = p.Manual || t.Manual
	}
	for _, in := range d.Inputs {
		f := field{InputDefinition: in}
		if text, err := pretty(in.Default); err == nil {
			f.Value = strings.Trim(text, `"`)
		}
		p.Inputs = append(p.Inputs, f)
	}
	p.Graph, err = inline(d.Diagram().Inline)
	return err
}

// workflowRun starts a run by hand.
func (s *Site) workflowRun(ctx context.Context, c *route.Call, f form) (string, error) {
	inputs := map[string]string{}
	for name := range f.Values {
		if input, ok := strings.CutPrefix(name, "input."); ok && f.Get(name) != "" {
			inputs[input] = f.Get(name)
		}
	}
	e, err := s.engine.Start(ctx, c.Principal.Org, c.PathValue("id"), inputs, c.Principal.Name)
	if err != nil {
		return "", err
	}
	if e.Run == "" {
		return "/events/" + string(e.Event), nil // which says why it did not run
	}
	return "/runs/" + string(e.Run), nil
}

// workflowRollback puts an earlier version into effect again.
func (s *Site) workflowRollback(ctx context.Context, c *route.Call, f form) (string, error) {
	name := c.PathValue("id")
	version, err := f.number("version", 0, 0)
	if err != nil {
		return "", err
	}
	_, _, err = s.engine.Rollback(ctx, c.Principal.Org, name, version)
	return "/workflows/" + name, err
}

// workflowDelete lets a workflow start no more runs.
func (s *Site) workflowDelete(ctx context.Context, c *route.Call, _ form) (string, error) {
	return "/workflows", s.engine.Delete(ctx, c.Principal.Org, c.PathValue("id"))
}
