package account

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// namePattern is what the name of a user may be. Lower case only, so that nobody is two.
var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._@+-]{0,63}$`)

// Attempt is one to log in.
type Attempt struct {
	Org      api.OrgID
	Name     string
	Password string
	Address  string // that it comes from
	Session  string // that the browser came with, if any: it ends
}

// Session is one that has begun. Token is what the browser shows from then on.
type Session struct {
	Token     string
	Org       api.OrgID
	User      string
	Role      Role
	ExpiresAt time.Time
}

// errWrong is the answer to a wrong name as to a wrong password.
var errWrong = api.Errorf(api.CodeUnauthenticated, "There is no user of this name with this password; an admin can make a new link with `stavily users invite NAME`.")

// Login begins a session for a name with its password.
func (a *Accounts) Login(ctx context.Context, in Attempt) (Session, error) {
	now, key := a.now(), string(in.Org)+"/"+in.Name
	if err := a.brakes.from(in.Address, now); err != nil {
		return Session{}, err // and the name has nothing to pay
	}
	if err := held(a.brakes.names.Take(key, now)); err != nil {
		return Session{}, err
	}
	var u store.User
	if in.Org.Validate() == nil && namePattern.MatchString(in.Name) {
		err := a.keeper.View(ctx, in.Org, func(r store.Reader) (err error) {
			u, err = r.User(in.Name)
			return err
		})
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return Session{}, err
		}
	}
	same, err := a.hasher.matches(ctx, u.Password, in.Password)
	if err != nil {
		return Session{}, err
	}
	switch {
	case !same:
		return Session{}, a.wrong(ctx, u, in, "wrong password")
	case u.Disabled:
		return Session{}, a.wrong(ctx, u, in, "by password: disabled")
	}
	a.brakes.names.GiveBack(key, now)
	return a.begin(ctx, in, "password", func(now store.User) error {
		if now.Password != u.Password {
			return errWrong // was changed while this was compared
		}
		return nil
	})
}

// LoginSubject begins a session for the user of the organisation whose subject prove
// establishes. One whom no admin has made a user is none, whoever vouches for it.
func (a *Accounts) LoginSubject(ctx context.Context, in Attempt, prove func(context.Context) (subject string, err error)) (Session, error) {
	if err := a.brakes.from(in.Address, a.now()); err != nil {
		return Session{}, err
	}
	subject, err := prove(ctx)
	if err != nil {
		a.log.InfoContext(ctx, "login refused", "organisation", in.Org, "address", in.Address, "error", err)
		return Session{}, err
	}
	var all []store.User
	if in.Org.Validate() == nil {
		if all, err = a.Users(ctx, in.Org); err != nil {
			return Session{}, err
		}
	}
	n := slices.IndexFunc(all, func(u store.User) bool { return subject != "" && u.Subject == subject })
	if n < 0 {
		return Session{}, api.Errorf(api.CodeUnauthenticated, "No user of the organisation %.64q is %q; an admin can say who is, with `stavily users change NAME --subject`.", string(in.Org), subject)
	}
	in.Name = all[n].Name
	if all[n].Disabled {
		return Session{}, a.wrong(ctx, all[n], in, "by OpenID: disabled")
	}
	return a.begin(ctx, in, "OpenID", func(now store.User) error {
		if now.Subject != subject {
			return errWrong // was changed meanwhile
		}
		return nil
	})
}

// wrong has a login that was refused recorded, of a user that there is: later, or the time
// that it takes would tell who there is.
func (a *Accounts) wrong(ctx context.Context, u store.User, in Attempt, why string) error {
	a.log.InfoContext(ctx, "login refused", "organisation", in.Org, "user", u.Name, "address", in.Address)
	if u.Name != "" {
		select {
		case a.refused <- refusal{in.Org, u.Name, in.Address, why}:
		default: // more come than can be written; the log has them
		}
	}
	return errWrong
}

// refusal is a login that was refused, of a user that there is.
type refusal struct {
	org                api.OrgID
	user, address, why string
}

// record writes down that a login was refused.
func (a *Accounts) record(ctx context.Context, r refusal) {
	err := a.keeper.Change(As(ctx, "address "+r.address), r.org, func(_ store.Tx, audit func(action, object, detail string) error) error {
		return audit("login.refuse", r.user, r.why)
	})
	if err != nil && ctx.Err() == nil {
		a.log.ErrorContext(ctx, "audit of a login that was refused", "user", r.user, "error", err)
	}
}

// begin begins a session of a user whose identity was established by means; still checks
// the record as it is in the transaction, and may change it.
func (a *Accounts) begin(ctx context.Context, in Attempt, means string, still func(store.User) error) (Session, error) {
	now := a.now()
	out := Session{Token: newSecret(KindSession, in.Org), Org: in.Org, User: in.Name, ExpiresAt: now.Add(SessionLife)}
	ctx = As(context.WithoutCancel(ctx), "user "+in.Name)
	err := a.keeper.Change(ctx, in.Org, func(tx store.Tx, audit func(action, object, detail string) error) error {
		u, err := tx.User(in.Name)
		if err != nil {
			return err
		}
		if u.Disabled {
			return errWrong
		}
		if err := still(u); err != nil {
			return err
		}
		out.Role, u.LoginAt = Role(u.Role), now
		session := store.Credential{
			Hash: hashOf(out.Token), Kind: KindSession, User: u.Name, CreatedAt: now, CreatedBy: "user " + u.Name, ExpiresAt: out.ExpiresAt, UsedAt: now, Address: in.Address,
		}
		return errors.Join(tx.DropCredentials(now), a.keepSome(tx, u.Name), tx.PutUser(u), tx.PutCredential(session),
			audit("login", u.Name, fmt.Sprintf("by %s, from %s", means, in.Address)))
	})
	if err == nil {
		err = a.Logout(ctx, in.Session)
	}
	return out, err
}

// keepSome ends the oldest sessions of a user where a new one would be too many.
func (a *Accounts) keepSome(tx store.Tx, user string) error {
	all, err := tx.Credentials(user)
	n := 0
	for _, c := range all { // newest first
		if c.Kind != KindSession {
			continue
		}
		if n++; n >= maxSessions {
			err = errors.Join(err, tx.DropCredential(c.Hash))
		}
	}
	return err
}

// Logout ends a session. One that has ended already is none to worry about.
func (a *Accounts) Logout(ctx context.Context, text string) error {
	org, ok := parseSecret(KindSession, text)
	if !ok {
		return nil
	}
	err := a.keeper.Change(context.WithoutCancel(ctx), org, func(tx store.Tx, audit func(action, object, detail string) error) error {
		c, err := tx.Credential(hashOf(text))
		if err != nil {
			return err
		}
		return errors.Join(tx.DropCredential(c.Hash), audit("logout", c.User, ""))
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	hash := hashOf(text)
	a.flight.endWhere(func(c Caller) bool { return c.kept.Hash == hash })
	return err
}
