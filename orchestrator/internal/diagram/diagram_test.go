package diagram

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

var fork = Graph{
	Title: "a fork",
	Nodes: []Node{{ID: "a", Title: "a", Shape: Round}, {ID: "b", Title: "b", Detail: "first"}, {ID: "c", Title: "c"}, {ID: "d", Title: "d", Shape: Slanted}},
	Edges: []Edge{{From: "a", To: "b"}, {From: "a", To: "c", Dashed: true}, {From: "b", To: "d"}, {From: "c", To: "d"}, {From: "a", To: "d"}, {From: "a", To: "none"}},
}

func draw(t *testing.T, write func(io.Writer) error) string {
	t.Helper()
	var b strings.Builder
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestColumns(t *testing.T) {
	places, width, height := fork.layout()
	x := func(id string) int { return (places[id].x - margin) / (boxWidth + columnGap) }
	if x("a") != 0 || x("b") != 1 || x("c") != 1 || x("d") != 2 { // behind the longest way, not the shortest
		t.Errorf("columns %v", places)
	}
	if places["b"].y == places["c"].y {
		t.Error("b and c lie on each other")
	}
	if width != 2*margin+3*boxWidth+2*columnGap || height != 2*margin+2*boxHeight+rowGap {
		t.Errorf("%d × %d", width, height)
	}
	circle := Graph{Nodes: fork.Nodes[:2], Edges: []Edge{{From: "a", To: "b"}, {From: "b", To: "a"}}}
	if places, _, _ := circle.layout(); places["a"].x != places["b"].x || places["a"].y == places["b"].y {
		t.Errorf("a circle: %v", places)
	}
}

// An SVG is well-formed whatever the texts are, and holds nothing that runs or loads.
func TestSVG(t *testing.T) {
	hostile := `</text><script>alert("1")</script>&amp; "x" 'y'` + " é"
	g := fork
	g.Nodes = append([]Node{}, fork.Nodes...)
	g.Nodes[1].Title, g.Nodes[1].Detail, g.Title = hostile, hostile, hostile
	got := draw(t, g.SVG)
	elements := map[string]int{}
	for d := xml.NewDecoder(strings.NewReader(got)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not well-formed: %v\n%s", err, got)
		}
		if e, ok := token.(xml.StartElement); ok {
			elements[e.Name.Local]++
			for _, a := range e.Attr {
				if strings.HasPrefix(a.Name.Local, "on") || a.Name.Local == "href" {
					t.Errorf("attribute %s", a.Name.Local)
				}
			}
		}
	}
	if elements["script"] != 0 || elements["g"] != 4 || elements["path"] != 5+1+1 { // edges, the tip, the slanted box
		t.Errorf("elements %v", elements)
	}
	if draw(t, g.SVG) != got {
		t.Error("the same graph gives other bytes")
	}
}

func TestMermaid(t *testing.T) {
	g := fork
	g.Nodes = append([]Node{}, fork.Nodes...)
	g.Nodes[1].Title = "x\"]\n<b> #1"
	want := `flowchart LR
  n0(["a"])
  n1["x#quot;] #lt;b#gt; #35;1<br/>first"]
  n2["c"]
  n3[/"d"/]
  n0 --> n1
  n0 -.-> n2
  n1 --> n3
  n2 --> n3
  n0 --> n3
`
	if got := draw(t, g.Mermaid); got != want {
		t.Errorf("got\n%s", got)
	}
}
