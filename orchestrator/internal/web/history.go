package web

import (
	"cmp"
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
	var older, newer string
	err = s.read(ctx, c, func(r store.Reader) error {
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
			p.Versions = append(p.Versions, version{Workflow: w, Current: i == 0 && slices.ContainsFunc(current, func(one store.Workflow) bool { return one.Name == name })})
		}
		older, newer, err = p.compared(r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return p, p.compare(ctx, older, newer)
}

// compared are the texts of the two versions that are compared.
func (p *historyPage) compared(r store.Reader) (older, newer string, err error) {
	p.To = cmp.Or(p.To, p.Versions[0].Version)
	p.From = cmp.Or(p.From, p.To-1)
	one, err := r.WorkflowVersion(p.Name, p.To)
	if err != nil || p.From <= 0 {
		return "", "", err
	}
	other, err := r.WorkflowVersion(p.Name, p.From)
	return other.Text, one.Text, err
}

// compare finds what changed from each version to the next, while somebody waits for it.
func (p *historyPage) compare(ctx context.Context, older, newer string) error {
	if p.From > 0 {
		p.Diff = differences(older, newer, fmt.Sprintf("version %d", p.From), fmt.Sprintf("version %d", p.To))
	}
	for i := range p.Versions {
		v, before := &p.Versions[i], ""
		if i+1 < len(p.Versions) {
			before = p.Versions[i+1].Text
		}
		for _, line := range differences(before, v.Text, "", "") {
			switch line.Class {
			case "add":
				v.More++
			case "del":
				v.Less++
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
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
