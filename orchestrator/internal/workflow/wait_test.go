package workflow

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const waits = head + `actions:
- {id: clean, plugin: p}
- {id: verified, needs: [clean], wait_for: {event: disk.space.ok, where: event.data.mount == trigger.data.mount, within: 3m}}
- {id: grow, plugin: q, when: steps.verified.status == "timeout"}
- {id: log, plugin: r, needs: [verified], with: {at: "${{ steps.verified.result.timestamp }}"}}
tests:
- {name: it helped, event: {type: a.b}, steps: {verified: {result: {timestamp: noon}}}, expect: {status: completed, order: [clean, verified, log], with: {log: {at: noon}}}}
- {name: it did not help, event: {type: a.b}, steps: {verified: {status: timeout}}, expect: {status: failed, order: [clean, verified, grow]}}
`

func TestWaitFor(t *testing.T) {
	d := parse(t, waits)
	if trials, err := d.TryAll(t.Context()); err != nil {
		t.Fatalf("%v\n%+v", err, trials)
	}
	s, _, err := Start(d, "r", fullDisk(`{"mount": "/"}`))
	if err != nil {
		t.Fatal(err)
	}
	s, effects, err := Step(d, s, StepEnded{Step: "clean", Status: "completed"})
	if want := "{Step:verified Pattern:disk.space.ok} {Step:verified Try:0 After:3m0s}"; err != nil || !strings.Contains(shown(effects), want) {
		t.Fatalf("%s, %v, want %s", shown(effects), err, want)
	}
	came := func(typ, data string) EventCame {
		e := fullDisk(data)
		e.Type, e.ID = typ, "01OK"
		return EventCame{"verified", e}
	}
	for _, other := range []EventCame{came("disk.space.high", `{"mount": "/"}`), came("disk.space.ok", `{"mount": "/var"}`), came("disk.space.ok", `{}`), came("disk.space.ok", `{"mount": 1e999}`)} {
		if after, effects, err := Step(d, s, other); err != nil || len(effects) > 0 || after.Steps["verified"].Status != StepAwaiting {
			t.Errorf("%s %s was the one: %s, %v", other.Event.Type, other.Event.Data, shown(effects), err)
		}
	}
	done, effects, err := Step(d, s, came("disk.space.ok", `{"mount": "/"}`))
	if got := shown(effects); err != nil || !strings.Contains(got, "{Step:verified}") || !strings.Contains(got, "Step:log") || done.Steps["grow"].Status != StepSkipped {
		t.Errorf("the event came: %s, %v", got, err)
	}
	var e struct{ ID string }
	if err := json.Unmarshal(done.Steps["verified"].Result, &e); err != nil || e.ID != "01OK" {
		t.Errorf("its result is %s, %v", done.Steps["verified"].Result, err)
	}
	late, effects, err := Step(d, s, Alarm{"verified", 0})
	if got := late.Steps["verified"]; err != nil || got.Status != "timeout" || got.Error != "no event disk.space.ok came within 3m0s" || !strings.Contains(shown(effects), "Step:grow") {
		t.Errorf("nothing came: %+v, %s, %v", got, shown(effects), err)
	}
	cancelled, effects, err := Step(d, s, Cancel{"enough"})
	if err != nil || !cancelled.Done || !strings.Contains(shown(effects), "{Step:verified}") {
		t.Errorf("cancelled: %s, %v", shown(effects), err)
	}
}

func TestMistakesInWaitFor(t *testing.T) {
	_, err := Parse("f", []byte(head+`actions:
- {wait_for: {event: "a b", within: 0s}}
- {id: x, plugin: p, timeout: 1m, wait_for: {event: a, where: event.nothing == 1}}
`))
	want := `f:4:3: id is missing: a step with wait_for needs one
f:4:22: event "a b" holds a space: an event type has none
f:4:37: within 0s: must be from 1s to 24h0m0s
f:5:19: plugin is for a step that runs a plugin: leave it out of one with wait_for
f:5:31: timeout is for a step that runs a plugin: leave it out of one with wait_for
f:5:69: event has no field "nothing": what the plugin sent is in event.data`
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("mistakes (-want +got):\n%s", cmp.Diff(want, fmt.Sprint(err)))
	}
	if d := parse(t, head+"actions: [{id: x, wait_for: {event: a}}]"); d.Actions[0].Wait.Within != 5*time.Minute || len(d.Plugins()) != 0 {
		t.Errorf("%+v of %v", d.Actions[0].Wait, d.Plugins())
	}
}
