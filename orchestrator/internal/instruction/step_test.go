package instruction

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/shared/pkg/api"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(seconds int) time.Time { return t0.Add(time.Duration(seconds) * time.Second) }

// story plays inputs that must not be refused, and returns the last effects.
func story(t *testing.T, i Instruction, inputs ...Input) (Instruction, []Effect) {
	t.Helper()
	var effects []Effect
	for n, in := range inputs {
		var refusal *api.Error
		if i, effects, refusal = Step(i, in); refusal != nil {
			t.Fatalf("input %d, %T: %v", n+1, in, refusal)
		}
	}
	return i, effects
}

func idempotent(attempts int) Spec {
	return Spec{ID: "i", Plugin: "p", Idempotent: true, MaxAttempts: attempts}
}

var (
	plain   = Spec{ID: "i", Plugin: "p"}
	offerA  = Offer{Agent: "a", Lease: "1", Now: at(0), TTL: time.Minute}
	claimA  = Claim{Agent: "a", Attempt: 1, Lease: "1", BootID: "x", Now: at(1), TTL: time.Minute}
	offerB  = Offer{Agent: "b", Lease: "2", Now: at(70), TTL: time.Minute}
	silence = Tick{Now: at(61)}
)

func resultA(s api.InstructionStatus, details string) Finish {
	return Finish{Agent: "a", Attempt: 1, Lease: "1", Now: at(65), Result: api.Result{Status: s, ErrorDetails: json.RawMessage(details)}}
}

const (
	nothingRan   = `{"started":false}`
	somethingRan = `{"started":true}`
)

// Whoever looks at what expired is told why, when that is known.
func TestAnExpiryTellsItsReason(t *testing.T) {
	for why, want := range map[string]string{
		"":             "No agent started it before it expired.",
		"needs a moon": "No agent started it before it expired: needs a moon",
	} {
		i, _ := story(t, New(plain, t0), Tick{Now: t0.Add(DefaultLifetime), Why: why})
		if i.Message != want {
			t.Errorf("the reason %q becomes %q, want %q", why, i.Message, want)
		}
	}
}

func TestStories(t *testing.T) {
	wake, ended, late := []Effect{Wake{}}, []Effect{Ended{}}, []Effect{Late{}}
	for _, c := range []struct {
		name    string
		spec    Spec
		inputs  []Input
		status  api.InstructionStatus
		attempt int
		effects []Effect
	}{
		{"completed", plain, []Input{offerA, claimA, resultA(api.Completed, "")}, api.Completed, 1, ended},
		{"refused by the agent's policy", plain, []Input{offerA, resultA(api.Rejected, "")}, api.Rejected, 1, ended},
		{"a client without leases", plain, []Input{offerA, Claim{Agent: "a", Now: at(1), TTL: time.Minute}, Finish{Agent: "a", Result: api.Result{Status: api.Failed}}}, api.Failed, 1, ended},
		{"an offer lapses and uses up no attempt", plain, []Input{offerA, Tick{Now: at(60)}}, api.Pending, 1, wake},
		{"and is made again", plain, []Input{offerA, Tick{Now: at(60)}, offerB}, api.Offered, 1, nil},
		{"nobody takes it", plain, []Input{Tick{Now: t0.Add(DefaultLifetime)}}, api.Expired, 1, ended},
		{"its last offer ends with it", Spec{ID: "i", ExpiresAt: at(30)}, []Input{offerA, Tick{Now: at(30)}}, api.Expired, 1, ended},
		{"cancelled while it waits", plain, []Input{Cancel{Now: at(1)}}, api.Cancelled, 1, ended},
		{"cancelled while it is offered", plain, []Input{offerA, Cancel{Now: at(1)}}, api.Cancelled, 1, ended},
		{"cancelled while it runs", plain, []Input{offerA, claimA, Cancel{Now: at(2)}}, api.Executing, 1, nil},
		{"and stopped", plain, []Input{offerA, claimA, Cancel{Now: at(2)}, resultA(api.Cancelled, "")}, api.Cancelled, 1, ended},
		{"the agent is lost", plain, []Input{offerA, claimA, silence}, api.Interrupted, 1, ended},
		{"and comes back", plain, []Input{offerA, claimA, silence, resultA(api.Completed, "")}, api.Completed, 1, late},
		{"lost, idempotent", idempotent(0), []Input{offerA, claimA, silence}, api.Pending, 1, wake},
		{"it comes back before another attempt", idempotent(0), []Input{offerA, claimA, silence, resultA(api.Completed, "")}, api.Completed, 1, ended},
		{"it comes back to say that it was interrupted", idempotent(0), []Input{offerA, claimA, silence, resultA(api.Interrupted, somethingRan)}, api.Pending, 1, nil},
		{"another attempt", idempotent(0), []Input{offerA, claimA, silence, offerB}, api.Offered, 2, nil},
		{"another attempt lapses", idempotent(0), []Input{offerA, claimA, silence, offerB, Tick{Now: at(130)}}, api.Pending, 2, wake},
		{"no attempts left", idempotent(1), []Input{offerA, claimA, silence}, api.Interrupted, 1, ended},
		{"lost after it was cancelled", idempotent(0), []Input{offerA, claimA, Cancel{Now: at(2)}, silence}, api.Interrupted, 1, ended},
		{"interrupted", plain, []Input{offerA, claimA, resultA(api.Interrupted, somethingRan)}, api.Interrupted, 1, ended},
		{"interrupted, and nobody knows", plain, []Input{offerA, claimA, resultA(api.Interrupted, "")}, api.Interrupted, 1, ended},
		{"interrupted before anything ran", plain, []Input{offerA, claimA, resultA(api.Interrupted, nothingRan)}, api.Pending, 1, wake},
		{"so it is a new attempt", plain, []Input{offerA, claimA, resultA(api.Interrupted, nothingRan), offerB}, api.Offered, 2, nil},
		{"interrupted before it was claimed", plain, []Input{offerA, resultA(api.Interrupted, nothingRan), offerB}, api.Offered, 2, nil},
		{"interrupted, idempotent", idempotent(2), []Input{offerA, claimA, resultA(api.Interrupted, somethingRan)}, api.Pending, 1, wake},
		{"too late for another attempt", Spec{ID: "i", ExpiresAt: at(65)}, []Input{offerA, claimA, resultA(api.Interrupted, nothingRan)}, api.Interrupted, 1, ended},
		{"no other attempt before it expired", plain, []Input{offerA, claimA, resultA(api.Interrupted, nothingRan), Tick{Now: t0.Add(DefaultLifetime)}}, api.Interrupted, 1, ended},
	} {
		t.Run(c.name, func(t *testing.T) {
			i, effects := story(t, New(c.spec, t0), c.inputs...)
			if i.Status != c.status || i.Attempt != c.attempt || !cmp.Equal(effects, c.effects) {
				t.Errorf("it is %s, attempt %d, with effects %T; want %s, attempt %d, %T", i.Status, i.Attempt, effects, c.status, c.attempt, c.effects)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	running := []Input{offerA, claimA}
	completed := append(running[:2:2], resultA(api.Completed, ""))
	for _, c := range []struct {
		name   string
		before []Input
		in     Input
		code   api.Code
	}{
		{"a claim of another agent", []Input{offerA}, Claim{Agent: "b", Attempt: 1, Lease: "1", Now: at(1)}, api.CodeConflict},
		{"a claim under another lease", []Input{offerA}, Claim{Agent: "a", Attempt: 1, Lease: "0", Now: at(1)}, api.CodeConflict},
		{"a claim of another attempt", []Input{offerA}, Claim{Agent: "a", Attempt: 2, Lease: "1", Now: at(1)}, api.CodeConflict},
		{"a claim after the lease, before anybody looked", []Input{offerA}, Claim{Agent: "a", Attempt: 1, Lease: "1", Now: at(60)}, api.CodeConflict},
		{"a claim by another process of the agent", running, Claim{Agent: "a", Attempt: 1, Lease: "1", BootID: "y", Now: at(2)}, api.CodeConflict},
		{"a claim of what has ended", completed, claimA, api.CodeConflict},
		{"a claim of what was cancelled", []Input{offerA, Cancel{}}, claimA, api.CodeConflict},
		{"an offer of what runs", running, offerB, api.CodeConflict},
		{"an offer of what has expired", nil, Offer{Agent: "a", Lease: "1", Now: t0.Add(DefaultLifetime)}, api.CodeConflict},
		{"a report before the claim", []Input{offerA}, Report{Agent: "a", Lease: "1"}, api.CodeConflict},
		{"a report on what has ended", completed, Report{Agent: "a", Lease: "1"}, api.CodeGone},
		{"a result under another lease", running, Finish{Agent: "a", Lease: "0", Result: api.Result{Status: api.Completed}}, api.CodeConflict},
		{"a result of an offer that lapsed", []Input{offerA, Tick{Now: at(60)}}, resultA(api.Completed, ""), api.CodeConflict},
		{"another result", completed, resultA(api.Failed, ""), api.CodeGone},
		{"a result after the cancellation", []Input{offerA, Cancel{}}, resultA(api.Completed, ""), api.CodeGone},
		{"a result after another attempt was offered", []Input{offerA, claimA, resultA(api.Interrupted, nothingRan), offerB}, resultA(api.Completed, ""), api.CodeConflict},
		{"a result that is none", running, resultA(api.Executing, ""), api.CodeInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			i, _ := story(t, New(plain, t0), c.before...)
			_, _, refusal := Step(i, c.in)
			if refusal == nil || refusal.Code != c.code {
				t.Errorf("the answer is %v, want %s", refusal, c.code)
			}
		})
	}
}

// A report renews the lease, also one that ran out while nobody looked.
func TestReport(t *testing.T) {
	half := 50.0
	i, _ := story(t, New(plain, t0), offerA, claimA, Report{Agent: "a", Attempt: 1, Lease: "1", Percent: &half, Now: at(300), TTL: time.Minute}, Tick{Now: at(359)}, Report{Agent: "a", Now: at(359), TTL: time.Minute})
	if i.Status != api.Executing || !i.LeaseUntil.Equal(at(419)) || *i.Percent != half {
		t.Errorf("it is %s until %v at %v %%", i.Status, i.LeaseUntil, *i.Percent)
	}
}

// What an attempt left behind is gone when the next begins.
func TestNextAttemptIsClean(t *testing.T) {
	half := 50.0
	dirty, _ := story(t, New(idempotent(0), t0), offerA, claimA, Report{Agent: "a", Percent: &half, Now: at(2), TTL: time.Minute}, resultA(api.Interrupted, somethingRan), offerB)
	want := New(idempotent(0), t0)
	want.Status, want.Attempt, want.Agent, want.Lease, want.OfferedAt, want.LeaseUntil = api.Offered, 2, "b", "2", offerB.Now, offerB.Now.Add(time.Minute)
	if diff := cmp.Diff(want, dirty); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDefaults(t *testing.T) {
	for _, c := range []struct {
		spec     Spec
		attempts int
	}{{Spec{}, 1}, {Spec{Idempotent: true}, DefaultAttempts}, {Spec{Idempotent: true, MaxAttempts: 7}, 7}} {
		if i := New(c.spec, t0); i.MaxAttempts != c.attempts || i.Priority != api.PriorityNormal || !i.ExpiresAt.Equal(t0.Add(DefaultLifetime)) {
			t.Errorf("New(%+v) = %+v", c.spec, i)
		}
	}
}

func TestTargetFits(t *testing.T) {
	for _, c := range []struct {
		target Target
		want   bool
	}{
		{Target{}, true},
		{Target{Agents: []api.AgentID{"b", "a"}}, true},
		{Target{Agents: []api.AgentID{"b"}}, false},
		{Target{Host: "h"}, true},
		{Target{Host: "i"}, false},
		{Target{Tags: []string{"y", "x"}}, true},
		{Target{Tags: []string{"x", "z"}}, false},
		{Target{Agents: []api.AgentID{"a"}, Host: "i"}, false},
	} {
		if got := c.target.Fits("a", "h", []string{"x", "y"}); got != c.want {
			t.Errorf("%+v fits: %v, want %v", c.target, got, c.want)
		}
	}
}
