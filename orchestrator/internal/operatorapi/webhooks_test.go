package operatorapi_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
	"github.com/stavily/agents/orchestrator/internal/server/servertest"
	"github.com/stavily/agents/shared/pkg/api"
)

const hookSecret = "canary-7d1f-of-the-hook"

const deployed = `name: deployed
triggers:
  - webhook: {path: deploy, secret: "secret:deploy-hook"}
  - webhook: {path: push, secret: "secret:deploy-hook", signature: github}
when: event.data.ref == "main"
actions: [{plugin: p, agents: {any: {tags: [x]}}}]
`

func signature(secret, text string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// signed are the headers of a call with its time.
func signed(secret, body string, at time.Time) []string {
	seconds := strconv.FormatInt(at.Unix(), 10)
	return []string{"Stavily-Timestamp", seconds, "Stavily-Signature", signature(secret, seconds+"."+body)}
}

// caller is the sender of a webhook.
type caller struct {
	t *testing.T
	b *servertest.Browser
}

func (c caller) call(path, body string, headers ...string) (out operatorapi.WebhookTaken, status int) {
	c.t.Helper()
	status, _ = c.b.Do(http.MethodPost, "/api/v1/webhooks/"+path, body, &out, headers...)
	return out, status
}

// A signed call starts a run, once; nothing else does, and who cannot sign learns nothing.
func TestWebhooks(t *testing.T) {
	s := servertest.Start(t)
	s.Do("PUT", "/api/v1/secrets/deploy-hook", operatorapi.SecretRequest{Value: hookSecret}, nil)
	s.Apply(deployed)
	c := caller{t, s.Stranger()}
	now, body := time.Now(), `{"ref":"main","n":1}`

	taken, status := c.call("default/deploy", body, signed(hookSecret, body, now)...)
	if status != http.StatusOK || taken.Event == "" || taken.Repeated {
		t.Fatalf("%d %+v", status, taken)
	}
	if again, status := c.call("default/deploy", body, signed(hookSecret, body, now)...); status != http.StatusOK || !again.Repeated || again.Event != "" {
		t.Errorf("the same again: %d %+v", status, again)
	}
	github := []string{"X-Hub-Signature-256", signature(hookSecret, body), "X-GitHub-Event", "push", "Authorization", "Bearer canary-of-a-token"}
	if pushed, status := c.call("default/push", body, github...); status != http.StatusOK || pushed.Event == "" {
		t.Errorf("as GitHub: %d %+v", status, pushed)
	}
	if runs := s.Runs(); len(runs) != 2 {
		t.Fatalf("%d runs, want 2", len(runs))
	}
	var seen []operatorapi.Event
	s.Do("GET", "/api/v1/events", nil, &seen)
	for _, e := range seen {
		for name, value := range e.Metadata {
			if strings.Contains(string(value), "canary") {
				t.Errorf("event.metadata.%s has %s", name, value)
			}
		}
	}
	var why []operatorapi.Explanation
	s.Do("GET", "/api/v1/events/"+string(taken.Event)+"/explanation", nil, &why)
	if len(why) != 1 || len(why[0].Evaluations) != 1 || why[0].Evaluations[0].Run == nil {
		t.Errorf("explained: %+v", why)
	}
	uses := 0
	for _, a := range s.Audit() {
		if a.Action == "secret.use" && a.Object == "deploy-hook" && strings.HasPrefix(a.Actor, "webhook ") {
			uses++
		}
	}
	if uses != 2 {
		t.Errorf("%d uses of the secret are on record, want 2", uses)
	}
}

func TestCallsThatAreRefused(t *testing.T) {
	s := servertest.Start(t)
	s.Do("PUT", "/api/v1/secrets/deploy-hook", operatorapi.SecretRequest{Value: hookSecret}, nil)
	s.Apply(deployed)
	c := caller{t, s.Stranger()}
	now, body := time.Now(), `{"ref":"main"}`
	good := signed(hookSecret, body, now)
	long := `{"ref":"` + strings.Repeat("x", api.MaxEventBytes) + `"}`
	for name, try := range map[string]struct {
		path, body string
		headers    []string
		want       int
	}{
		"unsigned":               {"default/deploy", body, nil, http.StatusUnauthorized},
		"another secret":         {"default/deploy", body, signed("x", body, now), http.StatusUnauthorized},
		"another body":           {"default/deploy", body + " ", good, http.StatusUnauthorized},
		"another path":           {"default/other", body, good, http.StatusUnauthorized},
		"another organisation":   {"other/deploy", body, good, http.StatusUnauthorized},
		"without its time":       {"default/deploy", body, []string{"X-Hub-Signature-256", signature(hookSecret, body)}, http.StatusUnauthorized},
		"with a time for GitHub": {"default/push", body, good, http.StatusUnauthorized},
		"old":                    {"default/deploy", body, signed(hookSecret, body, now.Add(-6*time.Minute)), http.StatusUnauthorized},
		"from the future":        {"default/deploy", body, signed(hookSecret, body, now.Add(6*time.Minute)), http.StatusUnauthorized},
		"too long":               {"default/deploy", long, signed(hookSecret, long, now), http.StatusRequestEntityTooLarge},
		"no text":                {"default/deploy", "\xff", signed(hookSecret, "\xff", now), http.StatusBadRequest},
		"no organisation":        {"a%20b/deploy", body, good, http.StatusUnprocessableEntity},
		"of another site":        {"default/deploy", body, append([]string{"Origin", "https://evil.test", "Sec-Fetch-Site", "cross-site"}, good...), http.StatusForbidden},
	} {
		if _, status := c.call(try.path, try.body, try.headers...); status != try.want {
			t.Errorf("%s: %d, want %d", name, status, try.want)
		}
	}
	var events []operatorapi.Event
	if s.Do("GET", "/api/v1/events", nil, &events); len(events) != 0 {
		t.Errorf("%d events of calls that were refused", len(events))
	}
	s.Do("PUT", "/api/v1/secrets/deploy-hook", operatorapi.SecretRequest{Value: "another"}, nil)
	if _, status := c.call("default/deploy", body, good...); status != http.StatusUnauthorized {
		t.Errorf("the secret is another one: %d, want 401", status)
	}
	if _, status := c.call("default/deploy", body, signed("another", body, now)...); status != http.StatusOK {
		t.Errorf("signed with the one that it is now: %d, want 200", status)
	}
}
