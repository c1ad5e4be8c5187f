package engine

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/stavily/agents/orchestrator/internal/secret"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// Rotation is what came of sealing all secrets with another key.
type Rotation struct {
	Key        string   // id of the new one
	Sealed     int      // secrets that were sealed again
	Unreadable []string // that this server could not open; they are as they were
}

// RotateSecrets takes a new key and seals every secret of every organisation with it. What it
// is stopped at goes on with the next start. org is that of who asks, whose audit has it.
func (e *Engine) RotateSecrets(ctx context.Context, org api.OrgID) (r Rotation, err error) {
	if e.vault == nil {
		return r, errNoVault
	}
	e.rotating.Lock()
	defer e.rotating.Unlock()
	if err := e.retireKeys(ctx); err != nil {
		return r, err
	}
	if err := e.vault.Renew(); err != nil {
		return r, err
	}
	if r, err = e.sealAgain(ctx); err != nil {
		return r, err
	}
	return r, e.update(ctx, org, func(t *tx) error {
		return t.audit(t.actor, "secrets.rotate", r.Key, fmt.Sprintf("%d secrets sealed again, %d unreadable", r.Sealed, len(r.Unreadable)))
	})
}

// sealAgain seals every secret with the current key that is not yet.
func (e *Engine) sealAgain(ctx context.Context) (r Rotation, err error) {
	if r.Key, err = e.vault.Current(); err != nil {
		return r, err
	}
	orgs, err := e.store.Orgs(ctx)
	if err != nil {
		return r, err
	}
	for _, org := range orgs {
		var done Rotation
		if err := e.update(ctx, org, func(t *tx) (err error) {
			done, err = t.sealAgain(r.Key)
			return err
		}); err != nil {
			return r, err
		}
		r.Sealed += done.Sealed
		r.Unreadable = append(r.Unreadable, done.Unreadable...)
	}
	return r, nil
}

func (t *tx) sealAgain(key string) (done Rotation, err error) {
	all, err := t.Secrets()
	if err != nil {
		return done, err
	}
	for _, s := range all {
		if s.Deleted || s.Key == key {
			continue
		}
		value, err := t.engine.vault.Open(t.place(s), secret.Sealed{Key: s.Key, Text: s.Sealed})
		if err != nil {
			done.Unreadable = append(done.Unreadable, string(t.org)+"/"+s.Name)
			continue
		}
		if err := errors.Join(t.seal(&s, value), t.PutSecret(s)); err != nil {
			return done, err
		}
		done.Sealed++
	}
	return done, nil
}

// retireKeys removes the keys that no secret of any organisation names.
func (e *Engine) retireKeys(ctx context.Context) error {
	used := map[string]bool{}
	orgs, err := e.store.Orgs(ctx)
	if err != nil {
		return err
	}
	for _, org := range orgs {
		err := e.View(ctx, org, func(r store.Reader) error {
			all, err := r.Secrets()
			for _, s := range all {
				used[s.Key] = true
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return e.vault.Retire(used)
}

// OpenSecrets proves that what is stored of a secret is ciphertext, ends a rotation that was
// interrupted, and tells of secrets that cannot be read. Call it before anything else.
func (e *Engine) OpenSecrets(ctx context.Context) error {
	if err := e.proveSealed(ctx); err != nil {
		return fmt.Errorf("self-test of secrets: %w", err)
	}
	r, err := e.sealAgain(ctx)
	if err != nil {
		return fmt.Errorf("open secrets: %w", err)
	}
	if r.Sealed > 0 {
		e.log.Info("secrets were sealed again with the current key", "secrets", r.Sealed, "key", r.Key)
	}
	for _, name := range r.Unreadable {
		e.log.Error("a secret cannot be read: steps that need it are rejected", "secret", name, "remedy", "restore the key that it was sealed with, or set it again")
	}
	return e.retireKeys(ctx)
}

// proofOrg is where the self-test writes what it takes back.
const proofOrg api.OrgID = "stavily-self-test"

// errTakenBack rolls the self-test's transaction back.
var errTakenBack = errors.New("taken back")

// proveSealed puts a random value on the way that all values go, and looks at what the store has
// of it. Nothing of it stays.
func (e *Engine) proveSealed(ctx context.Context) error {
	canary := rand.Text()
	err := e.store.Org(proofOrg).Update(ctx, func(st store.Tx) error {
		t := &tx{Tx: st, engine: e, org: proofOrg, now: e.now()}
		if _, err := t.putSecret("proof", canary); err != nil {
			return err
		}
		s, err := t.Secret("proof")
		if err != nil {
			return err
		}
		if err := e.isSealed(s, canary); err != nil {
			return err
		}
		return errTakenBack
	})
	if errors.Is(err, errTakenBack) {
		return nil
	}
	return err
}

// isSealed holds that a record has a value only for who has its key and its place.
func (e *Engine) isSealed(s store.Secret, value string) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if bytes.Contains(text, []byte(value)) || bytes.Contains(s.Sealed, []byte(value)) {
		return errors.New("the store would hold secrets in clear: this program is broken, do not use it")
	}
	if e.ReadableSecret(proofOrg, s) != nil {
		return errors.New("what is sealed cannot be opened: this program is broken, do not use it")
	}
	s.Name = "other"
	if e.ReadableSecret(proofOrg, s) == nil {
		return errors.New("a sealed value opens under another name: this program is broken, do not use it")
	}
	return nil
}
