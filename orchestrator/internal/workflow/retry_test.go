package workflow

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/shared/pkg/api"
)

func TestPauses(t *testing.T) {
	for text, want := range map[string]string{
		"{}":                                "[5s 10s]",
		"{attempts: 8, first: 5s, max: 1m}": "[5s 10s 20s 40s 1m0s 1m0s 1m0s]",
		"{attempts: 3, backoff: constant, first: 30s}":   "[30s 30s]",
		"{attempts: 3, backoff: exponential, first: 1h}": "[1h0m0s 1h0m0s]", // max is not below first
	} {
		r := parse(t, head+"actions: [{plugin: a, retry: "+text+"}]").Actions[0].Retry
		var got []time.Duration
		for tries := 1; ; tries++ {
			wait, more := r.pause(tries, api.Failed)
			if !more {
				break
			}
			got = append(got, wait)
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%s: pauses %v, want %s", text, got, want)
		}
		for status, again := range map[api.InstructionStatus]bool{api.TimedOut: true, api.Rejected: false, api.Expired: false, api.Interrupted: false, api.Completed: false, api.Cancelled: false} {
			if _, more := r.pause(1, status); more != again {
				t.Errorf("%s: after %s another try: %v", text, status, more)
			}
		}
	}
	if _, more := (Retry{}).pause(1, api.Failed); more {
		t.Error("a step that does not say so is tried again")
	}
}

// A step is tried again after its pauses, whoever waits for it goes on waiting, and only the
// last failure is the run's.
func TestRetries(t *testing.T) {
	d := parse(t, head+"actions:\n- {id: a, plugin: p, retry: {attempts: 3}}\n- {id: b, plugin: p, needs: [a]}\noutputs: [{plugin: slack, on: [failed]}]\n")
	for _, last := range []api.InstructionStatus{api.Completed, api.Failed} {
		s, effects, err := Start(d, "r", fullDisk("{}"))
		for try := range 3 {
			if err != nil || !strings.Contains(shown(effects), fmt.Sprintf("{Step:a Try:%d Plugin:p", try)) {
				t.Fatalf("try %d: %s, %v", try, shown(effects), err)
			}
			end := StepEnded{Step: "a", Try: try, Status: api.Failed, Error: "no"}
			if try == 2 {
				end.Status = last
			}
			if s, effects, err = Step(d, s, end); err != nil || try == 2 {
				break
			}
			if s.Steps["a"].Status != StepRetrying || s.Steps["a"].Error != "no" || s.Error != "" || strings.Contains(shown(effects), "Step:b") {
				t.Fatalf("after try %d: %+v, %s", try, s, shown(effects))
			}
			s, effects, err = Step(d, s, Alarm{"a", try + 1})
		}
		follows := map[api.InstructionStatus]string{api.Completed: "{Step:b", api.Failed: "{Step:slack"}[last]
		if err != nil || s.Steps["a"].Status != StepStatus(last) || !strings.Contains(shown(effects), follows) {
			t.Errorf("the last try is %s: %+v, %s, %v", last, s, shown(effects), err)
		}
	}
}

func TestCancelBetweenTries(t *testing.T) {
	d := parse(t, head+"actions: [{id: a, plugin: p, retry: {}}]")
	s, _, err := Start(d, "r", fullDisk("{}"))
	if err == nil {
		s, _, err = Step(d, s, StepEnded{Step: "a", Status: api.Failed})
	}
	if err == nil {
		s, _, err = Step(d, s, Cancel{"enough"})
	}
	if err != nil || s.Status != Cancelled || !s.Done {
		t.Errorf("%+v, %v", s, err)
	}
	if after, effects, err := Step(d, s, Alarm{"a", 1}); err != nil || len(effects) > 0 || !after.Done {
		t.Errorf("an alarm after the end: %s, %v", shown(effects), err)
	}
}

func TestMistakesInRetry(t *testing.T) {
	_, err := Parse("f", []byte(head+"actions:\n- plugin: a\n  retry: {attempts: 1, backoff: linear, first: 10s, max: 5s, on: [completed, interrupted]}\n- plugin: b\n  idempotent: true\n  retry: {on: [interrupted]}\n- plugin: c\n  retry: {on: []}\n"))
	want := `f:5:21: attempts 1: must be from 2 to 20, the first included
f:5:33: backoff "linear": must be exponential or constant
f:5:58: max 5s: must not be shorter than first, 10s
f:5:67: "completed": must be failed, timeout, interrupted, expired or rejected
f:5:78: interrupted: nobody knows how far it had come: say idempotent: true where a second time does no harm
f:10:15: on is empty: name failed, timeout, interrupted, expired or rejected, or leave it out for failed and timeout`
	if err == nil {
		t.Fatal("no mistakes")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("mistakes (-want +got):\n%s", diff)
	}
}
