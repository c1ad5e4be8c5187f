package web

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/stavily/agents/orchestrator/internal/account"
	"github.com/stavily/agents/orchestrator/internal/engine"
	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

type accessPage struct {
	frame
	Users  []store.User
	Tokens []apiToken
	Enrol  []store.Token
	Roles  []account.Role
	Shown  *shownOnce
}

func (*accessPage) template() string { return "access.html" }

// apiToken is an API token with the name by which it is revoked.
type apiToken struct {
	store.Credential
	ID string
}

// shownOnce is a secret that was just made: nobody can see it again.
type shownOnce struct{ What, Secret, Then string }

// shownTokens is how many tokens for enrolment are listed, the newest.
const shownTokens = 20

// access shows who may do what: users, programs, and agents that are to enrol.
func (s *Site) access(ctx context.Context, c *route.Call) (view, error) {
	p := &accessPage{frame: frame{Title: "Access", Section: "access"}, Roles: []account.Role{account.Viewer, account.Operator, account.Approver, account.Admin}}
	return p, s.read(ctx, c, func(r store.Reader) (err error) {
		if p.Users, err = r.Users(); err != nil {
			return err
		}
		credentials, err := r.Credentials("")
		if err != nil {
			return err
		}
		for _, one := range credentials {
			if one.Kind == account.KindToken {
				p.Tokens = append(p.Tokens, apiToken{one, account.TokenID(one)})
			}
		}
		p.Enrol, err = r.Tokens()
		p.Enrol = p.Enrol[:min(len(p.Enrol), shownTokens)]
		return err
	})
}

// accessDo is every button of the page.
func (s *Site) accessDo(ctx context.Context, c *route.Call) (any, error) {
	f, err := readForm(c)
	if err != nil {
		return s.refused(ctx, c, err)
	}
	shown, err := s.grant(ctx, c.Principal, f)
	if err != nil {
		return s.refused(ctx, c, err)
	}
	if shown == nil {
		return redirect("/access"), nil
	}
	v, err := s.access(ctx, c)
	if err != nil {
		return nil, err
	}
	v.(*accessPage).Shown = shown
	return s.whole(ctx, c, v, http.StatusOK)
}

func (s *Site) grant(ctx context.Context, p route.Principal, f form) (*shownOnce, error) {
	name := f.text("name")
	spec := account.UserSpec{Role: account.Role(f.text("role")), Groups: strings.Fields(f.text("groups")), Disabled: f.text("disabled") != ""}
	switch do := f.text("do"); do {
	case "add":
		if _, err := s.opts.Accounts.AddUser(ctx, p.Org, name, spec); err != nil {
			return nil, err
		}
		return s.invite(ctx, p.Org, name)
	case "invite":
		return s.invite(ctx, p.Org, name)
	case "change":
		before, err := s.user(ctx, p.Org, name)
		if err != nil {
			return nil, err
		}
		spec.Subject = before.Subject
		_, err = s.opts.Accounts.ChangeUser(ctx, p.Org, name, spec)
		return nil, err
	case "remove":
		return nil, s.opts.Accounts.RemoveUser(ctx, p.Org, name)
	case "token":
		return s.makeToken(ctx, p, f)
	case "revoke":
		return nil, s.opts.Accounts.RevokeToken(ctx, p.Org, "", f.text("id"))
	case "enrol":
		return s.makeEnrolment(ctx, p.Org, f)
	default:
		return nil, api.Errorf(api.CodeInvalid, "%.40q is nothing that this page does.", do)
	}
}

func (s *Site) user(ctx context.Context, org api.OrgID, name string) (u store.User, err error) {
	err = s.engine.View(ctx, org, func(r store.Reader) (err error) {
		u, err = r.User(name)
		return err
	})
	return u, err
}

func (s *Site) invite(ctx context.Context, org api.OrgID, name string) (*shownOnce, error) {
	secret, err := s.opts.Accounts.Invite(ctx, org, name)
	if errors.Is(err, store.ErrNotFound) {
		err = api.Errorf(api.CodeNotFound, "There is no user %.80q any more.", name)
	}
	return &shownOnce{
		What: "One-time link for " + name, Secret: s.opts.WebURL + "/welcome?link=" + secret,
		Then: "Give it to " + name + " alone: it lets whoever opens it first choose the password.",
	}, err
}

func (s *Site) makeToken(ctx context.Context, p route.Principal, f form) (*shownOnce, error) {
	days, err := f.number("days", 0, 1)
	if err != nil {
		return nil, err
	}
	user := f.text("user")
	if user == "" {
		user = p.Name
	}
	areas := strings.Fields(f.text("areas"))
	if err := route.CheckAreas(areas); err != nil {
		return nil, err
	}
	text, token, err := s.opts.Accounts.CreateToken(ctx, p.Org, user, account.TokenSpec{
		Name: f.text("name"), Role: account.Role(f.text("role")), Areas: areas, TTL: time.Duration(days) * 24 * time.Hour, Note: f.text("note"),
	})
	if errors.Is(err, store.ErrNotFound) {
		err = api.Errorf(api.CodeNotFound, "There is no user %.80q; name one of the list.", user)
	}
	return &shownOnce{
		What: "API token " + token.Name + " of " + token.User, Secret: text,
		Then: "Keep it now: it is not shown again. It goes into the header Authorization: Bearer.",
	}, err
}

func (s *Site) makeEnrolment(ctx context.Context, org api.OrgID, f form) (*shownOnce, error) {
	kind, id := api.AgentType(f.text("type")), api.AgentID(f.text("agent"))
	text, _, err := s.engine.CreateToken(ctx, org, engine.TokenSpec{Type: kind, Agent: id, Note: f.text("note")})
	if err != nil {
		return nil, err
	}
	command := string(kind) + "-agent enroll --base-url " + s.opts.BaseURL + " --token " + text + " --ca-fingerprint " + s.opts.CAFingerprint
	if id != "" {
		command += " --agent-id " + string(id)
	}
	return &shownOnce{What: "Command that enrols the " + string(kind) + " agent, within an hour", Secret: command, Then: "Run it on the agent's host. It works once."}, nil
}
