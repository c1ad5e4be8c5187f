// Package diagram draws small directed graphs: as SVG for browsers and documents, and
// as Mermaid for whatever renders that.
//
//	Graph (nodes, edges) ──layers: longest way from a beginning──▶ columns ──▶ SVG
//	                     └──────────────────────────────────────────────────▶ Mermaid
//
// It owns the layout and knows nothing of what the nodes are. The layout is layered
// (Sugiyama, Tagawa and Toda, 1981) without the search for few crossings: nodes of a
// column keep the order that they are given in, which for workflows is the order in which
// people wrote them.
//
// The same graph gives the same bytes. Text is escaped; an SVG has no script, no link and
// no style but its own, follows the reader's light or dark scheme, and tells its content
// in words to a screen reader. A graph with a circle has no layers, and is drawn in one
// column.
package diagram
