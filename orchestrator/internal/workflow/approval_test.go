package workflow

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

const deploy = `
name: w
triggers: [{event: a}]
actions:
  - {id: build, plugin: b}
  - {id: approve, needs: [build], approval: {count: 2, within: 10m, otherwise: OTHERWISE}, when: event.data.risky}
  - {id: roll, plugin: p, needs: [approve], with: {path: "${{ event.data.path }}", n: "${{ steps.build.result.n }}"}}
outputs:
  - {id: tell, plugin: slack, on: [approval_needed, failed], with: {text: "${{ run.status }} ${{ run.error }}"}}
tests:
`

func TestApprovals(t *testing.T) {
	const event = "event: {type: a, data: {risky: true, path: /x}}, "
	for name, c := range map[string]struct{ otherwise, test string }{
		"approved":     {"deny", event + "steps: {build: {result: {n: 1}}}, expect: {status: completed, order: [build, approve, 'tell@approve', roll], with: {'tell@approve': {text: 'approval_needed '}, roll: {path: /x, n: 1}}}"},
		"denied":       {"deny", event + "steps: {build: {result: {n: 1}}, approve: {status: rejected, error: no}}, expect: {status: failed, order: [build, approve, 'tell@approve', tell], with: {tell: {text: 'failed step approve: rejected: denied by tester-1: no'}}}"},
		"nobody":       {"deny", event + "steps: {build: {result: {n: 1}}, approve: {status: timeout}}, expect: {status: failed, with: {tell: {text: 'failed step approve: rejected: denied: 0 of 2 approvals came within 10m0s'}}}"},
		"nobody minds": {"approve", event + "steps: {build: {result: {n: 1}}, approve: {status: timeout}}, expect: {status: completed}"},
		"not needed":   {"deny", "event: {type: a, data: {risky: false, path: /x}}, steps: {build: {result: {n: 1}}}, expect: {status: completed, order: [build, roll]}"},
		"not to show":  {"deny", event + "expect: {status: failed, order: [build, tell]}"}, // there is no result to show
	} {
		src := strings.Replace(deploy, "OTHERWISE", c.otherwise, 1) + "  - {name: t, " + c.test + "}\n"
		if _, err := parse(t, src).TryAll(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is approved is one rendering: another digest counts for nothing, nobody counts twice,
// and what would differ from what was approved is not done.
func TestAnApprovalIsOfOneThing(t *testing.T) {
	d := parse(t, head+"actions:\n- {id: ok, approval: {count: 2}}\n- {id: do, plugin: p, needs: [ok], with: {path: '${{ event.data.path }}'}}\n")
	e := fullDisk("{}")
	e.Data["path"] = []byte(`"/a"`)
	s, effects, err := Start(d, "r", e)
	if err != nil {
		t.Fatal(err)
	}
	var ask Ask
	for _, effect := range effects {
		if a, ok := effect.(Ask); ok {
			ask = a
		}
	}
	if len(ask.Asked.Steps) != 1 || string(ask.Asked.Steps[0].Input["path"]) != `"/a"` || ask.Asked.Steps[0].On != "the host of the sensor" {
		t.Fatalf("asked %+v", ask)
	}
	say := func(by, digest string) (dispatched bool) {
		t.Helper()
		var effects []Effect
		if s, effects, err = Step(d, s, Verdict{Step: "ok", Digest: digest, By: by, Approve: true}); err != nil {
			t.Fatal(err)
		}
		for _, effect := range effects {
			_, is := effect.(Dispatch)
			dispatched = dispatched || is
		}
		return dispatched
	}
	for _, c := range []struct{ by, digest string }{{"ann", "sha256:0"}, {"ann", ask.Asked.Digest}, {"ann", ask.Asked.Digest}} {
		if why := s.MayJudge(d, Verdict{Step: "ok", Digest: c.digest, By: c.by, Approve: true}); (why == "") != (len(s.Steps["ok"].Votes) == 0 && c.digest == ask.Asked.Digest) {
			t.Errorf("%+v: %q", c, why)
		}
		if say(c.by, c.digest) {
			t.Fatalf("done after %+v", c)
		}
		if n := len(s.Steps["ok"].Votes); n > 0 && c.digest != ask.Asked.Digest {
			t.Errorf("another digest counts: %d", n)
		}
	}
	forged := s
	forged.Event.Data = map[string]json.RawMessage{"path": []byte(`"/etc"`)}
	next, _, err := Step(d, forged, Verdict{Step: "ok", Digest: ask.Asked.Digest, By: "bob", Approve: true})
	if err != nil || next.Steps["do"].Status != StepStatus(api.Failed) || !strings.Contains(next.Steps["do"].Error, "approval ok was of "+ask.Asked.Digest) {
		t.Errorf("something else than was approved: %+v, %v", next.Steps["do"], err)
	}
	if !say("bob", ask.Asked.Digest) {
		t.Errorf("two have approved: %+v", s.Steps)
	}
}

// To run a plugin, to remove it and to install it from one place or another are different things
// to approve. What only runs a plugin is said as it was before these were told apart, so that
// what was asked for then can still be approved.
func TestAnApprovalIsOfWhatIsInstalled(t *testing.T) {
	said := map[string]string{}
	for _, c := range []struct{ say, want string }{
		{"", ``},
		{"type: plugin_remove", `,"type":"plugin_remove"`},
		{"type: plugin_install, plugin_configuration: {plugin_url: 'https://a.example/x.git', tag: v1}", `,"type":"plugin_install","plugin_configuration":{"plugin_url":"https://a.example/x.git","tag":"v1"}`},
		{"type: plugin_install, plugin_configuration: {plugin_url: 'https://b.example/x.git', tag: v1}", `,"type":"plugin_install","plugin_configuration":{"plugin_url":"https://b.example/x.git","tag":"v1"}`},
		{"type: execute, plugin_configuration: {arguments: [--wipe], environment: {TARGET: prod}}", `,"plugin_configuration":{"arguments":["--wipe"],"environment":{"TARGET":"prod"}}`},
	} {
		d := parse(t, head+"actions:\n- {id: ok, approval: {}}\n- {id: do, plugin: p, needs: [ok], "+c.say+"}\n")
		_, effects, err := Start(d, "r", fullDisk("{}"))
		if err != nil {
			t.Fatal(err)
		}
		for _, effect := range effects {
			ask, is := effect.(Ask)
			if !is {
				continue
			}
			got, err := json.Marshal(ask.Asked.Steps)
			if want := `[{"step":"do","plugin":"p","on":"the host of the sensor"` + c.want + `}]`; err != nil || string(got) != want {
				t.Errorf("%q is asked for as %s, want %s", c.say, got, want)
			}
			if other, same := said[ask.Asked.Digest]; same {
				t.Errorf("the digest of %q is that of %q", c.say, other)
			}
			said[ask.Asked.Digest] = c.say
		}
	}
	if len(said) != 5 {
		t.Errorf("%d things were asked for, want 5", len(said))
	}
}

// What is to tell of an approval ends with it where it has not begun, whether it waits for an
// agent or for its next try; what is under way goes on, once, and the run waits for its end.
func TestWhatTellsOfAnApprovalEndsWithIt(t *testing.T) {
	d := parse(t, head+"actions: [{id: ok, approval: {}}, {plugin: p, needs: [ok]}]\noutputs: [{id: tell, plugin: slack, on: [approval_needed], retry: {}}]\n")
	started, failed := StepStarted{Step: "tell@ok"}, StepEnded{Step: "tell@ok", Status: api.Failed}
	for _, c := range []struct {
		name   string
		before []Input
		cancel bool       // of tell@ok is asked for
		after  StepStatus // of tell@ok
		last   []Input    // that end it
	}{
		{"dispatched", nil, true, StepDispatched, []Input{StepEnded{Step: "tell@ok", Status: api.Cancelled}}},
		{"retrying", []Input{failed}, false, StepStatus(api.Cancelled), nil},
		{"running", []Input{started}, false, StepRunning, []Input{failed}},
		{"ended", []Input{started, StepEnded{Step: "tell@ok", Status: api.Completed}}, false, StepStatus(api.Completed), nil},
	} {
		for _, approve := range []bool{true, false} {
			s, _, err := Start(d, "r", fullDisk("{}"))
			takes := func(in Input) (effects []Effect) {
				t.Helper()
				if err == nil {
					s, effects, err = Step(d, s, in)
				}
				if err != nil {
					t.Fatal(err)
				}
				return effects
			}
			for _, in := range c.before {
				takes(in)
			}
			cancel := slices.Contains(takes(Verdict{Step: "ok", Digest: s.Steps["ok"].Digest, By: "ann", Approve: approve}), Effect(CancelStep{"tell@ok"}))
			if got := s.Steps["tell@ok"].Status; cancel != c.cancel || got != c.after {
				t.Errorf("%s, approved %v: it is %s, its cancel asked for: %v", c.name, approve, got, cancel)
			}
			if approve {
				takes(StepEnded{Step: "p", Status: api.Completed})
			}
			if want := len(c.last) == 0; s.Done != want {
				t.Errorf("%s, approved %v: done is %v before its end", c.name, approve, s.Done)
			}
			for _, in := range c.last {
				takes(in)
			}
			if !s.Done || s.Status != map[bool]Status{true: Completed, false: Failed}[approve] {
				t.Errorf("%s, approved %v: at the end %s, done is %v", c.name, approve, s.Status, s.Done)
			}
		}
	}
}

// Whoever starts a run by hand, or again, does not approve it, unless the document says so.
func TestNobodyApprovesTheirOwn(t *testing.T) {
	for say, want := range map[string]bool{"self: false": false, "self: true": true} {
		d := parse(t, head+"actions: [{id: ok, approval: {"+say+"}}, {plugin: p, needs: [ok]}]")
		e := fullDisk("{}")
		e.Own, e.Type, e.Metadata = true, TypeManual, map[string]json.RawMessage{"by": []byte(`"ann"`)}
		s, _, err := Start(d, "r", e)
		if err != nil {
			t.Fatal(err)
		}
		v := Verdict{Step: "ok", Digest: s.Steps["ok"].Digest, By: "ann", Approve: true}
		if got := s.MayJudge(d, v) == ""; got != want {
			t.Errorf("%s: may approve: %v", say, got)
		}
		v.By = "cat"
		s.Event.RetriedBy = "cat"
		if got := s.MayJudge(d, v) == ""; got != want {
			t.Errorf("%s: who retried may approve: %v", say, got)
		}
		ended, err := EndedEvent(s) // ann and cat have started what that begins as well
		if err != nil {
			t.Fatal(err)
		}
		next, _, err := Start(d, "r2", Event{Event: ended, Own: true})
		if err != nil {
			t.Fatal(err)
		}
		last, _, err := Start(d, "r3", fullDisk("{}"), Event{Event: ended, Own: true}, fullDisk("{}"))
		if err != nil {
			t.Fatal(err)
		}
		for _, v.By = range []string{"ann", "cat"} {
			if next.MayJudge(d, v) == "" != want || last.MayJudge(d, v) == "" != want {
				t.Errorf("%s: %s may approve what another workflow has started: %v", say, v.By, !want)
			}
		}
		v.By = "bob"
		if why := s.MayJudge(d, v) + next.MayJudge(d, v); why != "" {
			t.Errorf("%s: somebody else may not: %s", say, why)
		}
		v.By, v.Approve = "ann", false
		if why := s.MayJudge(d, v); why != "" {
			t.Errorf("%s: may not deny: %s", say, why)
		}
	}
}

func TestMistakesInApprovals(t *testing.T) {
	for _, c := range []struct{ say, want string }{
		{"[{approval: {}}, {plugin: p}]", "f:3:11: id is missing"},
		{"[{id: a, approval: {}}, {plugin: p}]", "f:3:29: approval holds nothing back: let a step need a"},
		{"[{id: a, approval: {count: 0}}, {plugin: p, needs: [a]}]", "f:3:37: count 0: must be from 1 to 10"},
		{"[{id: a, approval: {otherwise: maybe}}, {plugin: p, needs: [a]}]", `f:3:41: otherwise "maybe": must be deny or approve`},
		{"[{id: a, approval: {within: 1y}}, {plugin: p, needs: [a]}]", `within "1y": must be a duration`},
		{"[{id: a, approval: {}, plugin: x}, {plugin: p, needs: [a]}]", "f:3:41: plugin is not for a step with approval"},
		{"[{id: x, plugin: x}, {id: a, approval: {}}, {plugin: p, needs: [a, x], with: {n: '${{ steps.x.result }}'}}]", "with reads step x, which may end after approval a"},
		{"[{id: a, approval: {}}, {plugin: p, needs: [a], with: {n: '${{ steps.a.result }}'}}]", "with reads step a, which may end after approval a"},
	} {
		_, err := Parse("f", []byte(head+"actions: "+c.say))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.say, err, c.want)
		}
	}
}
