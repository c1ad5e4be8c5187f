package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// webhookMarks is where the calls that were taken are kept, beside the cooldowns of workflows:
// none has this name.
const webhookMarks = "@webhooks"

// Webhook takes a call from outside that a workflow in effect waits for and whose secret has
// signed it, once: the same again is repeated. Who may not call learns nothing else, neither
// whether there is such an organisation or path; only while the server cannot read the secret
// of a path is everybody told to come again, or its sender would give up.
func (e *Engine) Webhook(ctx context.Context, org api.OrgID, call workflow.WebhookCall) (id api.EventID, repeated bool, err error) {
	h, version, err := e.signer(ctx, org, call)
	if err != nil {
		return "", false, err
	}
	if err := e.refuseIfFull(); err != nil {
		return "", false, err
	}
	now := e.now()
	until, err := call.Until(now)
	if err != nil {
		return "", false, api.Errorf(api.CodeUnauthenticated, "The call is signed, and %v.", err)
	}
	made, err := h.Event(call)
	if err != nil {
		return "", false, api.Errorf(api.CodeMalformed, "%v.", err)
	}
	if n := eventSize(made); n > api.MaxEventBytes {
		return "", false, api.Errorf(api.CodeTooLarge, "The body has %d bytes and may have %d.", n, api.MaxEventBytes)
	}
	err = e.update(ctx, org, func(t *tx) error {
		known, there, err := t.CooldownUntil(webhookMarks, call.Mark())
		if repeated = there && known.After(t.now); err != nil || repeated {
			return err
		}
		if err := errors.Join(t.DropCooldowns(t.now, 2), t.SetCooldown(webhookMarks, call.Mark(), until)); err != nil {
			return err
		}
		ev, err := t.raise(made, workflow.Agent{})
		if err != nil {
			return err
		}
		id = ev.ID
		return errors.Join(t.trigger(ev),
			t.audit("webhook "+call.Path, "secret.use", h.Secret, fmt.Sprintf("version %d, event %s, from %s", version, ev.ID, call.Address)))
	})
	return id, repeated, err
}

// signer is the webhook in effect whose secret has signed a call, and that secret's version.
func (e *Engine) signer(ctx context.Context, org api.OrgID, call workflow.WebhookCall) (h *workflow.Webhook, version int, err error) {
	var unreadable error
	err = e.View(ctx, org, func(r store.Reader) error {
		hooks, err := e.webhooks(org, r, call)
		for _, candidate := range hooks {
			value, s, failure := e.secretValue(r, org, candidate.Secret)
			if failure != nil {
				unreadable = errors.Join(unreadable, failure)
			} else if call.Signed(value) {
				h, version = candidate, s.Version
			}
		}
		return err
	})
	switch {
	case err != nil:
		return nil, 0, err
	case h != nil:
		e.counts.webhooks.WithLabelValues("signed").Inc()
		return h, version, nil
	case unreadable != nil && !errors.Is(unreadable, store.ErrNotFound):
		unavailable := api.Errorf(api.CodeUnavailable, "The server cannot read the secret of this webhook; its log says why. Try again later.")
		unavailable.RetryAfter = fullRetry
		return nil, 0, errors.Join(unavailable, unreadable)
	}
	e.counts.webhooks.WithLabelValues("refused").Inc()
	return nil, 0, api.Errorf(api.CodeUnauthenticated, "No webhook of this path takes the signature; sign the call as docs/workflows.md says, with the secret that the workflow names.")
}

// webhooks are those in effect of the path of a call, that want it signed as it is. They are
// read anew: another server may have put one into effect.
func (e *Engine) webhooks(org api.OrgID, r store.Reader, call workflow.WebhookCall) (out []*workflow.Webhook, err error) {
	current, err := r.Workflows()
	for _, w := range current {
		d, failure := e.compile(org, w)
		if failure != nil {
			continue // it starts by nothing else either, which is logged there
		}
		for _, t := range d.Triggers {
			h := t.Webhook
			known := func(other *workflow.Webhook) bool { return *other == *h }
			if h != nil && h.Path == call.Path && h.Signing == call.Signing() && !slices.ContainsFunc(out, known) {
				out = append(out, h)
			}
		}
	}
	return out, err
}
