package workflow

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const canary = `
name: w
triggers: [{event: a, agents: {tags: [prod]}}]
actions:
  - {id: roll, plugin: pkg, agents: {each: {tags: [web], at_once: 2, stop_when_failed: STOP}}, with: {host: "${{ agent.host }}"}, offline: {wait: 1m, then: skip}}
  - {id: after, plugin: other, needs: [roll], with: {n: "${{ size(steps.roll.result.completed) }}"}}
  - {id: report, plugin: other, when: steps.roll.status == 'failed', with: {r: "${{ steps.roll.result }}", e: "${{ steps.roll.error }}"}}
tests:
`

// fleet are four agents of which three are picked.
const fleet = "agents: [{id: w1, host: h1, tags: [web]}, {id: db, tags: [db]}, {id: w2, tags: [web]}, {id: w3, host: h3, tags: [web, x]}], "

func TestEach(t *testing.T) {
	for name, c := range map[string]struct{ stop, test string }{
		"all":          {"50%", "expect: {status: completed, order: [roll, after], with: {'roll[w1]': {host: h1}, 'roll[w3]': {host: h3}, after: {n: 3}}}"},
		"one fails":    {"50%", "steps: {'roll[w1]': {status: failed, error: e}}, expect: {status: failed, order: [roll, report], with: {report: {r: {completed: [w2, w3], failed: [w1], skipped: []}, e: 'failed on 1 of 3 agents, and did not begin on 0; on w1: failed: e'}}}"},
		"stopped":      {"30%", "steps: {'roll[w1]': {status: failed}}, expect: {status: failed, with: {report: {r: {completed: [w2], failed: [w1], skipped: [w3]}}}}"},
		"stopped by n": {"'1'", "steps: {'roll[w2]': {status: timeout}}, expect: {status: failed, with: {report: {r: {completed: [w1, w3], failed: [w2], skipped: []}}}}"},
		"one is away":  {"50%", "steps: {'roll[w1]': {status: expired}}, expect: {status: completed, order: [roll, after], with: {after: {n: 2}}}"},
		"all fail":     {"100%", "steps: {roll: {status: failed}}, expect: {status: failed, with: {report: {r: {completed: [], failed: [w1, w2, w3], skipped: []}}}}"},
		"two fail both, and the third has begun when the first failed": {"'2'", "steps: {roll: {status: failed}}, expect: {status: failed, with: {report: {r: {completed: [], failed: [w1, w2, w3], skipped: []}}}}"},
	} {
		src := strings.Replace(canary, "STOP", c.stop, 1) + "  - {name: t, event: {type: a, agent: {tags: [prod]}}, " + fleet + c.test + "}\n"
		if _, err := parse(t, src).TryAll(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	src := strings.Replace(canary, "STOP", "50%", 1)
	if _, err := parse(t, src+"  - {name: nobody, event: {type: a, agent: {tags: [prod]}}, expect: {status: failed, order: [report], with: {report: {e: there is no action agent with the tags web}}}}").TryAll(t.Context()); err != nil {
		t.Error(err)
	}
	trials, _ := parse(t, src+"  - {name: other, event: {type: a}, expect: {runs: false}}").TryAll(t.Context())
	if want := "the trigger takes events of agents with the tags prod, and not of test-sensor"; !trials[0].Passed || trials[0].Decision.Reason != want {
		t.Errorf("another sensor: %+v", trials[0])
	}
}

func TestSelectors(t *testing.T) {
	agents := []Agent{{ID: "a", Name: "Anna", Host: "a.eu", Tags: []string{"web"}}, {ID: "b", Name: "Bob", Host: "b.us", Tags: []string{"web", "db"}}, {ID: "c"}}
	for say, want := range map[string]string{
		"{ids: [a, c]}":                                        "a c",
		"{names: [Bob]}":                                       "b",
		"{tags: [web, db]}":                                    "b",
		"{tags: [web], ids: [a]}":                              "a",
		"{expression: agent.host.endsWith('.eu')}":             "a",
		"{tags: [web], expression: '!(\"db\" in agent.tags)'}": "a",
		"{expression: 'agent.tags[0] == \"web\"'}":             "a b", // and c has none
	} {
		d := parse(t, head+"actions: [{plugin: p, agents: {each: "+say+"}}]")
		var got []string
		for _, a := range agents {
			if d.Actions[0].Each.Picks(a) {
				got = append(got, string(a.ID))
			}
		}
		if !cmp.Equal(strings.Join(got, " "), want) {
			t.Errorf("%s picks %v, want %s (%s)", say, got, want, d.Actions[0].Each.Selector.String())
		}
	}
}

func TestMistakesInFleets(t *testing.T) {
	for _, c := range []struct{ say, want string }{
		{"agents: {each: {at_once: 2}}", "f:3:38: each picks no agents"},
		{"agents: {each: {tags: [x], at_once: 0}}", "f:3:59: at_once 0: must be from 1 to 500"},
		{"agents: {each: {tags: [x], stop_when_failed: some}}", `f:3:68: stop_when_failed "some": must be a number`},
		{"agents: {each: {tags: [x], stop_when_failed: 101%}}", `stop_when_failed "101%": must be`},
		{"agents: {any: {expression: event.id == 'x'}}", "event cannot be read here: agents are picked by what they are"},
		{"agents: {any: {expression: agent.id}}", "must be true or false, not string"},
		{"with: {a: '${{ agent.id }}'}", "agent cannot be read here: only the values of a step that runs on each"},
		{"offline: {then: panic}", `f:3:39: then "panic": must be fail or skip`},
		{"offline: {then: other}", "then: other is not needed"},
	} {
		_, err := Parse("f", []byte(head+"actions: [{plugin: p, "+c.say+"}]"))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want only %s", c.say, err, c.want)
		}
	}
	for src, want := range map[string]string{
		head + "outputs: [{plugin: p, agents: {each: {tags: [x]}}}]":                                      "each is for actions",
		head + "on_failure: undo\nactions: [{plugin: p, agents: {each: {tags: [x]}}, undo: {plugin: q}}]": "must say where it runs",
		"name: w\ntriggers: [{event: a, agents: {}}]\nactions: [{plugin: p}]":                             "agents picks no agents",
		head + "when: agent.id == 'x'\nactions: [{plugin: p}]":                                            "no agent is chosen when a workflow decides",
	} {
		if _, err := Parse("f", []byte(src)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", src, err, want)
		}
	}
}
