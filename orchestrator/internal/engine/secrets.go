package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/secret"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

var errNoVault = api.Errorf(api.CodeUnavailable, "This server keeps no secrets.")

// SetSecret seals a value and stores it as the next version.
func (e *Engine) SetSecret(ctx context.Context, org api.OrgID, name, value string) (s store.Secret, err error) {
	if e.vault == nil {
		return s, errNoVault
	}
	if err := errors.Join(instruction.CheckSecretName(name), secret.CheckValue(value)); err != nil {
		return s, api.Errorf(api.CodeInvalid, "%v.", err)
	}
	err = e.update(ctx, org, func(t *tx) error {
		if s, err = t.putSecret(name, value); err != nil {
			return err
		}
		return t.audit(t.actor, "secret.set", name, fmt.Sprintf("version %d, key %s", s.Version, s.Key))
	})
	return s, err
}

// putSecret seals a value as the next version of a secret and stores it.
func (t *tx) putSecret(name, value string) (store.Secret, error) {
	s, err := t.Secret(name)
	fresh := errors.Is(err, store.ErrNotFound)
	if err != nil && !fresh {
		return s, err
	}
	if fresh {
		all, err := t.Secrets()
		if err == nil && len(all) >= secret.MaxSecrets {
			err = api.Errorf(api.CodeConflict, "The organisation has %d secrets, the most that it may have.", len(all))
		}
		if err != nil {
			return s, err
		}
	}
	if fresh || s.Deleted {
		s.CreatedAt = t.now
	}
	s.Name, s.UpdatedAt, s.UpdatedBy, s.Deleted = name, t.now, t.actor, false
	s.Version++
	if err := t.seal(&s, value); err != nil {
		return s, err
	}
	return s, t.PutSecret(s)
}

// seal seals a value into the record of its version.
func (t *tx) seal(s *store.Secret, value string) error {
	sealed, err := t.engine.vault.Seal(t.place(*s), value)
	s.Key, s.Sealed = sealed.Key, sealed.Text
	return err
}

func (t *tx) place(s store.Secret) secret.Place {
	return secret.Place{Org: t.org, Name: s.Name, Version: s.Version}
}

// secretValue opens a secret. What it is used for the caller audits.
func (t *tx) secretValue(name string) (value string, s store.Secret, err error) {
	return t.engine.secretValue(t, t.org, name)
}

func (e *Engine) secretValue(r store.Reader, org api.OrgID, name string) (value string, s store.Secret, err error) {
	if e.vault == nil {
		return "", s, errNoVault
	}
	s, err = r.Secret(name)
	if errors.Is(err, store.ErrNotFound) || err == nil && s.Deleted {
		return "", s, errNoSecret(name)
	}
	if err != nil {
		return "", s, err
	}
	value, err = e.vault.Open(secret.Place{Org: org, Name: s.Name, Version: s.Version}, secret.Sealed{Key: s.Key, Text: s.Sealed})
	return value, s, err
}

func errNoSecret(name string) error {
	return fmt.Errorf("there is no secret %s: %w", name, store.ErrNotFound)
}

// DeleteSecret removes a value; its versions are not given again. One that workflows in effect
// name stays, unless force is set. [store.ErrNotFound] says that there is no such secret.
func (e *Engine) DeleteSecret(ctx context.Context, org api.OrgID, name string, force bool) error {
	return e.update(ctx, org, func(t *tx) error {
		s, err := t.Secret(name)
		if err == nil && s.Deleted {
			err = store.ErrNotFound
		}
		if err != nil {
			return err
		}
		users, err := t.secretUsers(name)
		if err != nil {
			return err
		}
		if len(users) > 0 && !force {
			return api.Errorf(api.CodeConflict, "Secret %s is used by %s; their steps would fail. Change them first, or say --force.", name, strings.Join(users, ", "))
		}
		s.Key, s.Sealed, s.Deleted, s.UpdatedAt, s.UpdatedBy = "", nil, true, t.now, t.actor
		return errors.Join(t.PutSecret(s), t.audit(t.actor, "secret.delete", name, fmt.Sprintf("version %d", s.Version)))
	})
}

// Secrets lists the secrets of an organisation by name, and which workflows in effect use them.
func (e *Engine) Secrets(ctx context.Context, org api.OrgID) (all []store.Secret, users map[string][]string, err error) {
	users = map[string][]string{}
	err = e.View(ctx, org, func(r store.Reader) error {
		current, err := r.Workflows()
		if err != nil {
			return err
		}
		for _, w := range current {
			d, err := e.compile(org, w)
			if err != nil {
				continue // its runs fail, and say so
			}
			for _, use := range d.Secrets() {
				if !slices.Contains(users[use.Name], w.Name) {
					users[use.Name] = append(users[use.Name], w.Name)
				}
			}
		}
		all, err = r.Secrets()
		all = slices.DeleteFunc(all, func(s store.Secret) bool { return s.Deleted })
		return err
	})
	return all, users, err
}

// secretUsers are the workflows in effect that name a secret.
func (t *tx) secretUsers(name string) ([]string, error) {
	programs, err := t.inEffect()
	var out []string
	for _, p := range programs {
		if slices.ContainsFunc(p.Secrets(), func(u workflow.SecretUse) bool { return u.Name == name }) {
			out = append(out, p.name)
		}
	}
	return out, err
}

// ReadableSecret reports whether this server has the key of a secret, and it is whole.
func (e *Engine) ReadableSecret(org api.OrgID, s store.Secret) error {
	if e.vault == nil {
		return errNoVault
	}
	_, err := e.vault.Open(secret.Place{Org: org, Name: s.Name, Version: s.Version}, secret.Sealed{Key: s.Key, Text: s.Sealed})
	return err
}

// missingSecrets refuses a text that names secrets that are not there.
func (t *tx) missingSecrets(d *workflow.Definition) error {
	var missing strictyaml.Errors
	for _, use := range d.Secrets() {
		s, err := t.Secret(use.Name)
		switch {
		case errors.Is(err, store.ErrNotFound), err == nil && s.Deleted:
			missing = append(missing, use.Missing())
		case err != nil:
			return err
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return api.Errorf(api.CodeInvalid, "%v", missing.Sort())
}

// knowing is a definition with the versions that its secrets have now.
func (t *tx) knowing(d *workflow.Definition) (*workflow.Definition, error) {
	uses := d.Secrets()
	if len(uses) == 0 {
		return d, nil
	}
	versions := make(map[string]int, len(uses))
	for _, use := range uses {
		s, err := t.Secret(use.Name)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		versions[use.Name] = s.Version
	}
	return d.Knowing(versions), nil
}
