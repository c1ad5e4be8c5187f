package diagram

import (
	"fmt"
	"html"
	"io"
	"strings"
	"unicode/utf8"
)

// Node is a box with one or two lines of text.
type Node struct {
	ID     string // unique in its graph
	Title  string
	Detail string // may be empty
	Shape  Shape
	State  string // becomes a class of a node that is drawn inline, beside what Detail says of it
	Link   string // where the node leads inline; may be empty
}

// Shape tells kinds of nodes apart, without colour alone.
type Shape int

// The shapes.
const (
	Box     Shape = iota // something that is done
	Round                // something that happens
	Slanted              // somebody is told
)

// Edge leads from one node to another.
type Edge struct {
	From, To string // ids
	Dashed   bool
}

// Graph is what is drawn. Edges of nodes that are not there are left out.
type Graph struct {
	Title string
	Nodes []Node
	Edges []Edge
}

// Sizes in user units, which are pixels at scale 1.
const (
	boxWidth, boxHeight = 190, 50
	columnGap, rowGap   = 60, 22
	margin              = 16
	maxTitle, maxDetail = 22, 28 // characters that fit a box
)

// style follows the scheme of whoever looks, as an image of its own or inside a page.
const style = `.node rect,.node path{fill:#f6f8fa;stroke:#57606a}.node text{fill:#1f2328;font:14px system-ui,sans-serif}` +
	`.node text.detail{fill:#57606a;font-size:11px}.edge{fill:none;stroke:#57606a}.tip{fill:#57606a}` +
	`@media(prefers-color-scheme:dark){.node rect,.node path{fill:#161b22;stroke:#8b949e}.node text{fill:#e6edf3}` +
	`.node text.detail{fill:#8b949e}.edge{stroke:#8b949e}.tip{fill:#8b949e}}`

type place struct{ x, y int }

// SVG writes the graph as one svg element, from left to right, with its own style.
func (g Graph) SVG(w io.Writer) error { return g.draw(w, "<style>"+style+"</style>", false) }

// Inline writes the graph for a page that has the style of its classes, and whose policy lets
// nothing bring its own.
func (g Graph) Inline(w io.Writer) error { return g.draw(w, "", true) }

func (g Graph) draw(w io.Writer, style string, inline bool) error {
	places, width, height := g.layout()
	var b strings.Builder
	role := "img"
	if inline {
		role = "group" // its nodes can be links
	}
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" class="graph" viewBox="0 0 %d %d" width="%d" height="%d" role="%s"><title>%s</title><desc>%s</desc>%s`,
		width, height, width, height, role, html.EscapeString(g.Title), html.EscapeString(g.words()), style)
	b.WriteString(`<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>`)
	for _, e := range g.edges(places) {
		from, to := places[e.From], places[e.To]
		x1, y1, x2, y2 := from.x+boxWidth, from.y+boxHeight/2, to.x, to.y+boxHeight/2
		bend := max((x2-x1)/2, columnGap/2)
		dash := ""
		if e.Dashed {
			dash = ` stroke-dasharray="5 4"`
		}
		fmt.Fprintf(&b, `<path class="edge"%s d="M%d %dC%d %d %d %d %d %d" marker-end="url(#tip)"/>`, dash, x1, y1, x1+bend, y1, x2-bend, y2, x2, y2)
	}
	for _, n := range g.Nodes {
		n.draw(&b, places[n.ID], inline)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (n Node) draw(b *strings.Builder, at place, inline bool) {
	class, end := "node", "</g>"
	if inline && n.State != "" {
		class += " is-" + html.EscapeString(n.State)
	}
	if inline && n.Link != "" {
		fmt.Fprintf(b, `<a href="%s">`, html.EscapeString(n.Link))
		end += "</a>"
	}
	fmt.Fprintf(b, `<g class="%s"><title>%s</title>`, class, html.EscapeString(strings.TrimSpace(n.Title+" "+n.Detail)))
	switch n.Shape {
	case Slanted:
		fmt.Fprintf(b, `<path d="M%d %dh%dl-12 %dh-%dz"/>`, at.x+12, at.y, boxWidth-12, boxHeight, boxWidth-12)
	case Round:
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" rx="%d"/>`, at.x, at.y, boxWidth, boxHeight, boxHeight/2)
	case Box:
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" rx="4"/>`, at.x, at.y, boxWidth, boxHeight)
	}
	line := boxHeight/2 + 5
	if n.Detail != "" {
		line = 21
		fmt.Fprintf(b, `<text class="detail" x="%d" y="%d" text-anchor="middle">%s</text>`, at.x+boxWidth/2, at.y+38, html.EscapeString(clip(n.Detail, maxDetail)))
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="middle">%s</text>%s`, at.x+boxWidth/2, at.y+line, html.EscapeString(clip(n.Title, maxTitle)), end)
}

// layout places nodes in columns: each behind all that lead to it.
func (g Graph) layout() (places map[string]place, width, height int) {
	places = make(map[string]place, len(g.Nodes))
	rows := map[int]int{}
	column := g.columns()
	for _, n := range g.Nodes {
		c := column[n.ID]
		places[n.ID] = place{margin + c*(boxWidth+columnGap), margin + rows[c]*(boxHeight+rowGap)}
		rows[c]++
		width = max(width, places[n.ID].x+boxWidth+margin)
		height = max(height, places[n.ID].y+boxHeight+margin)
	}
	return places, width, height
}

// columns gives each node the length of the longest way to it. A way is never longer
// than there are nodes, which ends it where there is a circle.
func (g Graph) columns() map[string]int {
	column := make(map[string]int, len(g.Nodes))
	for _, n := range g.Nodes {
		column[n.ID] = 0
	}
	for range g.Nodes {
		changed := false
		for _, e := range g.Edges {
			from, known := column[e.From]
			to, also := column[e.To]
			if known && also && to <= from {
				column[e.To], changed = from+1, true
			}
		}
		if !changed {
			return column
		}
	}
	return nil // a circle
}

func (g Graph) edges(places map[string]place) []Edge {
	var out []Edge
	for _, e := range g.Edges {
		_, from := places[e.From]
		_, to := places[e.To]
		if from && to {
			out = append(out, e)
		}
	}
	return out
}

// words is the graph as a sentence for each edge.
func (g Graph) words() string {
	titles := map[string]string{}
	for _, n := range g.Nodes {
		titles[n.ID] = n.Title
	}
	var out []string
	for _, e := range g.Edges {
		out = append(out, titles[e.From]+" leads to "+titles[e.To]+".")
	}
	return strings.Join(out, " ")
}

// Mermaid writes the graph as a Mermaid flowchart (mermaid.js.org/syntax/flowchart).
func (g Graph) Mermaid(w io.Writer) error {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	number := map[string]int{}
	brackets := [][2]string{Box: {"[", "]"}, Round: {"([", "])"}, Slanted: {"[/", "/]"}}
	for i, n := range g.Nodes {
		number[n.ID] = i
		text := mermaidText(n.Title)
		if n.Detail != "" {
			text += "<br/>" + mermaidText(n.Detail)
		}
		fmt.Fprintf(&b, "  n%d%s\"%s\"%s\n", i, brackets[n.Shape][0], text, brackets[n.Shape][1])
	}
	for _, e := range g.Edges {
		from, known := number[e.From]
		to, also := number[e.To]
		if !known || !also {
			continue
		}
		arrow := "-->"
		if e.Dashed {
			arrow = "-.->"
		}
		fmt.Fprintf(&b, "  n%d %s n%d\n", from, arrow, to)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// mermaidText escapes what ends a quoted text, begins markup, or breaks the line.
func mermaidText(s string) string {
	return strings.NewReplacer("\n", " ", "#", "#35;", `"`, "#quot;", "<", "#lt;", ">", "#gt;", "&", "#amp;").Replace(s)
}

func clip(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-1]) + "…"
}
