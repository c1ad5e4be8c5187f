package web

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

type historyPage struct {
	frame
	Name     string
	Versions []version
	From, To int
	Diff     []diffLine
}

func (*historyPage) template() string { return "history.html" }

type version struct {
	store.Workflow
	More, Less int // lines, against the one before
	Current    bool
}

// diffLine is a line of a unified diff; Class is add, del, hunk or nothing.
type diffLine struct{ Class, Text string }

// history lists the versions of a workflow and shows what changed between two of them.
func (s *Site) history(ctx context.Context, c *route.Call) (view, error) {
	name := c.PathValue("id")
	p := &historyPage{frame: frame{Title: "History of " + name, Section: "workflows"}, Name: name}
	var err error
	for at, query := range map[*int]string{&p.From: "from", &p.To: "to"} {
		if *at, err = strconv.Atoi("0" + c.Query.Get(query)); err != nil {
			return nil, api.Errorf(api.CodeInvalid, "Query parameter %s=%.40q: must be the number of a version.", query, c.Query.Get(query))
		}
	}
	return p, s.read(ctx, c, func(r store.Reader) error {
		all, err := r.WorkflowVersions(name, pageSize)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			return store.ErrNotFound
		}
		current, err := r.Workflows()
		if err != nil {
			return err
		}
		for i, w := range all {
			v := version{Workflow: w, Current: i == 0 && slices.ContainsFunc(current, func(one store.Workflow) bool { return one.Name == name })}
			before := ""
			if i+1 < len(all) {
				before = all[i+1].Text
			}
			for _, line := range differences(before, w.Text, "", "") {
				switch line.Class {
				case "add":
					v.More++
				case "del":
					v.Less++
				}
			}
			p.Versions = append(p.Versions, v)
		}
		return p.compare(r, all)
	})
}

func (p *historyPage) compare(r store.Reader, all []store.Workflow) error {
	if p.To == 0 {
		p.To = all[0].Version
	}
	if p.From == 0 {
		p.From = p.To - 1
	}
	newer, err := r.WorkflowVersion(p.Name, p.To)
	if err != nil || p.From <= 0 {
		return err
	}
	older, err := r.WorkflowVersion(p.Name, p.From)
	p.Diff = differences(older.Text, newer.Text, fmt.Sprintf("version %d", p.From), fmt.Sprintf("version %d", p.To))
	return err
}

// differences are the lines of a unified diff.
func differences(before, now, beforeName, nowName string) (out []diffLine) {
	for line := range strings.Lines(udiff.Unified(beforeName, nowName, before, now)) {
		one := diffLine{Text: strings.TrimSuffix(line, "\n")}
		switch {
		case strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "---"), strings.HasPrefix(line, "@@"):
			one.Class = "hunk"
		case line[0] == '+':
			one.Class = "add"
		case line[0] == '-':
			one.Class = "del"
		}
		out = append(out, one)
	}
	return out
}
