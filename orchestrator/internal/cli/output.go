package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/stavily/agents/internal/terminal"
	"github.com/stavily/agents/shared/pkg/api"
)

// show prints rows for programs, or for people as a table under titles, which are
// separated by "|". Without rows people get the sentence none.
func show[T any](w io.Writer, o *options, rows []T, none, titles string, cells func(T) []string) error {
	if o.structured() {
		if rows == nil {
			rows = []T{}
		}
		return o.print(w, rows)
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(w, none)
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.ReplaceAll(titles, "|", "\t"))
	for _, r := range rows {
		line := cells(r)
		for i := range line {
			line[i] = cell(line[i])
		}
		fmt.Fprintln(tw, strings.Join(line, "\t"))
	}
	return tw.Flush()
}

// structured reports whether the output is for programs.
func (o *options) structured() bool { return o.output == "json" || o.output == "yaml" }

// print writes a value for programs, as JSON or as YAML with the same names and order.
func (o *options) print(w io.Writer, v any) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	if o.output == "yaml" {
		return writeYAML(w, text.Bytes())
	}
	_, err := w.Write(text.Bytes())
	return err
}

// writeYAML writes JSON as YAML in blocks: JSON is YAML in another style.
func writeYAML(w io.Writer, text []byte) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return fmt.Errorf("write YAML: %w", err)
	}
	block(&doc)
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return fmt.Errorf("write YAML: %w", err)
	}
	return enc.Close()
}

// block lets the encoder choose the style of a node and of all below it. Empty ones stay as
// they are: a block has no way to write nothing.
func block(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode || len(n.Content) > 0 {
		n.Style = 0
	}
	for _, c := range n.Content {
		block(c)
	}
}

// facts prints lines of a name and a value, leaving out empty values.
func facts(w io.Writer, pairs ...[2]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, p := range pairs {
		if p[1] != "" {
			fmt.Fprintf(tw, "%s:\t%s\n", p[0], cell(p[1]))
		}
	}
	return tw.Flush()
}

// How text that came from an agent is printed.
var (
	cell      = terminal.Cell
	printable = terminal.Printable
)

// ago writes an instant relative to now, as people say it: "5m ago", "in 3h".
func ago(t api.Time) string {
	if t.IsZero() {
		return ""
	}
	d := time.Until(t.Time)
	if d >= 0 {
		return "in " + rough(d)
	}
	return rough(-d) + " ago"
}

// rough writes a duration in its largest unit, or the two largest where one is coarse.
func rough(d time.Duration) string {
	switch {
	case d < time.Minute:
		return strconv.Itoa(int(d/time.Second)) + "s"
	case d < 10*time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < time.Hour:
		return strconv.Itoa(int(d/time.Minute)) + "m"
	case d < day:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return strconv.Itoa(int(d/day)) + "d"
	}
}

// full writes an instant absolutely, with the relative form for people.
func full(t api.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05 MST") + " (" + ago(t) + ")"
}
