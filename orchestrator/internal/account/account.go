package account

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// Keeper keeps accounts, with a record of every change.
type Keeper interface {
	View(ctx context.Context, org api.OrgID, f func(store.Reader) error) error
	// Change runs f in one transaction; what audit is told is recorded in it, in the name
	// of the context's actor.
	Change(ctx context.Context, org api.OrgID, f func(tx store.Tx, audit func(action, object, detail string) error) error) error
}

// Accounts are those of all organisations. Make it with [New].
type Accounts struct {
	keeper Keeper
	log    *slog.Logger
	now    func() time.Time
	hasher *hasher
	brakes *brakes
	flight *flight

	refused chan refusal // to be recorded
}

// New returns the accounts that keeper keeps. now may be nil.
func New(keeper Keeper, log *slog.Logger, now func() time.Time) *Accounts {
	if now == nil {
		now = time.Now
	}
	return &Accounts{keeper: keeper, log: log, now: now, hasher: newHasher(), brakes: newBrakes(), flight: newFlight(), refused: make(chan refusal, 256)}
}

// Caller is somebody who was recognised.
type Caller struct {
	Org       api.OrgID
	User      string
	Role      Role
	Kind      string    // of the credential
	Token     string    // name of the API token
	Areas     []string  // parts of the API that the token is for; none: all
	ExpiresAt time.Time // of the credential
	kept      store.Credential
}

// actor is how audit records name a caller.
func (c Caller) actor() string {
	if c.Token != "" {
		return "user " + c.User + " token " + c.Token
	}
	return "user " + c.User
}

// errNobody is the answer to a credential that is not good, whatever is wrong with it.
var errNobody = api.Errorf(api.CodeUnauthenticated, "Nobody is logged in: the session or token has ended, or never was. Log in again, or make another token.")

// Recognise says who comes with a credential of a kind. The error is an [*api.Error] for
// one that is not good. The context that it returns ends, with such an error as its cause,
// when the credential does; release is called exactly once, when err is nil.
func (a *Accounts) Recognise(ctx context.Context, kind, text, address string) (context.Context, Caller, func(), error) {
	caller, err := a.check(ctx, kind, text)
	if err != nil {
		return nil, Caller{}, nil, err
	}
	if err := a.used(ctx, caller, address); err != nil {
		return nil, Caller{}, nil, err
	}
	admitted, release := a.flight.enter(As(ctx, caller.actor()), caller, text)
	return admitted, caller, release, nil
}

// check reads a credential and its user.
func (a *Accounts) check(ctx context.Context, kind, text string) (caller Caller, err error) {
	org, ok := parseSecret(kind, text)
	if !ok {
		return caller, errNobody
	}
	err = a.keeper.View(ctx, org, func(r store.Reader) error {
		caller, err = a.caller(r, org, kind, hashOf(text))
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		err = errNobody
	}
	return caller, err
}

func (a *Accounts) caller(r store.Reader, org api.OrgID, kind, hash string) (Caller, error) {
	c, err := r.Credential(hash)
	if err != nil {
		return Caller{}, err
	}
	u, err := r.User(c.User)
	if err != nil {
		return Caller{}, err
	}
	role := Role(u.Role)
	if c.Role != "" {
		role = lesser(role, Role(c.Role))
	}
	if c.Kind != kind || u.Disabled || role.Validate() != nil || a.ended(c) {
		return Caller{}, errNobody
	}
	return Caller{Org: org, User: u.Name, Role: role, Kind: c.Kind, Token: c.Name, Areas: slices.Clone(c.Areas), ExpiresAt: c.ExpiresAt, kept: c}, nil
}

func (a *Accounts) ended(c store.Credential) bool {
	now := a.now()
	idle := c.Kind == KindSession && now.Sub(c.UsedAt) >= SessionIdle
	return idle || !now.Before(c.ExpiresAt)
}

// used writes down that a credential was used, now and then.
func (a *Accounts) used(ctx context.Context, caller Caller, address string) error {
	kept := caller.kept
	if a.now().Sub(kept.UsedAt) < useResolution { // also from another address, or who has two writes at each request
		return nil
	}
	return a.keeper.Change(ctx, caller.Org, func(tx store.Tx, _ func(action, object, detail string) error) error {
		c, err := tx.Credential(kept.Hash)
		if errors.Is(err, store.ErrNotFound) {
			return errNobody // ended meanwhile: writing it would bring it back
		}
		if err != nil || a.ended(c) {
			return errors.Join(err, errNobody)
		}
		c.UsedAt = a.now()
		if address != "" {
			c.Address = address
		}
		return tx.PutCredential(c)
	})
}
