package workflow

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/stavily/agents/internal/strictyaml"
	"github.com/stavily/agents/shared/pkg/api"
)

// parse makes a definition of a text that is right.
func parse(t testing.TB, src string) *Definition {
	t.Helper()
	d, err := Parse("w.yaml", []byte(src))
	if err != nil {
		t.Fatalf("Parse:\n%v\n%s", err, src)
	}
	return d
}

var exported = cmpopts.IgnoreUnexported(Definition{}, Trigger{}, StepDefinition{}, Limits{}, Selector{})

func TestShortForm(t *testing.T) {
	got := parse(t, `
name: clean-when-full
triggers:
  - event: disk.space.high
actions:
  - plugin: disk-cleaner
    with: {path: /var/log}
`)
	want := &Definition{
		Name: "clean-when-full", Mode: Live, OnFailure: Continue,
		Triggers: []Trigger{{Pattern: "disk.space.high"}},
		// A clean-up must never land on another machine by default.
		Actions: []StepDefinition{{ID: "disk-cleaner", Plugin: "disk-cleaner", Target: Target{SameHost: true}, Timeout: 5 * time.Minute}},
		Outputs: []StepDefinition{},
	}
	if diff := cmp.Diff(want, got, exported); diff != "" {
		t.Errorf("definition (-want +got):\n%s", diff)
	}
}

const everything = `
name: disk-full-cleanup
description: Free space before the service stops
version: 1.2.0
mode: off
owner: team-sre
runbook: "https://example.com/disk"
variables: {limit: 90, ratio: 0.5, paths: [/var], since: 2026-01-02, on: yes}
triggers:
  - id: disk
    event: disk.space.*
  - event: fs.**
when: event.data.percent >= variables.limit && !(event.data.mount in ["/boot"])
cooldown: 30m
actions:
  - id: grow
    needs: [clean]
    when: steps.clean.status == "completed"
    plugin: volume-grow
    agents: {ids: [db-1, db-2]}
    sandbox: full
  - id: clean
    plugin: disk-cleaner@^1.2
    agents: {any: {tags: ["role:web"]}}
    timeout: 2m
    idempotent: true
    with: {path: "${{ event.data.mount }}"}
outputs:
  - plugin: slack
    on: [failed]
    agents: {same_host: true}
    timeout: 10s
    sandbox: none
    with: {text: "${{ workflow.name }}: ${{ run.status }}"}
  - plugin: mail@1.0.0
`

func TestWholeForm(t *testing.T) {
	d := parse(t, everything)
	want := &Definition{
		Name: "disk-full-cleanup", Description: "Free space before the service stops", Version: "1.2.0", Mode: Off, OnFailure: Continue,
		Owner: "team-sre", Runbook: "https://example.com/disk", Cooldown: 30 * time.Minute,
		Triggers: []Trigger{{ID: "disk", Pattern: "disk.space.*"}, {Pattern: "fs.**"}},
		Actions: []StepDefinition{
			{ID: "clean", Plugin: "disk-cleaner", Version: "^1.2", Target: Target{Tags: []string{"role:web"}}, Timeout: 2 * time.Minute, Idempotent: true},
			{ID: "grow", Plugin: "volume-grow", Needs: []string{"clean"}, Target: Target{Agents: []api.AgentID{"db-1", "db-2"}}, Timeout: defaultTimeout, Sandbox: api.SandboxFull},
		},
		Outputs: []StepDefinition{
			{ID: "slack", Plugin: "slack", On: []Status{Failed}, Target: Target{SameHost: true}, Timeout: 10 * time.Second, Sandbox: api.SandboxNone},
			{ID: "mail", Plugin: "mail", Version: "1.0.0", On: []Status{Completed, Failed}, Timeout: defaultTimeout},
		},
	}
	if diff := cmp.Diff(want, d, exported); diff != "" {
		t.Errorf("definition (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]api.PluginID{"disk-cleaner", "mail", "slack", "volume-grow"}, d.Plugins()); diff != "" {
		t.Errorf("plugins (-want +got):\n%s", diff)
	}
	if d.Digest() == parse(t, everything+"\n").Digest() || !strings.HasPrefix(d.Digest(), "sha256:") {
		t.Errorf("digest %s does not tell texts apart", d.Digest())
	}
}

// head is the part of a document that every case below needs.
const head = "name: w\ntriggers: [{event: a.b}]\n"

func TestMistakes(t *testing.T) {
	for _, c := range []struct{ name, src, want string }{
		{"nothing", ``, "f: name is missing: give the workflow a name such as clean-when-full\nf: there is nothing to do: name a plugin under actions or outputs\nf: triggers is missing"},
		{"name", "name: Disk_Full\ntriggers: [{event: a}]\nactions: [{plugin: a}]", `f:1:7: name "Disk_Full": must be 1 to 63 characters`},
		{"no trigger", "name: w\nactions: [{plugin: a}]", `f:1:1: triggers is missing`},
		{"nothing to do", head, `f:1:1: there is nothing to do`},
		{"no plugin", head + "actions: [{with: {}}]", `f:3:11: plugin is missing`},
		{"unknown key", head + "actions: [{plugin: a, wth: {}}]", `f:3:23: unknown key "wth" in actions[0]: did you mean "with"?`},
		{"key twice", head + "actions: [{plugin: a}]\nname: x", `f:4:1: key "name" stands twice`},
		{"wrong type", head + "actions: [{plugin: a, needs: x}]", `f:3:30: must be a list, not "x"`},
		{"mode", head + "mode: on\nactions: [{plugin: a}]", `f:3:7: mode "on": must be live, shadow or off`},
		{"pattern", "name: w\ntriggers: [{event: a..b}]\nactions: [{plugin: a}]", `f:2:20: event "a..b" has an empty segment`},
		{"trigger id", "name: w\ntriggers: [{id: x, event: a}, {id: x, event: b}]\nactions: [{plugin: a}]", `f:2:36: id "x" is taken`},
		{"variable", head + "variables: {a-b: 1}\nactions: [{plugin: a}]", `f:3:18: variable "a-b": must be`},
		{"variable's value", head + "variables: {a: .nan}\nactions: [{plugin: a}]", `f:3:16: ".nan" is not a value that can be used here`},
		{"cooldown", head + "cooldown: 30\nactions: [{plugin: a}]", `f:3:11: cooldown "30": must be a duration such as 30s, 5m or 2h`},
		{"timeout", head + "actions: [{plugin: a, timeout: 48h}]", `f:3:32: timeout 48h: must be from 1s to 24h0m0s`},
		{"timeout without value", head + "actions: [{plugin: a, timeout: }]", `f:3:32: timeout "": must be a duration`},
		{"sandbox", head + "actions: [{plugin: a, sandbox: strict}]", `f:3:32: sandbox "strict": must be full, confined, limited or none`},
		{"sandbox without value", head + "actions: [{plugin: a}]\noutputs: [{plugin: b, sandbox: }]", `f:4:32: sandbox "": must be full, confined, limited or none`},
		{"sandbox that is no level", head + "actions: [{plugin: a, sandbox: [full]}]", `f:3:32: must be text`},
		{"type", head + "actions: [{plugin: a, type: uninstall}]", `f:3:29: type "uninstall": must be execute, plugin_install, plugin_update or plugin_remove`},
		{"repository of what runs", head + "actions: [{plugin: a, plugin_configuration: {branch: main}}]", `f:3:54: branch is for type plugin_install and plugin_update`},
		{"arguments of an installation", head + "actions: [{plugin: a, type: plugin_install, plugin_configuration: {arguments: [x]}}]", `f:3:79: arguments is for a plugin that runs`},
		{"input of an installation", head + "actions: [{plugin: a, type: plugin_update, with: {x: 1}}]", `f:3:50: with is for a plugin that runs`},
		{"expression in a repository", head + "actions: [{plugin: a, type: plugin_install, plugin_configuration: {nothing: 1}}]", `unknown key "nothing" in actions[0].plugin_configuration`},
		{"installation by an output", head + "outputs: [{plugin: a, type: plugin_install}]", `f:3:23: unknown key "type" in outputs[0]`},
		{"plugin", head + "actions: [{plugin: Disk Cleaner}]", `f:3:20: plugin id "Disk Cleaner": must be`},
		{"plugin's range", head + "actions: [{plugin: a@latest}]", `f:3:20: plugin version "latest": must be a version or a range`},
		{"default ids collide", head + "actions: [{plugin: a}, {plugin: a}]", `f:3:33: id "a" is taken: give this one an id of its own`},
		{"ids of actions and outputs collide", head + "actions: [{plugin: a}]\noutputs: [{plugin: b, id: a}]", `f:4:27: id "a" is taken`},
		{"empty id", head + "actions: [{plugin: a, id: ''}]", `f:3:27: id "": must be`},
		{"no target", head + "actions: [{plugin: a, agents: {}}]", `f:3:31: agents must have exactly one of same_host, ids, any and each`},
		{"two targets", head + "actions: [{plugin: a, agents: {ids: [x], same_host: true}}]", `f:3:31: agents must have exactly one`},
		{"not the same host", head + "actions: [{plugin: a, agents: {same_host: false}}]", `f:3:31: same_host can only be true`},
		{"no tags", head + "actions: [{plugin: a, agents: {any: {tags: []}}}]", `f:3:37: any picks no agents: name ids, names, tags or an expression`},
		{"agent id", head + "actions: [{plugin: a, agents: {ids: [A]}}]", `f:3:38: agent id "A": must be`},
		{"on", head + "outputs: [{plugin: a, on: [done]}]", `f:3:28: "done": must be completed, failed, escalated or approval_needed`},
		{"on nothing", head + "outputs: [{plugin: a, on: []}]", `f:3:27: on is empty`},
		{"unknown need", head + "actions: [{plugin: clean}, {plugin: b, needs: [claen]}]", `f:3:48: needs names the unknown action "claen": did you mean "clean"?`},
		{"need twice", head + "actions: [{plugin: a}, {plugin: b, needs: [a, a]}]", `f:3:47: needs names "a" twice`},
		{"need of an output", head + "actions: [{plugin: a, needs: [o]}]\noutputs: [{plugin: o}]", `f:3:31: needs names the output "o": outputs come after all actions`},
		{"self", head + "actions: [{plugin: a, needs: [a]}]", `f:3:31: needs go in a circle: a → a`},
		{"circle", head + "actions: [{plugin: b, needs: [c]}, {plugin: a, needs: [b]}, {plugin: c, needs: [a]}]", `f:3:56: needs go in a circle: a → b → c → a`},
		{"condition", head + "when: event.data.percent > \nactions: [{plugin: a}]", `f:3:27: ends in the middle of an expression`},
		{"empty condition", head + "when:\nactions: [{plugin: a}]", `is empty: write an expression or leave it out`},
		{"not a condition", head + "when: event.key\nactions: [{plugin: a}]", `f:3:7: must be true or false, not string`},
		{"steps before there are any", head + "when: steps.a.status == 'x'\nactions: [{plugin: a}]", `f:3:7: steps cannot be read here: no step has run when a workflow decides`},
		{"not upstream", head + "actions: [{plugin: a}, {plugin: b, with: {x: '${{ steps.a.status }}'}}]", `f:3:57: step "a" may not have ended here: name it in needs`},
		{"circle of conditions", head + "actions: [{plugin: a, when: steps.b.status == 'x'}, {plugin: b, when: steps.a.status == 'x'}]", `f:3:29: when reads a step that waits for this one: a → b → a`},
		{"circle of a need and a condition", head + "actions: [{plugin: b, needs: [a]}, {plugin: a, when: steps.b.status == 'x'}]", `f:3:54: when reads a step that waits for this one: a → b → a`},
		{"its own condition", head + "actions: [{plugin: a, when: steps.a.status == 'x'}]", `f:3:35: step "a" may not have ended here: name it in needs`},
		{"unknown variable", head + "variables: {limit: 1}\nwhen: variables.limt > 1\nactions: [{plugin: a}]", `f:4:17: unknown variable "limt": did you mean "limit"?`},
		{"a secret that is computed with", head + "actions: [{plugin: a, with: {t: '${{ \"x\" + secrets.t }}'}}]", `f:3:44: a secret stands alone in ${{ }} and cannot be computed with: write text around it, as in "Bearer ${{ secrets.token }}"`},
		{"a secret in a condition", head + "when: secrets.t == 'x'\nactions: [{plugin: a}]", `f:3:7: secrets cannot be read here: only values of with hold them`},
		{"a secret that picks agents", head + "actions: [{plugin: a, agents: {any: {expression: secrets.t == 'x'}}}]", `f:3:50: secrets cannot be read here: only values of with hold them`},
		{"a secret's name", head + "actions: [{plugin: a, with: {t: 'x ${{ secrets[\"a b\"] }}'}}]", `f:3:40: secret name "a b": must be 1 to 63 characters of A-Z, a-z, 0-9, '_' and '-', beginning with a letter or '_'`},
		{"unclosed", head + "actions: [{plugin: a, with: {t: 'x ${{ y'}}]", `f:3:36: "${{" has no closing "}}"`},
		{"key that is not text", head + "actions: [{plugin: a, with: {x: {1: 2}}}]", `f:3:34: a key must be text: quote it`},
		{"too large", strings.Repeat("#", MaxBytes+1), `f: is larger than 131072 bytes`},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := Parse("f", []byte(c.src))
			if err == nil || d != nil || !strings.Contains(err.Error(), c.want) || strings.Count(err.Error(), "\n") != strings.Count(c.want, "\n") {
				t.Errorf("Parse(%q)\n got %v\nwant %s", c.src, err, c.want)
			}
		})
	}
}

// A circle is one mistake, however many steps are on it.
func TestACircleIsToldOnce(t *testing.T) {
	_, err := Parse("f", []byte(head+"actions: [{plugin: b, needs: [c]}, {plugin: a, needs: [b]}, {plugin: c, needs: [a, d]}, {plugin: d}]"))
	if got, want := fmt.Sprint(err), "f:3:56: needs go in a circle: a → b → c → a"; got != want {
		t.Errorf("Parse:\n got %s\nwant %s", got, want)
	}
}

// Everything that is wrong is said at once, in the order of the file.
func TestAllMistakesAtOnce(t *testing.T) {
	_, err := Parse("f", []byte("nme: w\ntriggers: [{event: a}]\nwhen: evnt.id\ncooldown: x\nactions: [{plugin: a, needs: [b]}]\non_failure: x\n"))
	var errs strictyaml.Errors
	if !errors.As(err, &errs) {
		t.Fatalf("err = %T, want strictyaml.Errors", err)
	}
	var got []string
	for _, e := range errs {
		got = append(got, fmt.Sprintf("%d:%d", e.Line, e.Column))
	}
	want := []string{"1:1", "1:1", "3:7", "4:11", "5:31", "6:13"} // line 1: the key is unknown, and the name is missing
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("places (-want +got):\n%s\n%v", diff, err)
	}
}

func TestWordsOfMode(t *testing.T) {
	for src, want := range map[string]string{
		"mode: ghost\nactions: [{plugin: a}]": `mode "ghost": must be live, shadow or off`,
	} {
		if _, err := Parse("f", []byte(head+src)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: err = %v, want %s", src, err, want)
		}
	}
}

// The column of a mistake inside an expression is its place in the file, however
// the text is written in YAML.
func TestPlacesInsideExpressions(t *testing.T) {
	for name, value := range map[string]string{
		"plain":           `é ${{ evnt.id }}`,
		"single quotes":   `'it''s ${{ evnt.id }}'`,
		"double quotes":   `"tab\t \u00e9 \U0001F600 \x41 \" ${{ evnt.id }}"`,
		"plain, folded":   "one\n      two ${{ evnt.id }}",
		"double, folded":  "\"one\n      two \\\n      three ${{ evnt.id }}\"",
		"literal":         "|\n      one\n\n        two\n      ${{ evnt.id }} three",
		"literal, header": "|2-\n      one ${{ evnt.id }}",
		"folded":          ">-\n      one\n      two ${{ evnt.id }}\n",
		"within":          "[1, {k: '${{ evnt.id }}'}]",
		"several lines":   "|\n      ${{ event.id ==\n          evnt.id }}\n",
	} {
		t.Run(name, func(t *testing.T) {
			src := head + "actions:\n- plugin: a\n  with:\n    x: " + value + "\n"
			_, err := Parse("f", []byte(src))
			var errs strictyaml.Errors
			if !errors.As(err, &errs) || len(errs) != 1 {
				t.Fatalf("err = %v, want one mistake", err)
			}
			line := []rune(strings.Split(src, "\n")[errs[0].Line-1])
			if at := string(line[errs[0].Column-1:]); !strings.HasPrefix(at, "evnt") {
				t.Errorf("%v\npoints at %q", errs[0], at)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	for name, c := range map[string]struct{ src, want string }{
		"steps":       {head + "actions:\n" + strings.Repeat("- {plugin: a}\n", maxSteps+1), "101 actions and outputs, at most 100"},
		"triggers":    {"name: w\nactions: [{plugin: a}]\ntriggers:\n" + strings.Repeat("- {event: a}\n", maxTriggers+1), "51 triggers, at most 50"},
		"expressions": {head + "actions: [{plugin: a, with: {x: [" + strings.Repeat("'${{1}}',", maxExpressions+1) + "]}}]", "more than 500 expressions"},
		"expression":  {head + "when: '" + strings.Repeat("x", 5000) + "'\nactions: [{plugin: a}]", "is 5000 bytes long, at most 4096"},
		"text":        {head + "owner: '" + strings.Repeat("x", 1001) + "'\nactions: [{plugin: a}]", "owner is 1001 bytes long, at most 1000"},
	} {
		if _, err := Parse("f", []byte(c.src)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: err = %v, want %s", name, err, c.want)
		}
	}
}

// Applying a hostile document must not stop the orchestrator.
func TestWorstDocuments(t *testing.T) {
	values := func(expression string, n int) string {
		return head + "actions: [{plugin: a, with: {x: [" + strings.Repeat("'${{"+expression+"}}',", n) + "]}}]"
	}
	nested := func(open, middle, end string, depth int) string {
		return strings.Repeat(open, depth) + middle + strings.Repeat(end, depth)
	}
	var graph strings.Builder
	for i := range maxSteps {
		fmt.Fprintf(&graph, "- {plugin: p, id: s%d, needs: [", i)
		for j := range i {
			fmt.Fprintf(&graph, "s%d,", j)
		}
		graph.WriteString("]}\n")
	}
	timed := func(src string) (time.Duration, error) {
		start := time.Now()
		_, err := Parse("f", []byte(src))
		return time.Since(start), err
	}
	// A multiple of what this machine, however busy, takes for a hundred expressions.
	ordinary := time.Duration(math.MaxInt64)
	for range 5 {
		took, _ := timed(values("event.id", 100))
		ordinary = min(ordinary, took)
	}
	for name, src := range map[string]string{
		"many expressions":   values(strings.Repeat("event.id+", 26)+"event.id", maxExpressions-1),
		"more than allowed":  head + "actions: [{plugin: a, with: {x: '" + strings.Repeat("${{a}}", 20000) + "'}}]",
		"deep brackets":      values(nested("(", "1", ")", 200), 300),
		"deep types":         values(nested("true?[", "1", "]:[]", 15), maxExpressions),
		"deepest refused":    values(nested("true?[", "1", "]:[]", 240), 50),
		"loops":              values(nested("event.tags.all(a,", "true", ")", 10), maxExpressions),
		"keys":               head + "actions: [{plugin: a, with: {x: [" + strings.Repeat("{1: 2},", 15000) + "]}}]",
		"every step on each": head + "actions:\n" + graph.String(),
	} {
		took, err := timed(src)
		if ratio := float64(took) / float64(ordinary); ratio > 3000 {
			t.Errorf("%s: %d bytes took %v, %.0f times an ordinary document", name, len(src), took, ratio)
		} else {
			t.Logf("%s: %d bytes took %v, %.0f times an ordinary document: %.80v", name, len(src), took, ratio, err)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern string
		yes, no []string
	}{
		{"disk.space.high", []string{"disk.space.high"}, []string{"disk.space", "disk.space.high.x", "diskXspace.high", "disk.space.HIGH"}},
		{"disk.*", []string{"disk.space", "disk.x-y_1"}, []string{"disk", "disk.space.high", "xdisk.space"}},
		{"disk.*.high", []string{"disk.space.high"}, []string{"disk.high", "disk.a.b.high"}},
		{"disk.**", []string{"disk.space", "disk.space.high"}, []string{"disk", "disks.space"}},
		{"**.high", []string{"disk.space.high"}, []string{"high.disk"}},
		{"*", []string{"disk"}, []string{"disk.space"}},
		{"**", []string{"disk", "disk.space.high"}, nil},
		{"d*k.sp*", []string{"disk.space", "dk.sp"}, []string{"disk.x.sp", "disk.space.x"}},
		{"a(b|c)+", []string{"a(b|c)+"}, []string{"ab"}},
	} {
		d := parse(t, "name: w\ntriggers: [{event: never}, {event: '"+c.pattern+"'}]\nactions: [{plugin: a}]")
		for _, s := range c.yes {
			if !d.Matches(Event{Event: api.Event{Type: s}}) {
				t.Errorf("%s does not match %s", c.pattern, s)
			}
		}
		for _, s := range c.no {
			if d.Matches(Event{Event: api.Event{Type: s}}) {
				t.Errorf("%s matches %s", c.pattern, s)
			}
		}
	}
}

func TestPatternsThatAreRefused(t *testing.T) {
	for _, s := range []string{"", "a b", ".a", "a.", "a..b", "a.***", strings.Repeat("a", maxPattern+1)} {
		if _, err := compilePattern(s); err == nil {
			t.Errorf("the pattern %q was taken", s)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(everything))
	f.Add([]byte(head + "actions: [{plugin: a, with: {x: '${{ {\"a\": [event.data.x]} }}', y: [1, 2.5, {z: null}]}}]"))
	f.Add([]byte(head + "actions: [{plugin: a, needs: [b]}, {plugin: b, needs: [a]}]\nthrottle: {}\n"))
	f.Add([]byte(head + "when: >-\n  event.data.x ==\n  evnt\nactions: [{plugin: \"\\x41\"}]"))
	f.Fuzz(func(t *testing.T, src []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		d, err := Parse("f", src)
		took := time.Since(start)
		runtime.ReadMemStats(&after)
		// Generous, for a busy machine; the worst known document of 128 KiB takes a tenth.
		if allocated := after.TotalAlloc - before.TotalAlloc; took > 10*time.Second || allocated > 1<<30 {
			t.Errorf("%d bytes took %v and %d MiB", len(src), took, allocated>>20)
		}
		if (d == nil) == (err == nil) {
			t.Fatalf("Parse = %v, %v: want a definition or an error", d, err)
		}
		var errs strictyaml.Errors
		if err != nil && (!errors.As(err, &errs) || len(errs) == 0) {
			t.Errorf("err = %#v, want strictyaml.Errors", err)
		}
		for _, e := range errs {
			if e.Message == "" || e.Line < 0 || e.Line > len(src)+2 {
				t.Errorf("%v: empty or outside of the file", e)
			}
		}
		if d != nil {
			runAll(t, d)
		}
	})
}
