package operatorapi

import (
	"cmp"
	"context"
	"encoding/json"

	"github.com/stavily/agents/orchestrator/internal/route"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

// The headers of a signed call; those of GitHub count where there are none of ours.
const (
	headerSignature = "Stavily-Signature"
	headerTime      = "Stavily-Timestamp"
	githubSignature = "X-Hub-Signature-256"
)

// WebhookTaken is the answer to a call of a webhook.
type WebhookTaken struct {
	Event    api.EventID `json:"event,omitempty"`    // that the call has become: stavily explain says what it led to
	Repeated bool        `json:"repeated,omitempty"` // it has come before, and leads to nothing more
}

var webhookOperations = map[route.ID]operation{
	route.WebhookTake: {tag: "webhooks", about: "Start the workflows that a signed call is for; once, however often it comes", header: []parameter{
		{headerTime, "integer", "seconds since 1970, not more than five minutes from the server's clock"},
		{headerSignature, "string", "sha256= and the HMAC-SHA256 of time, dot and body in hex digits"},
		{githubSignature, "string", "instead of both, for workflows that say signature: github: the HMAC-SHA256 of the body"},
	}, takes: json.RawMessage(nil), gives: WebhookTaken{}},
}

// webhook makes a call of the request. Its body is all that is kept of it, and two headers
// that name it: others may hold credentials.
func (o operators) webhook(ctx context.Context, c *route.Call) (any, error) {
	org := api.OrgID(c.PathValue("organization"))
	if err := org.Validate(); err != nil {
		return nil, api.Errorf(api.CodeInvalid, "Path: %v.", err)
	}
	call := workflow.WebhookCall{
		Path: c.PathValue("path"), Body: c.Body, Signature: c.Header(headerSignature), Time: c.Header(headerTime), Address: c.Address(),
		Kind:     cmp.Or(c.Header("X-GitHub-Event"), c.Header("X-Gitea-Event"), c.Header("X-Event-Type")),
		Delivery: cmp.Or(c.Header("X-GitHub-Delivery"), c.Header("X-Gitea-Delivery"), c.Header("X-Request-Id")),
	}
	if call.Signature+call.Time == "" {
		call.Signature = c.Header(githubSignature)
	}
	event, repeated, err := o.engine.Webhook(ctx, org, call)
	return WebhookTaken{Event: event, Repeated: repeated}, err
}
