package browser

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestSecretsStory sets a secret by the page, runs a step with it, sets it anew and deletes it;
// no page that is passed shows the value.
func TestSecretsStory(t *testing.T) {
	const value, another = "tok-4711-never-shown", "another-value-never-shown"
	w := newWorld(t)
	b := w.admin()
	b.press("Secrets")
	b.see("There is no secret.")
	b.fill("main section [name=name]", "worker_token")
	b.fill("main section [name=value]", value)
	b.press("Set secret")
	b.see("no workflow")
	b.shoot("secrets")

	w.apply("name: tells\ntriggers: [{manual: {}}]\nactions:\n  - {id: work, plugin: worker, agents: {ids: [act-1]}, with: {steps: 1, token: \"${{ secrets.worker_token }}\"}}\n")
	b.visit("/workflows/tells")
	b.press("Run now")
	b.until(`document.querySelector("h1 .st").textContent === "completed"`)
	b.see("the token is [redacted], of 20 characters")
	b.press("Input and result, " + b.value(`document.querySelector("details .mono").textContent`))
	b.see("[secret worker_token]")
	b.shoot("run-with-secret")
	page := b.value("document.documentElement.outerHTML")

	b.press("Secrets")
	b.see("tells")
	b.press("Set anew or delete")
	b.fill("[id='anew-worker_token'] textarea", another)
	b.press("Set worker_token anew")
	b.until(`document.querySelector("[id='s-worker_token'] .num").textContent === "2"`)
	b.press("Set anew or delete")
	b.shoot("secrets-anew")
	page += b.value("document.documentElement.outerHTML")
	b.press("Delete worker_token") // the browser holds to it that the box is ticked first
	b.do(chromedp.Click(chromedp.CSS("[name=force]")))
	b.press("Delete worker_token")
	b.see("There is no secret.")

	b.press("Audit")
	b.see("secret.delete")
	page += b.value("document.documentElement.outerHTML")
	for _, one := range []string{value, another} {
		if strings.Contains(page, one) {
			t.Errorf("a page has the value %s", one)
		}
	}
}
