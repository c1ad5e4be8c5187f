package browser

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// The workflow of the story, first with a mistake in line 7.
const broken = `name: deploy
description: Deploy after one approval
triggers:
  - manual: {inputs: {steps: {type: integer, default: 3}}}
actions:
  - id: ask
    aproval: {count: 1, self: true, within: 5m}
  - id: work
    needs: [ask]
    plugin: worker
    agents: {ids: [act-1]}
    timeout: 5m
    with: {steps: "${{ inputs.steps }}", pause: 0.3}
`

// TestStory is what the issue asks of the dashboard, in one go.
func TestStory(t *testing.T) {
	w := newWorld(t)
	b := w.admin()
	b.shoot("overview-empty")

	b.press("Log out")
	b.see("Log in")
	b.shoot("login")
	b.provoke(401) // what a wrong password gets
	b.fill("[name=user]", "admin")
	b.fill("[name=password]", "not the password")
	b.press("Log in")
	b.see("There is no user of this name with this password")
	b.fill("[name=password]", password)
	b.press("Log in")
	b.see("Overview")

	b.press("Workflows")
	b.press("New workflow")
	b.fill("#text", broken)
	b.see("line 7, column 5")
	b.until(`[...document.querySelectorAll(".sheet pre .bad u")].some(mark => mark.textContent === "aproval")`)
	b.shoot("workflow-mistake-typed")
	b.provoke(422) // what a text with mistakes gets
	b.do(chromedp.Evaluate[chromedp.Void](`{window.before = true}`))
	b.press("Apply")
	b.until(`window.before === undefined`) // the answer is there; the page before it says much the same
	b.see("line 7, column 5")
	b.until(`document.querySelector("textarea[aria-invalid=true]") !== null`)
	b.fill("#text", strings.Replace(broken, "aproval", "approval", 1))
	b.see("The text is good: it would apply as workflow deploy")
	b.shoot("workflow-good")
	b.press("Apply")
	b.see("It has not run yet.")
	b.shoot("workflow")

	b.press("Run now")
	b.see("asks for 1 approval in step ask")
	b.until(`document.querySelector("main[data-live]") !== null`)
	b.shoot("run-asks")
	run := b.value("location.pathname")
	b.press("Approve")
	b.until(`location.pathname === %q`, run)
	b.see("step 1 of 3") // live: nothing loads the page again
	b.do(chromedp.Evaluate[chromedp.Void](`{document.querySelector("main > header").kept = true}`))
	b.see("step 3 of 3")
	b.until(`document.querySelector("h1 .st").textContent === "completed"`)
	b.until(`document.querySelector("main > header").kept`) // what has not changed is the same element still, with focus and all
	b.until(`document.querySelector("svg.timeline .ran") !== null`)
	b.do(chromedp.Click(chromedp.CSS("details summary")))
	b.see("<b>not markup</b>")
	b.shoot("run-completed")

	b.visit("/workflows/deploy")
	b.fill("[name='input.steps']", "500")
	b.press("Run now")
	b.see("asks for 1 approval in step ask")
	b.press("Approve")
	b.see("step 1 of 500")
	b.shoot("run-under-way")
	b.press("Cancel run")
	b.until(`document.querySelector("h1 .st").textContent === "cancelled"`)
	b.until(`!document.body.innerText.includes("Cancel run")`)
	b.shoot("run-cancelled")

	b.press("Audit")
	b.see("run.cancel")
	b.see("user admin")
	b.shoot("audit")
	exported := b.value(`await (await fetch(document.querySelector("a[download]").href)).text()`)
	for _, want := range []string{`"action":"workflow.apply"`, `"action":"approval.approve"`, `"action":"run.cancel"`} {
		if !strings.Contains(exported, want) {
			t.Errorf("the exported audit has no %s:\n%s", want, exported)
		}
	}
}
