package web

import (
	"context"
	"errors"
	"html/template"
	"strings"
	"unicode/utf8"

	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

type editPage struct {
	frame
	Name     string // of the workflow that is changed; empty: a new one
	Text     string
	Lines    []editLine
	Problems strictyaml.Errors
	Missing  strictyaml.Errors // what the text names and is not here, where that is taken
	Lenient  bool
	Refused  string // by the server, for another reason than the text
	Graph    template.HTML
	Trials   []workflow.Trial
	Diff     []diffLine // to what is in effect
	Applies  string     // name of the workflow that the text is
}

func (*editPage) template() string { return "edit.html" }

// editLine is a line of the text, cut where its first mistake begins.
type editLine struct {
	Bad         bool
	Before, At  string
	After, Says string
}

// startText is what an empty editor begins with.
const startText = `name: my-workflow
description: What it is for
triggers:
  - manual: {}
actions:
  - id: first
    plugin: run-command
    with:
      command: [/bin/true]
`

// edit shows the text of a workflow to change it.
func (s *Site) edit(ctx context.Context, c *route.Call) (view, error) {
	p := &editPage{frame: frame{Section: "workflows"}, Name: c.Query.Get("workflow"), Text: startText}
	err := s.read(ctx, c, func(r store.Reader) error {
		if p.Name == "" {
			return nil
		}
		w, err := versionOf(r, p.Name, 0)
		p.Text = w.Text
		return err
	})
	if err != nil {
		return nil, err
	}
	return p, s.examine(ctx, c, p)
}

// check answers the editor with what it makes of the text so far.
func (s *Site) check(ctx context.Context, c *route.Call) (any, error) {
	f, err := readForm(c)
	if err != nil {
		return nil, err
	}
	p := &editPage{Name: f.text("name"), Text: newlines(f.Get("text")), Lenient: f.text("lenient") != ""}
	if err := s.examine(ctx, c, p); err != nil {
		return nil, err
	}
	if err := s.furnish(ctx, c, &p.frame); err != nil {
		return nil, err
	}
	body, err := s.render(p, "checked")
	return &route.Document{Type: htmlType, Body: body}, err
}

// newlines undoes what forms do to the ends of lines.
func newlines(text string) string { return strings.ReplaceAll(text, "\r\n", "\n") }

// examine finds out what is wrong with the text, or else what it would do.
func (s *Site) examine(ctx context.Context, c *route.Call, p *editPage) error {
	p.Title = "New workflow"
	if p.Name != "" {
		p.Title = "Edit " + p.Name
	}
	d, missing, err := s.engine.ParseKnowing(ctx, c.Principal.Org, "workflow", []byte(p.Text), p.Lenient)
	p.Missing = missing
	if err == nil {
		p.Trials, err = d.TryAll(ctx)
		if err != nil && !errors.As(err, &p.Problems) {
			return err
		}
		p.Applies = d.Name
		if p.Graph, err = inline(d.Diagram().Inline); err != nil {
			return err
		}
		if err := s.against(ctx, c, p); err != nil {
			return err
		}
	} else if !errors.As(err, &p.Problems) {
		return err
	}
	p.Lines = marked(p.Text, p.Problems)
	return nil
}

// against compares the text with the one in effect under its name.
func (s *Site) against(ctx context.Context, c *route.Call, p *editPage) error {
	var current store.Workflow
	err := s.read(ctx, c, func(r store.Reader) (err error) {
		current, err = r.Workflow(p.Applies)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err == nil && current.Text != p.Text {
		p.Diff = differences(current.Text, p.Text, "in effect", "this text")
	}
	return err
}

// marked are the lines of a text with its mistakes where they are.
func marked(text string, problems strictyaml.Errors) []editLine {
	var out []editLine
	for _, line := range strings.Split(text, "\n") {
		out = append(out, editLine{Before: line})
	}
	for _, e := range problems {
		if e.Line < 1 || e.Line > len(out) {
			continue
		}
		line := &out[e.Line-1]
		if line.Bad {
			line.Says += "; " + e.Message
			continue
		}
		whole := []rune(line.Before)
		from := min(max(e.Column-1, 0), len(whole))
		rest := string(whole[from:])
		word := strings.IndexAny(rest, " :,]}")
		if word <= 0 {
			word = len(rest)
		}
		*line = editLine{Bad: true, Before: string(whole[:from]), At: rest[:word], After: rest[word:], Says: e.Message}
	}
	return out
}

// apply puts the text into effect.
func (s *Site) apply(ctx context.Context, c *route.Call, f form) (string, error) {
	p := &editPage{frame: frame{Section: "workflows"}, Name: f.text("name"), Text: newlines(f.Get("text")), Lenient: f.text("lenient") != ""}
	if !utf8.ValidString(p.Text) {
		return "", api.Errorf(api.CodeInvalid, "The text is not UTF-8; paste it anew.")
	}
	if err := s.examine(ctx, c, p); err != nil {
		return "", err
	}
	if len(p.Problems) > 0 {
		return "", &shownAgain{p}
	}
	w, _, err := s.engine.Apply(ctx, c.Principal.Org, "workflow", []byte(p.Text))
	var known *api.Error
	if errors.As(err, &known) && known.Status() < 500 {
		p.Refused = known.Message
		return "", &shownAgain{p}
	}
	return "/workflows/" + w.Name, err
}
