package workflow

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stavily/agents/shared/pkg/api"
)

const two = "name: w\ntriggers: [{event: a}, {event: b}]\nactions: [{plugin: p}]\n"

// fed sends events "type@second" through one window, which is stored as JSON in between, and
// lists what fires: the events that make one.
func fed(t testing.TB, d *Definition, sent ...string) []string {
	t.Helper()
	var w Window
	var out []string
	fire := func(g Gathered) {
		var ids []string
		for _, m := range g.Fired {
			ids = append(ids, string(m.Event))
		}
		if len(ids) > 0 {
			out = append(out, strings.Join(ids, " "))
		}
	}
	for _, one := range sent {
		var second int
		typ, rest, _ := strings.Cut(one, "@")
		if _, err := fmt.Sscan(rest, &second); err != nil {
			t.Fatal(err)
		}
		now := testTime.Add(time.Duration(second) * time.Second)
		if len(w.Chains) > 0 && !w.Closes.After(now) {
			fire(d.Close(w))
			w = Window{}
		}
		g := d.Take(w, Event{Event: api.Event{ID: api.EventID(one), Type: typ}}, now)
		fire(g)
		text, err := json.Marshal(g.Window)
		if err != nil {
			t.Fatal(err)
		}
		w = Window{}
		if err := json.Unmarshal(text, &w); err != nil {
			t.Fatal(err)
		}
		if len(w.Chains) > 0 && (!w.Closes.After(now) || !d.Gather.Fits(w)) {
			t.Fatalf("after %s: a window that is over already, or of another shape: %+v", one, w)
		}
	}
	if len(w.Chains) > 0 {
		fire(d.Close(w))
	}
	return out
}

func TestGathering(t *testing.T) {
	for _, c := range []struct {
		name, say string
		sent      []string
		want      []string
	}{
		{"count", "correlate: {mode: count, count: 3, within: 10s, key: []}", []string{"a@0", "b@5", "a@9"}, []string{"a@0 b@5 a@9"}},
		{"count, any stretch of time", "correlate: {mode: count, count: 3, within: 10s, key: []}", []string{"a@0", "a@9", "a@10", "a@11"}, []string{"a@9 a@10 a@11"}},
		{"count begins anew", "correlate: {mode: count, count: 2, within: 10s, key: []}", []string{"a@0", "a@1", "a@2", "a@3"}, []string{"a@0 a@1", "a@2 a@3"}},
		{"too few", "correlate: {mode: count, count: 3, within: 10s, key: []}", []string{"a@0", "a@9", "a@19"}, nil},
		{"all, in any order", "correlate: {mode: all, within: 10s, key: []}", []string{"b@0", "b@1", "a@5"}, []string{"b@1 a@5"}},
		{"all, too late", "correlate: {mode: all, within: 10s, key: []}", []string{"b@0", "a@10", "a@11"}, nil},
		{"sequence", "correlate: {mode: sequence, within: 10s, key: []}", []string{"b@0", "a@1", "b@2"}, []string{"a@1 b@2"}},
		{"sequence, the later beginning counts", "correlate: {mode: sequence, within: 10s, key: []}", []string{"a@0", "a@5", "b@12"}, []string{"a@5 b@12"}},
		{"sequence, the wrong order", "correlate: {mode: sequence, within: 10s, key: []}", []string{"b@0", "a@1"}, nil},
		{"absent", "correlate: {mode: absent, within: 10s, key: []}", []string{"a@0", "a@5"}, []string{"a@0"}},
		{"not absent", "correlate: {mode: absent, within: 10s, key: []}", []string{"a@0", "b@9", "b@30"}, nil},
		{"absent, then too late", "correlate: {mode: absent, within: 10s, key: []}", []string{"a@0", "b@10"}, []string{"a@0"}},
		{"the last", "throttle: {last_in: 10s}", []string{"a@0", "a@9", "b@9", "a@11"}, []string{"b@9", "a@11"}},
		{"collected by time", "throttle: {collect: {count: 3, within: 10s}}", []string{"a@0", "b@9", "a@10"}, []string{"a@0 b@9", "a@10"}},
		{"collected by number", "throttle: {collect: {count: 2, within: 10s}}", []string{"a@0", "b@9", "a@9"}, []string{"a@0 b@9", "a@9"}},
	} {
		if got := fed(t, parse(t, two+c.say), c.sent...); !cmp.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	pulse := parse(t, head+"actions: [{plugin: p}]\ncorrelate: {mode: absent, within: 10s, key: []}\n")
	if got := fed(t, pulse, "a.b@0", "a.b@9", "a.b@18"); !cmp.Equal(got, []string{"a.b@18"}) {
		t.Errorf("a pulse that stops: %q", got)
	}
}

// A sequence and a count fire exactly when there is one by their definition, which is told
// here the slow way: over everything that came since the last.
func TestGatheringFindsWhatThereIs(t *testing.T) {
	three := strings.Replace(two, "{event: b}", "{event: b}, {event: c}", 1)
	rapid.Check(t, func(t *rapid.T) {
		mode := rapid.SampledFrom([]string{"sequence, ", "count, count: 3, "}).Draw(t, "mode")
		d, err := Parse("f", []byte(three+"correlate: {mode: "+mode+"within: 5s, key: []}"))
		if err != nil {
			t.Fatal(err)
		}
		var w Window
		var since []Member
		now := testTime
		for range rapid.IntRange(1, 30).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "pause")) * time.Second)
			typ := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "type")
			if len(w.Chains) > 0 && !w.Closes.After(now) {
				w = Window{}
			}
			m := Member{"s", api.EventID(typ), now}
			since = append(since, m)
			g := d.Take(w, Event{Event: api.Event{ID: m.Event, Type: typ}, Agent: Agent{ID: m.Agent}}, now)
			w = g.Window
			if is := there(since, mode[0] == 's'); (g.Fired != nil) != is {
				t.Fatalf("fired %v, want %v: %+v", g.Fired, is, since)
			}
			if g.Fired != nil {
				since = nil
			}
		}
	})
}

func there(since []Member, sequence bool) bool {
	last := since[len(since)-1]
	in := func(m Member) bool { return last.At.Sub(m.At) < 5*time.Second }
	n := 0
	for i, a := range since {
		if in(a) {
			n++
		}
		for j, b := range since {
			if sequence && last.Event == "c" && a.Event == "a" && b.Event == "b" && i < j && in(a) {
				return true
			}
		}
	}
	return !sequence && n >= 3
}

func TestMistakesInGathering(t *testing.T) {
	for _, c := range []struct{ name, say, want string }{
		{"mode", "correlate: {mode: some, within: 1m, key: []}", `f:4:19: mode "some": must be all, sequence, count or absent`},
		{"no time", "correlate: {mode: all, key: []}", "f:4:12: correlate.within is missing"},
		{"no key", "correlate: {mode: all, within: 1m}", "f:4:12: correlate.key is missing"},
		{"key", "correlate: {mode: all, within: 1m, key: [event.nothing]}", `f:4:48: event has no field "nothing"`},
		{"no count", "correlate: {mode: count, within: 1m, key: []}", "count 0: must be from 2 to 100"},
		{"needless count", "correlate: {mode: all, count: 2, within: 1m, key: []}", "f:4:31: count is for mode count"},
		{"two throttles", "throttle: {first_in: 1m, last_in: 1m}", "f:4:11: throttle must have exactly one of first_in, last_in and collect"},
		{"no time to collect", "throttle: {collect: {count: 3}}", "f:4:21: collect.within is missing"},
		{"too many", "throttle: {collect: {count: 300, within: 1m}}", "f:4:29: count 300: must be from 2 to 100"},
		{"both", "correlate: {mode: all, within: 1m, key: []}\nthrottle: {last_in: 1m}", "throttle.last_in cannot be used with correlate"},
		{"events too early", "when: size(events) > 1", "events cannot be read here: a workflow decides on one event at a time"},
	} {
		_, err := Parse("f", []byte(two+c.say))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want only %s", c.name, err, c.want)
		}
	}
	if _, err := Parse("f", []byte(head+"actions: [{plugin: p}]\ncorrelate: {mode: all, within: 1m, key: []}")); err == nil || !strings.Contains(err.Error(), "mode all is of several triggers") {
		t.Errorf("one trigger: %v", err)
	}
}

// Tests of a document send several events, and read them all.
func TestTryingSeveralEvents(t *testing.T) {
	const document = `
name: w
triggers: [{event: a}]
correlate: {mode: count, count: 2, within: 1m, key: [event.agent.id]}
actions: [{id: p, plugin: p, with: {n: "${{ size(events) }}", first: "${{ events[0].data.n }}", last: "${{ event.data.n }}", any: "${{ events.exists(e, e.data.n == 1) }}"}}]
tests:
  - {name: two, events: [{type: a, data: {n: 1}}, {type: a, after: 59s, data: {n: 2}}], expect: {runs: true, with: {p: {n: 2, first: 1, last: 2, any: true}}}}
  - {name: one, event: {type: a, data: {n: 1}}, expect: {runs: false}}
  - {name: late, events: [{type: a, data: {n: 1}}, {type: a, after: 1m, data: {n: 2}}], expect: {runs: false}}
  - {name: others, events: [{type: a, agent: {id: x}}, {type: a, agent: {id: y}}], expect: {runs: false}}
`
	if _, err := parse(t, document).TryAll(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := parse(t, strings.Replace(document, "mode: count, count: 2", "mode: absent", 1)+
		"  - {name: silence, event: {type: a}, expect: {runs: true}}\n").TryAll(t.Context()); err == nil || strings.Contains(err.Error(), "silence") || !strings.Contains(err.Error(), "late") {
		t.Errorf("with another mode: %v", err)
	}
}

// A run keeps the newest of its events, as far as they are not too large together.
func TestEventsOfARunAreBounded(t *testing.T) {
	d := parse(t, two+"throttle: {collect: {count: 10, within: 1m}}\noutputs: [{plugin: o, with: {n: '${{ size(events) }}'}}]")
	var all []Event
	for range 10 {
		e := fullDisk("{}")
		e.Type, e.Data = "a", map[string]json.RawMessage{"x": json.RawMessage(`"` + strings.Repeat("x", 60<<10) + `"`)}
		all = append(all, e)
	}
	s, effects, err := Start(d, "r", all[9], all...)
	if err != nil || len(s.Events) != 4 {
		t.Fatalf("%d events, %v", len(s.Events), err)
	}
	said := false
	for _, e := range effects {
		r, ok := e.(Record)
		said = said || ok && strings.HasPrefix(r.Message, "the first 6 of them are left out")
	}
	if !said {
		t.Errorf("it is not told: %+v", effects)
	}
}
