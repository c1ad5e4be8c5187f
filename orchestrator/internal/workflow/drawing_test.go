package workflow

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/orchestrator/internal/diagram"
)

func TestDiagram(t *testing.T) {
	g := parse(t, tried+`  - {name: none, event: {type: a}, expect: {runs: false}}`).Diagram()
	var got []string
	for _, n := range g.Nodes {
		got = append(got, n.ID+": "+n.Title+" | "+n.Detail)
	}
	for _, e := range g.Edges {
		arrow := " -> "
		if e.Dashed {
			arrow = " .> "
		}
		got = append(got, e.From+arrow+e.To)
	}
	want := strings.Split(`trigger 0: disk.space.* | 
when: when | event.data.percent >= 90 && !(event.data.mount in ["/boot"])
step clean: clean | disk-cleaner
step grow: grow | volume-grow if steps.clean.result.freed_bytes < 100
step slack: slack | when failed
trigger 0 -> when
when -> step clean
step clean .> step grow
step grow .> step slack`, "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("diagram (-want +got):\n%s", diff)
	}
	if g.Nodes[0].Shape != diagram.Round || g.Nodes[4].Shape != diagram.Slanted {
		t.Errorf("shapes %v %v", g.Nodes[0].Shape, g.Nodes[4].Shape)
	}
}

func TestDiagramOfOutputsAlone(t *testing.T) {
	g := parse(t, "name: n\ntriggers: [{event: a}, {event: b}]\noutputs: [{plugin: slack}]\n").Diagram()
	want := []diagram.Edge{{From: "trigger 0", To: "step slack", Dashed: true}, {From: "trigger 1", To: "step slack", Dashed: true}}
	if diff := cmp.Diff(want, g.Edges); diff != "" {
		t.Errorf("edges (-want +got):\n%s", diff)
	}
}

func TestOutline(t *testing.T) {
	got := strings.Join(parse(t, tried+`  - {name: none, event: {type: a}, expect: {runs: false}}`).Outline(), "\n")
	want := `disk-full (live)
  on    disk.space.*
  when  event.data.percent >= 90 && !(event.data.mount in ["/boot"])
  do    clean: disk-cleaner
  do    grow: volume-grow if steps.clean.result.freed_bytes < 100, after clean
  tell  slack: when failed`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outline (-want +got):\n%s", diff)
	}
}
