package account

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// Bounds on what is said of a user.
const (
	maxGroups = 20
	maxUsers  = 1000 // of an organisation
)

var groupPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// UserSpec says what a user is to be.
type UserSpec struct {
	Role     Role
	Groups   []string // for approvals that ask for one
	Subject  string   // issuer and subject at an OpenID provider, parted by a space; "": none
	Disabled bool

	KeepSubject bool // who asks may not say who the user is at the provider: it stays, or goes
}

func (s UserSpec) check() error {
	if err := s.Role.Validate(); err != nil {
		return api.Errorf(api.CodeInvalid, "%v.", err)
	}
	if len(s.Groups) > maxGroups {
		return api.Errorf(api.CodeInvalid, "%d groups; a user may be in %d.", len(s.Groups), maxGroups)
	}
	for _, g := range s.Groups {
		if !groupPattern.MatchString(g) {
			return api.Errorf(api.CodeInvalid, "Group %.80q: must be lower-case letters, digits and . _ -, at most 64.", g)
		}
	}
	if s.Subject != "" && (len(s.Subject) > 512 || strings.Count(s.Subject, " ") != 1) {
		return api.Errorf(api.CodeInvalid, "Subject %.80q: must be the issuer's URL, a space, and the subject that it gives.", s.Subject)
	}
	return nil
}

// errSubject is the answer to a token that names a subject: whoever has that would log in
// without the token's limits.
var errSubject = api.Errorf(api.CodeForbidden, "A token names no subject, which would be a login without the token's limits; use `stavily users change NAME --subject` on the server's host.")

func (s UserSpec) into(u *store.User) error {
	if s.KeepSubject && s.Subject != "" && s.Subject != u.Subject {
		return errSubject
	}
	u.Role, u.Subject, u.Disabled = string(s.Role), s.Subject, s.Disabled
	u.Groups = slices.Compact(slices.Sorted(slices.Values(s.Groups)))
	return nil
}

// AddUser adds a user, who gets a password with [Accounts.Invite] or none: a program needs
// only tokens.
func (a *Accounts) AddUser(ctx context.Context, org api.OrgID, name string, spec UserSpec) (u store.User, err error) {
	if !namePattern.MatchString(name) {
		return u, api.Errorf(api.CodeInvalid, "%.80q is no name for a user: use at most 64 lower-case letters, digits and . _ @ + -.", name)
	}
	if err := spec.check(); err != nil {
		return u, err
	}
	err = a.keeper.Change(ctx, org, func(tx store.Tx, audit func(action, object, detail string) error) error {
		all, err := tx.Users()
		if err != nil {
			return err
		}
		switch {
		case slices.ContainsFunc(all, func(u store.User) bool { return u.Name == name }):
			return api.Errorf(api.CodeConflict, "There is a user %s already; change that one.", name)
		case len(all) >= maxUsers:
			return api.Errorf(api.CodeConflict, "There are %d users, and there may be no more; remove some.", len(all))
		}
		u = store.User{Name: name, CreatedAt: a.now(), CreatedBy: Actor(ctx)}
		if err := spec.into(&u); err != nil {
			return err
		}
		return errors.Join(oneSubject(all, u), tx.PutUser(u), audit("user.add", name, describe(spec)))
	})
	return u, err
}

// oneSubject holds that a subject of a provider is one user.
func oneSubject(all []store.User, u store.User) error {
	for _, other := range all {
		if u.Subject != "" && other.Subject == u.Subject && other.Name != u.Name {
			return api.Errorf(api.CodeConflict, "User %s has this subject already.", other.Name)
		}
	}
	return nil
}

func describe(s UserSpec) string {
	text := "role " + string(s.Role)
	if len(s.Groups) > 0 {
		text += ", groups " + strings.Join(s.Groups, " ")
	}
	if s.Subject != "" {
		text += ", subject " + s.Subject
	}
	if s.Disabled {
		text += ", disabled"
	}
	return text
}

// ChangeUser gives a user another role, other groups, or takes the user out of use. What
// is open with more than the user has now ends. [store.ErrNotFound] says that there is none.
func (a *Accounts) ChangeUser(ctx context.Context, org api.OrgID, name string, spec UserSpec) (u store.User, err error) {
	if err := spec.check(); err != nil {
		return u, err
	}
	err = a.keeper.Change(ctx, org, func(tx store.Tx, audit func(action, object, detail string) error) error {
		all, err := tx.Users()
		if err != nil {
			return err
		}
		if u, err = tx.User(name); err != nil {
			return err
		}
		if spec.Role != Admin || spec.Disabled {
			if err := otherAdmin(all, name); err != nil {
				return err
			}
		}
		if err := spec.into(&u); err != nil {
			return err
		}
		err = errors.Join(oneSubject(all, u), tx.PutUser(u), audit("user.change", name, describe(spec)))
		if spec.Disabled {
			err = errors.Join(err, dropAll(tx, name, KindSession, KindInvitation))
		}
		return err
	})
	if err == nil {
		a.flight.endWhere(func(c Caller) bool {
			return c.Org == org && c.User == name && (spec.Disabled || !spec.Role.Includes(c.Role))
		})
	}
	return u, err
}

// otherAdmin holds that an organisation keeps an admin. Where name is none, nothing is lost.
func otherAdmin(all []store.User, name string) error {
	was, others := false, 0
	for _, u := range all {
		switch {
		case u.Role != string(Admin) || u.Disabled:
		case u.Name == name:
			was = true
		default:
			others++
		}
	}
	if was && others == 0 {
		return api.Errorf(api.CodeConflict, "%s is the only admin; make another one first.", name)
	}
	return nil
}

func dropAll(tx store.Tx, user string, kinds ...string) error {
	all, err := tx.Credentials(user)
	for _, c := range all {
		if slices.Contains(kinds, c.Kind) {
			err = errors.Join(err, tx.DropCredential(c.Hash))
		}
	}
	return err
}

// RemoveUser removes a user with all sessions, tokens and links.
func (a *Accounts) RemoveUser(ctx context.Context, org api.OrgID, name string) error {
	err := a.keeper.Change(ctx, org, func(tx store.Tx, audit func(action, object, detail string) error) error {
		if _, err := tx.User(name); err != nil {
			return err
		}
		all, err := tx.Users()
		if err != nil {
			return err
		}
		if err := otherAdmin(all, name); err != nil {
			return err
		}
		return errors.Join(dropAll(tx, name, KindSession, KindToken, KindInvitation), tx.DropUser(name), audit("user.remove", name, ""))
	})
	if err == nil {
		a.flight.endUser(org, name)
	}
	return err
}

// Invite makes a link's secret with which a user chooses a password, once, and within
// [InvitationLife]. One that was made before ends.
func (a *Accounts) Invite(ctx context.Context, org api.OrgID, name string) (secret string, err error) {
	secret = newSecret(KindInvitation, org)
	err = a.keeper.Change(ctx, org, func(tx store.Tx, audit func(action, object, detail string) error) error {
		u, err := tx.User(name)
		if err != nil {
			return err
		}
		if u.Disabled {
			return api.Errorf(api.CodeConflict, "User %s is disabled; enable the user first.", name)
		}
		now := a.now()
		return errors.Join(tx.DropCredentials(now), dropAll(tx, name, KindInvitation), tx.PutCredential(store.Credential{
			Hash: hashOf(secret), Kind: KindInvitation, User: name, CreatedAt: now, CreatedBy: Actor(ctx), ExpiresAt: now.Add(InvitationLife),
		}), audit("user.invite", name, "a link to choose a password, good until "+now.Add(InvitationLife).UTC().Format("2006-01-02T15:04:05Z")))
	})
	return secret, err
}

// errLink is the answer to a link that is not good.
var errLink = api.Errorf(api.CodeUnauthenticated, "This link was used, has ended, or never was; an admin can make a new one with `stavily users invite NAME`.")

// Invited says whom a link's secret invites. Looking uses nothing up.
func (a *Accounts) Invited(ctx context.Context, secret, address string) (Caller, error) {
	if err := a.brakes.from(address, a.now()); err != nil {
		return Caller{}, err
	}
	caller, err := a.check(ctx, KindInvitation, secret)
	if errors.Is(err, errNobody) {
		err = errLink
	}
	return caller, err
}

// Accept uses a link up: it sets the password of its user, ends all sessions of the user
// and begins one. Of the attempt only Password, Address and Session are read.
func (a *Accounts) Accept(ctx context.Context, secret string, in Attempt) (Session, error) {
	invited, err := a.Invited(ctx, secret, in.Address)
	if err != nil {
		return Session{}, err
	}
	in.Org, in.Name = invited.Org, invited.User
	if err := a.setPassword(ctx, in, "user.accept", func(tx store.Tx) error {
		c, err := tx.Credential(hashOf(secret))
		if errors.Is(err, store.ErrNotFound) || err == nil && a.ended(c) {
			return errLink // somebody else was first
		}
		return err
	}); err != nil {
		return Session{}, err
	}
	return a.begin(ctx, in, "link", func(store.User) error { return nil })
}

// setPassword sets the password of an attempt where may allows it, and ends the user's
// sessions and links.
func (a *Accounts) setPassword(ctx context.Context, in Attempt, action string, may func(store.Tx) error) error {
	if err := checkPassword(in.Name, in.Password); err != nil {
		return err
	}
	kept, err := a.hasher.hash(ctx, in.Password)
	if err != nil {
		return err
	}
	err = a.keeper.Change(As(context.WithoutCancel(ctx), "user "+in.Name), in.Org, func(tx store.Tx, audit func(action, object, detail string) error) error {
		u, err := tx.User(in.Name)
		if err != nil {
			return err
		}
		if err := may(tx); err != nil {
			return err
		}
		if u.Disabled {
			return errLink
		}
		u.Password = kept
		return errors.Join(tx.PutUser(u), dropAll(tx, in.Name, KindSession, KindInvitation), audit(action, in.Name, "from "+in.Address))
	})
	if err == nil {
		a.flight.endWhere(func(c Caller) bool { return c.Org == in.Org && c.User == in.Name && c.Kind == KindSession })
	}
	return err
}

// ChangePassword lets a user choose another password, who knows the one of now, and begins
// a new session: all others end.
func (a *Accounts) ChangePassword(ctx context.Context, in Attempt, next string) (Session, error) {
	if _, err := a.Login(ctx, in); err != nil { // with its brakes
		return Session{}, err
	}
	in.Password = next
	if err := a.setPassword(ctx, in, "user.password", func(store.Tx) error { return nil }); err != nil {
		return Session{}, err
	}
	return a.begin(ctx, in, "password", func(store.User) error { return nil })
}

// FirstAdmin makes a link for the first admin of an organisation where it has none who can
// log in, and "" where it has. The user is called admin.
func (a *Accounts) FirstAdmin(ctx context.Context, org api.OrgID) (secret string, err error) {
	const name = "admin"
	var known, able bool
	err = a.keeper.View(ctx, org, func(r store.Reader) error {
		all, err := r.Users()
		for _, u := range all {
			known = known || u.Name == name
			able = able || u.Role == string(Admin) && !u.Disabled && (u.Password != "" || u.Subject != "")
		}
		return err
	})
	if err != nil || able {
		return "", err
	}
	if known {
		_, err = a.ChangeUser(ctx, org, name, UserSpec{Role: Admin})
	} else {
		_, err = a.AddUser(ctx, org, name, UserSpec{Role: Admin})
	}
	if err == nil {
		secret, err = a.Invite(ctx, org, name)
	}
	if err != nil {
		return "", fmt.Errorf("first admin: %w", err)
	}
	return secret, nil
}

// Users lists those of an organisation, by name.
func (a *Accounts) Users(ctx context.Context, org api.OrgID) (all []store.User, err error) {
	err = a.keeper.View(ctx, org, func(r store.Reader) (err error) {
		all, err = r.Users()
		return err
	})
	return all, err
}
