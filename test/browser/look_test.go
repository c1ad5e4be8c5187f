package browser

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// TestLookAround looks at every page as people do who have a phone, a keyboard or a screen
// reader, over a run that has failed and one that waits.
func TestLookAround(t *testing.T) {
	w := newWorld(t)
	b := w.admin()
	w.apply("name: fails\ntriggers: [{manual: {}}]\nactions:\n  - {id: work, plugin: worker, agents: {ids: [act-1]}, with: {steps: 1, pause: -1}}\n")
	w.apply("name: waits\ndescription: Asks before it works\nowner: team-sre\ntriggers: [{manual: {}}]\nactions:\n  - {id: ask, approval: {count: 1, within: 5m}}\n  - {id: work, needs: [ask], plugin: worker, agents: {ids: [act-1]}, with: {steps: 1}}\n")
	b.visit("/secrets")
	b.fill("main section [name=name]", "token")
	b.fill("main section [name=value]", "what nobody sees")
	b.press("Set secret")
	b.see("no workflow")
	for _, name := range []string{"fails", "waits"} {
		b.visit("/workflows/" + name)
		b.press("Run now")
		b.until(`location.pathname.startsWith("/runs/")`)
		b.see("Steps")
	}
	waits := b.value("location.pathname")
	b.visit("/runs?workflow=fails")
	b.see("failed") // live
	fails := b.value(`document.querySelector("main tbody a").pathname`)
	event := b.value(`(await (await fetch("/api/v1/events?limit=1")).json())[0].id`)
	for name, path := range map[string]string{
		"overview": "/", "runs": "/runs", "run-failed": fails, "run-waits": waits, "log": fails + "/log", "approvals": "/approvals", "events": "/events",
		"explain": "/events/" + event + "?replay=waits", "workflows": "/workflows", "workflow": "/workflows/waits", "history": "/workflows/waits/history",
		"edit": "/edit?workflow=waits", "agents": "/agents", "agent": "/agents/act-1", "plugins": "/plugins", "secrets": "/secrets", "audit": "/audit", "access": "/access",
	} {
		b.visit(path)
		b.shoot("look-" + name)
		b.named(path)
		b.do(chromedp.EmulateViewport(390, 844))
		if wide := b.value("document.documentElement.scrollWidth"); wide != "390" {
			t.Errorf("%s is %s wide on a phone of 390", path, wide)
		}
		b.do(chromedp.EmulateViewport(1280, 900))
	}
	b.keys(waits)
}

// named holds that a screen reader can say what everything is that can be used.
func (b *browser) named(path string) {
	b.t.Helper()
	tree, err := chromedp.Run(b.ctx, func(ctx context.Context, t *chromedp.Target) (accessibility.GetFullAXTreeResult, error) {
		return cdp.Call(ctx, t, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	})
	if err != nil {
		b.fail(err)
	}
	roles := map[string]int{}
	for _, n := range tree.Nodes {
		if n.Ignored || n.Role == nil {
			continue
		}
		role := strings.Trim(string(n.Role.Value), `"`)
		roles[role]++
		switch role {
		case "button", "link", "textbox", "combobox", "checkbox", "navigation":
			if n.Name == nil || strings.Trim(string(n.Name.Value), `" `) == "" {
				b.t.Errorf("%s: a %s has no name", path, role)
			}
		}
	}
	if roles["main"] != 1 || roles["heading"] == 0 || roles["link"] == 0 {
		b.t.Errorf("%s: its landmarks and headings are %v", path, roles)
	}
}

// keys goes from page to page without a mouse.
func (b *browser) keys(run string) {
	b.t.Helper()
	b.visit("/")
	b.goes("r", "/runs")
	b.again("k", `document.activeElement.closest("tr.at") !== null`)
	b.do(chromedp.KeyEvent(kb.Enter))
	b.until(`location.pathname === %q && document.readyState === "complete"`, run)
	b.again("?", `document.getElementById("keys").open`)
	b.do(chromedp.KeyEvent(kb.Escape))
	b.until(`!document.getElementById("keys").open`)
	b.goes("a", "/agents")
	b.again("/", `document.activeElement.name === "find"`)
	b.visit("/login?next=%2Fruns") // somebody who has logged in goes on at once
	b.until(`location.pathname === "/runs"`)
}

// again presses a key until something holds: a page that has just come up may not have the
// keyboard yet.
func (b *browser) again(key, holds string) {
	b.t.Helper()
	for range 40 {
		b.do(chromedp.KeyEvent(key))
		if b.value(holds) == "true" {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	b.fail(fmt.Errorf("%s has not come to be by the key %s", holds, key))
}

// goes goes to a page by its letter.
func (b *browser) goes(letter, path string) {
	b.t.Helper()
	for range 40 {
		b.do(chromedp.KeyEvent("g"), chromedp.KeyEvent(letter))
		time.Sleep(250 * time.Millisecond)
		if here, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("location.pathname")); err == nil && here == path {
			break
		}
	}
	b.until(`location.pathname === %q && document.readyState === "complete"`, path)
}
