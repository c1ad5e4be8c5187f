package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stavily/agents/orchestrator/internal/operatorapi"
)

// secretValue is what no page may show.
const secretValue = "xoxb-1234-<&>-never"

// A secret is set, set anew and deleted by its page, which never has the value.
func TestSecrets(t *testing.T) {
	s, admin := dashboard(t)
	listed := func() (all []operatorapi.Secret) {
		s.Do(http.MethodGet, "/api/v1/secrets", nil, &all)
		return all
	}
	set := func(value string, status int) string {
		return admin.post("/secrets", url.Values{"do": {"set"}, "name": {"slack_token"}, "value": {value}}, status)
	}
	set("ab\r\nc\r\n", http.StatusUnprocessableEntity) // four bytes and the end of a line: the \r are the browser's
	for range 2 {
		if to := set(secretValue+"\r\n", http.StatusSeeOther); to != "/secrets" {
			t.Errorf("it leads to %s", to)
		}
	}
	if all := listed(); len(all) != 2 || all[1].Version != 2 || all[1].UpdatedBy != "user admin" {
		t.Fatalf("secrets are %+v", all)
	}
	s.Do(http.MethodPost, "/api/v1/workflows", operatorapi.ApplyRequest{File: "w", Text: `name: tells
triggers: [{manual: {}}]
actions: [{id: tell, plugin: slack, agents: {any: {tags: [web]}}, with: {token: "${{ secrets.slack_token }}"}}]
`, AllowMissing: true}, nil)
	admin.crawl(func(path, text string) {
		if strings.Contains(text, "xoxb-1234") {
			t.Errorf("%s shows the value of a secret", path)
		}
	})
	if page := admin.get("/secrets", http.StatusOK); !strings.Contains(page, `<a href="/workflows/tells">tells</a>`) || !strings.Contains(page, "user admin") {
		t.Errorf("the page does not say who set the secret and what uses it:\n%s", page)
	}
	remove := url.Values{"do": {"delete"}, "name": {"slack_token"}}
	admin.post("/secrets", remove, http.StatusConflict)
	remove.Set("force", "yes")
	admin.post("/secrets", remove, http.StatusSeeOther)
	if all := listed(); len(all) != 1 {
		t.Errorf("after it was deleted there are %+v", all)
	}
	admin.post("/secrets", remove, http.StatusNotFound)
	admin.post("/secrets", url.Values{"do": {"rotate"}}, http.StatusUnprocessableEntity)
}

// TestAnAreaThatIsNone is of the form that makes API tokens.
func TestAnAreaThatIsNone(t *testing.T) {
	_, admin := dashboard(t)
	for areas, status := range map[string]int{"runs banana": http.StatusUnprocessableEntity, "runs agents": http.StatusOK} {
		admin.post("/access", url.Values{"do": {"token"}, "name": {"ci"}, "role": {"viewer"}, "areas": {areas}}, status)
	}
}
