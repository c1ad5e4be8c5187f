package workflow

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const tried = `
name: disk-full
variables: {keep_days: 7}
triggers:
  - event: disk.space.*
when: event.data.percent >= 90 && !(event.data.mount in ["/boot"])
actions:
  - id: clean
    plugin: disk-cleaner
    with: {path: "${{ event.data.mount }}", keep_days: "${{ variables.keep_days }}"}
  - id: grow
    needs: [clean]
    when: steps.clean.result.freed_bytes < 100
    plugin: volume-grow
outputs:
  - plugin: slack
    on: [failed]
tests:
`

func TestTry(t *testing.T) {
	for _, c := range []struct{ name, test, want string }{
		{"what it leaves alone", `{event: {type: disk.space.high, data: {percent: 95, mount: /boot}}, expect: {runs: false}}`, ""},
		{"what it does", `{event: {type: disk.space.high, data: {percent: 98, mount: /}},
			steps: {clean: {result: {freed_bytes: 10}}},
			expect: {runs: true, status: completed, order: [clean, grow], with: {clean: {path: /, keep_days: 7}}}}`, ""},
		{"a step that is skipped", `{event: {type: disk.space.high, data: {percent: 98, mount: /}},
			steps: {clean: {result: {freed_bytes: 1000}}}, expect: {order: [clean]}}`, ""},
		{"a failure, and who is told", `{event: {type: disk.space.high, data: {percent: 98, mount: /}},
			steps: {clean: {status: failed, error: no}}, expect: {status: failed, order: [clean, slack]}}`, ""},
		{"outputs may be left out", `{event: {type: disk.space.high, data: {percent: 98, mount: /}},
			steps: {clean: {status: timeout}}, expect: {order: [clean]}}`, ""},
		{"says what is not met", `{event: {type: disk.space.high, data: {percent: 80, mount: /}}, expect: {runs: true}}`,
			`does not run: when is not met: event.data.percent >= 90 (event.data.percent = 80)`},
		{"runs by mistake", `{event: {type: disk.space.high, data: {percent: 98, mount: /}}, expect: {runs: false}}`, "runs, and should not"},
		{"another order", `{event: {type: disk.space.high, data: {percent: 98, mount: /}},
			steps: {clean: {result: {freed_bytes: 1}}}, expect: {order: [clean]}}`, "starts [clean, grow], want [clean]"},
		{"another end", `{event: {type: disk.space.high, data: {percent: 98, mount: /}}, expect: {status: completed}}`,
			`the run is "failed" at its end, want "completed"`}, // grow's when reads a result that is not there
		{"another input", `{event: {type: disk.space.high, data: {percent: 98, mount: /}}, expect: {with: {clean: {path: /var}}}}`,
			`step clean: gets path: "/", want "/var"`},
		{"an input that is not there", `{event: {type: disk.space.high, data: {percent: 98, mount: /}}, expect: {with: {clean: {force: true}}}}`,
			`step clean: gets no force, want true`},
		{"a step that does not start", `{event: {type: disk.space.high, data: {percent: 98, mount: /}},
			steps: {clean: {status: failed}}, expect: {with: {grow: {}}}}`, `step grow: does not start`},
	} {
		src := tried + "  - " + strings.Replace(c.test, "{", `{name: "`+c.name+`", `, 1) + "\n"
		trials, err := parse(t, src).TryAll(t.Context())
		switch {
		case len(trials) != 1 || trials[0].Passed != (c.want == ""):
			t.Errorf("%s: %+v", c.name, trials)
		case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		case err != nil && !strings.HasPrefix(err.Error(), `w.yaml:19:5: test "`):
			t.Errorf("%s: where does it stand? %v", c.name, err)
		}
	}
}

// A step whose condition reads others waits for them, and answers their failure.
func TestTryOfAFailureThatIsAnswered(t *testing.T) {
	d := parse(t, head+`actions:
- {id: grow, plugin: p, when: "steps.clean.status != 'completed'", with: {why: "${{ steps.clean.error }}"}}
- {id: clean, plugin: p}
- {id: later, plugin: p, needs: [grow]}
tests:
- {name: it works, event: {type: a.b}, expect: {status: completed, order: [clean, later]}}
- {name: it fails, event: {type: a.b}, steps: {clean: {status: timeout, error: too slow}}, expect: {status: failed, order: [clean, grow, later], with: {grow: {why: too slow}}}}
`)
	if trials, err := d.TryAll(t.Context()); err != nil {
		t.Errorf("%v\n%+v", err, trials)
	}
}

func TestTryWithRetries(t *testing.T) {
	d := parse(t, head+`actions:
- {id: a, plugin: p, retry: {attempts: 4}}
- {id: b, plugin: p, needs: [a]}
tests:
- {name: in the end it fails, event: {type: a.b}, steps: {a: {status: failed}}, expect: {status: failed, order: [a]}}
- {name: it works, event: {type: a.b}, expect: {status: completed, order: [a, b]}}
`)
	if trials, err := d.TryAll(t.Context()); err != nil {
		t.Errorf("%v\n%+v", err, trials)
	}
}

// A workflow is tested before it is switched on.
func TestTryWhileOff(t *testing.T) {
	for _, mode := range []string{"off", "shadow", "live"} {
		d := parse(t, "mode: "+mode+strings.Replace(tried, "name:", "\nname:", 1)+`  - {name: n, event: {type: disk.space.high, data: {percent: 98, mount: /}}, steps: {clean: {result: {freed_bytes: 1000}}}, expect: {runs: true}}`)
		if trials, err := d.TryAll(t.Context()); err != nil {
			t.Errorf("%s: %v\n%+v", mode, err, trials)
		}
	}
}

// A definition is tried with events as complete as those of agents.
func TestTriedEvent(t *testing.T) {
	d := parse(t, `
name: n
triggers: [{event: "a.**"}]
when: >-
  event.severity == "critical" && event.agent.id == "web-1" && "role:web" in event.agent.tags && event.key == "k" &&
  event.timestamp == timestamp("2026-03-04T05:06:07Z") && event.metadata.source == "x" && event.monitor == "m" && event.id == "01E"
outputs: [{plugin: slack}]
tests:
  - name: all of it
    event:
      {id: 01E, type: a.b.c, severity: critical, key: k, monitor: m, timestamp: "2026-03-04T05:06:07Z", metadata: {source: x},
       agent: {id: web-1, tags: ["role:web"]}}
    expect: {runs: true, order: [slack]}
`)
	if trials, err := d.TryAll(t.Context()); err != nil {
		t.Errorf("%v\n%+v", err, trials)
	}
}

func TestMistakesInTests(t *testing.T) {
	_, err := Parse("w.yaml", []byte(tried+`
  - event: {severity: urgent, timestamp: yesterday}
    steps: {claen: {}, grow: {status: running}}
    expect: {status: running, order: [slak], with: {none: {a: 1}}}
  - name: two
    event: {type: a, data: {x: .inf}}
  - name: two
    event: {type: a}
    expect: {run: true}
`))
	want := `w.yaml:20:5: name is missing: say what the test shows
w.yaml:20:12: event.type is missing: say which event the test sends
w.yaml:20:23: severity "urgent": must be low, medium, high or critical
w.yaml:20:42: timestamp "yesterday": must be as in RFC 3339, for example 2026-01-02T15:04:05Z
w.yaml:21:20: there is no step "claen": did you mean clean?
w.yaml:21:39: status "running": must be completed, failed, timeout, cancelled, interrupted, expired or rejected
w.yaml:22:22: status "running": must be completed or failed
w.yaml:22:39: there is no step "slak": did you mean slack?
w.yaml:22:59: there is no step "none"
w.yaml:23:5: expect is missing: say what the event should lead to, for example expect: {runs: true}
w.yaml:24:32: ".inf" is not a value that can be used here: quote it to make it text
w.yaml:25:11: name "two" is taken: give this test one of its own
w.yaml:27:14: unknown key "run" in tests[2].expect: did you mean "runs"?`
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("mistakes (-want +got):\n%s", diff)
	}
}
