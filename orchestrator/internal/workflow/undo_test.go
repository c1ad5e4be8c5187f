package workflow

import (
	"strings"
	"testing"
)

const deploys = `
name: w
triggers: [{event: a}]
on_failure: ON
actions:
  - {id: drain, plugin: lb, with: {on: false}, undo: {plugin: lb, with: {on: true, why: "${{ steps.install.error }}"}}}
  - {id: install, plugin: pkg, needs: [drain], undo: {plugin: pkg}}
  - {id: check, plugin: http, needs: [install]}
  - {id: more, plugin: other, needs: [install]}
  - {id: last, plugin: other, needs: [more]}
outputs: [{id: tell, plugin: slack}]
tests:
`

// What follows a failure: what was done is taken back in reverse order, or nothing more
// starts, or what does not need the failed step goes on.
func TestOnFailure(t *testing.T) {
	for name, c := range map[string]struct{ on, test string }{
		"undo":                   {"undo", "steps: {check: {status: failed, error: e}}, expect: {status: failed, order: [drain, install, check, more, 'undo:install', 'undo:drain', tell], with: {'undo:drain': {on: true, why: ''}}}"},
		"undo from the middle":   {"undo", "steps: {install: {status: timeout, error: slow}}, expect: {status: failed, order: [drain, install, 'undo:drain', tell], with: {'undo:drain': {why: slow}}}"},
		"an undo that fails":     {"undo", "steps: {check: {status: failed}, 'undo:install': {status: failed}}, expect: {status: failed, order: [drain, install, check, more, 'undo:install', 'undo:drain', tell]}"},
		"nothing to undo":        {"undo", "steps: {drain: {status: failed}}, expect: {status: failed, order: [drain, tell]}"},
		"no failure, so no undo": {"undo", "expect: {status: completed, order: [drain, install, check, more, last, tell]}"},
		"stop":                   {"stop", "steps: {check: {status: failed}}, expect: {status: failed, order: [drain, install, check, more, tell]}"},
		"continue":               {"continue", "steps: {check: {status: failed}}, expect: {status: failed, order: [drain, install, check, more, last, tell]}"},
	} {
		src := strings.Replace(deploys, "ON", c.on, 1) + "  - {name: t, event: {type: a}, " + c.test + "}\n"
		if c.on != "undo" {
			src = strings.ReplaceAll(src, ", undo: {plugin: pkg}", "")
			src = strings.ReplaceAll(src, `, undo: {plugin: lb, with: {on: true, why: "${{ steps.install.error }}"}}`, "")
		}
		if _, err := parse(t, src).TryAll(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMistakesInUndo(t *testing.T) {
	for _, c := range []struct{ say, want string }{
		{"on_failure: retry\nactions: [{plugin: p}]", `f:3:13: on_failure "retry": must be stop, continue or undo`},
		{"on_failure: undo\nactions: [{plugin: p}]", "f:3:13: on_failure: undo, and no action says how it is undone"},
		{"actions: [{plugin: p, undo: {plugin: q}}]", "f:3:29: undo is never run: say on_failure: undo"},
		{"on_failure: undo\nactions: [{plugin: p, undo: {id: x, plugin: q}}]", "f:4:34: id is that of the action"},
		{"on_failure: undo\nactions: [{plugin: p, undo: {with: {}}}]", "f:4:29: plugin is missing"},
		{"on_failure: undo\nactions: [{id: w, wait_for: {event: a}, undo: {plugin: q}}]", "undo is for a step that runs a plugin"},
		{"on_failure: undo\nactions: [{plugin: p, undo: {plugin: q, with: {x: '${{ steps.q.status }}'}}}]", `unknown step "q"`},
	} {
		_, err := Parse("f", []byte(head+c.say))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want only %s", c.say, err, c.want)
		}
	}
}
