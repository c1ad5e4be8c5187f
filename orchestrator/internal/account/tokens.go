package account

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// tokenIDLength is how much of a token's hash names it: 48 bits, of at most a few thousand.
const tokenIDLength = 12

// TokenSpec says what an API token is for.
type TokenSpec struct {
	Name  string        // unique among those of its user
	Role  Role          // it gives at most this one
	Areas []string      // parts of the API that it is for, by the first part of their path; none: all
	TTL   time.Duration // 0: DefaultTokenLife
	Note  string
}

var areaPattern = regexp.MustCompile(`^[a-z][a-z-]{0,31}$`)

func (s *TokenSpec) check() error {
	if s.TTL == 0 {
		s.TTL = DefaultTokenLife
	}
	switch {
	case !namePattern.MatchString(s.Name):
		return api.Errorf(api.CodeInvalid, "%.80q is no name for a token: use at most 64 lower-case letters, digits and . _ @ + -.", s.Name)
	case s.Role.Validate() != nil:
		return api.Errorf(api.CodeInvalid, "%v.", s.Role.Validate())
	case s.TTL < time.Minute || s.TTL > MaxTokenLife:
		return api.Errorf(api.CodeInvalid, "A token lives from 1m to %s, and not %s.", MaxTokenLife, s.TTL)
	case len(s.Note) > 500 || len(s.Areas) > 20:
		return api.Errorf(api.CodeInvalid, "A token has a note of at most 500 bytes and at most 20 areas.")
	}
	for _, area := range s.Areas {
		if !areaPattern.MatchString(area) {
			return api.Errorf(api.CodeInvalid, "Area %.40q: must be the part of the API's paths after /api/v1/, for example runs or workflows.", area)
		}
	}
	return nil
}

// CreateToken makes a token of a user and returns it; only its hash is kept.
func (a *Accounts) CreateToken(ctx context.Context, org api.OrgID, user string, spec TokenSpec) (text string, c store.Credential, err error) {
	if err := spec.check(); err != nil {
		return "", c, err
	}
	text = newSecret(KindToken, org)
	err = a.keeper.Change(ctx, org, func(tx store.Tx, audit func(action, object, detail string) error) error {
		u, err := tx.User(user)
		if err != nil {
			return err
		}
		if !Role(u.Role).Includes(spec.Role) {
			return api.Errorf(api.CodeForbidden, "User %s is %s, and a token gives no more than its user has; ask for --role %s at most.", user, u.Role, u.Role)
		}
		now := a.now()
		if err := tx.DropCredentials(now); err != nil {
			return err
		}
		all, err := tx.Credentials(user)
		if err != nil {
			return err
		}
		tokens := slices.DeleteFunc(all, func(c store.Credential) bool { return c.Kind != KindToken })
		switch {
		case len(tokens) >= maxTokens:
			return api.Errorf(api.CodeConflict, "User %s has %d tokens; revoke some.", user, len(tokens))
		case slices.ContainsFunc(tokens, func(c store.Credential) bool { return c.Name == spec.Name }):
			return api.Errorf(api.CodeConflict, "User %s has a token %s already; revoke that one or choose another name.", user, spec.Name)
		}
		c = store.Credential{
			Hash: hashOf(text), Kind: KindToken, User: user, Name: spec.Name, Role: string(spec.Role), Areas: spec.Areas, Note: spec.Note,
			CreatedAt: now, CreatedBy: Actor(ctx), ExpiresAt: now.Add(spec.TTL),
		}
		detail := "role " + c.Role + ", until " + c.ExpiresAt.UTC().Format(time.RFC3339)
		if len(c.Areas) > 0 {
			detail += ", for " + strings.Join(c.Areas, " ")
		}
		return errors.Join(tx.PutCredential(c), audit("api_token.create", user+"/"+spec.Name, detail))
	})
	return text, c, err
}

// TokenID is the part of a token's hash by which people name it.
func TokenID(c store.Credential) string { return c.Hash[:min(len(c.Hash), tokenIDLength)] }

// Tokens lists the API tokens of a user, or of all where it is empty, newest first.
func (a *Accounts) Tokens(ctx context.Context, org api.OrgID, user string) (all []store.Credential, err error) {
	err = a.keeper.View(ctx, org, func(r store.Reader) (err error) {
		all, err = r.Credentials(user)
		return err
	})
	return slices.DeleteFunc(all, func(c store.Credential) bool { return c.Kind != KindToken }), err
}

// RevokeToken ends a token by its id: one of the user, or of anybody where it is empty.
func (a *Accounts) RevokeToken(ctx context.Context, org api.OrgID, user, id string) error {
	var hash string
	err := a.keeper.Change(ctx, org, func(tx store.Tx, audit func(action, object, detail string) error) error {
		all, err := tx.Credentials(user)
		if err != nil {
			return err
		}
		n := slices.IndexFunc(all, func(c store.Credential) bool { return c.Kind == KindToken && TokenID(c) == id })
		if n < 0 {
			return store.ErrNotFound
		}
		hash = all[n].Hash
		return errors.Join(tx.DropCredential(hash), audit("api_token.revoke", all[n].User+"/"+all[n].Name, ""))
	})
	if err == nil {
		a.flight.endWhere(func(c Caller) bool { return c.kept.Hash == hash })
	}
	return err
}
