package web

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

type secretsPage struct {
	frame
	Secrets []secretRow
}

func (*secretsPage) template() string { return "secrets.html" }

// secretRow is a secret as people see it: all but its value, which no page has.
type secretRow struct {
	Name        string
	Version     int
	SetAt, Made time.Time
	SetBy       string
	Key         string   // id of the key that it is sealed with
	UsedBy      []string // workflows in effect
	Problem     string   // why this server cannot read it
}

// secrets lists the secrets, without their values.
func (s *Site) secrets(ctx context.Context, c *route.Call) (view, error) {
	p := &secretsPage{frame: frame{Title: "Secrets", Section: "secrets"}}
	all, users, err := s.engine.Secrets(ctx, c.Principal.Org)
	for _, one := range all {
		row := secretRow{Name: one.Name, Version: one.Version, SetAt: one.UpdatedAt, Made: one.CreatedAt, SetBy: one.UpdatedBy, Key: one.Key, UsedBy: users[one.Name]}
		if problem := s.engine.ReadableSecret(c.Principal.Org, one); problem != nil {
			row.Problem = problem.Error()
		}
		p.Secrets = append(p.Secrets, row)
	}
	return p, err
}

// Keys are the ids of the keys that the secrets are sealed with: more than one while a change
// of keys has not ended.
func (p *secretsPage) Keys() []string {
	var keys []string
	for _, one := range p.Secrets {
		if !slices.Contains(keys, one.Key) {
			keys = append(keys, one.Key)
		}
	}
	return keys
}

// secretsDo is every button of the page.
func (s *Site) secretsDo(ctx context.Context, c *route.Call, f form) (string, error) {
	const to = "/secrets"
	name, org := f.text("name"), c.Principal.Org
	switch do := f.text("do"); do {
	case "set":
		_, err := s.engine.SetSecret(ctx, org, name, typed(f.Get("value")))
		return to, err
	case "delete":
		err := s.engine.DeleteSecret(ctx, org, name, f.Get("force") == "yes")
		if errors.Is(err, store.ErrNotFound) {
			err = api.Errorf(api.CodeNotFound, "There is no secret %.80q any more.", name)
		}
		return to, err
	default:
		return to, api.Errorf(api.CodeInvalid, "%.40q is nothing that can be done with a secret.", do)
	}
}

// typed is a text as somebody typed it into a field of several lines, which browsers send with
// the ends of lines of the web; the end of the last line is not a part of it.
func typed(text string) string {
	return strings.TrimSuffix(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
}
