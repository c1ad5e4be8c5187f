package instruction

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stavily/agents/shared/pkg/api"
)

// tenure is what an agent was offered, or makes up.
type tenure struct {
	agent   api.AgentID
	attempt int
	lease   string
}

// world drives an instruction with whatever agents may send, and remembers what
// the promises are about.
type world struct {
	i   Instruction
	now time.Time

	offers []tenure           // all that were ever made
	starts map[int]startClaim // by attempt: who was told to run
	over   map[int]bool       // attempts that are known to be over, or lost and idempotent
	ran    map[int]bool       // of those, the ones that may have run something
	ended  int                // effects
	late   int
	final  *api.Result // the first that a terminal state kept
}

type startClaim struct {
	tenure
	boot string
}

const ttl = 10 * time.Second

func newWorld(t *rapid.T) *world {
	spec := Spec{
		ID: "i", Plugin: "p", ExpiresAt: t0.Add(time.Duration(rapid.IntRange(5, 120).Draw(t, "lifetime")) * time.Second),
		Idempotent: rapid.Bool().Draw(t, "idempotent"), MaxAttempts: rapid.IntRange(0, 3).Draw(t, "max attempts"),
	}
	return &world{i: New(spec, t0), now: t0, starts: map[int]startClaim{}, over: map[int]bool{}, ran: map[int]bool{}}
}

// somebody is the holder of an offer, of an old one, or nobody who ever was.
func (w *world) somebody(t *rapid.T) tenure {
	if len(w.offers) == 0 || rapid.IntRange(0, 5).Draw(t, "made up") == 0 {
		return tenure{rapid.SampledFrom([]api.AgentID{"a", "b"}).Draw(t, "agent"), rapid.IntRange(0, 3).Draw(t, "attempt"), rapid.SampledFrom([]string{"", "wrong"}).Draw(t, "lease")}
	}
	o := w.offers[max(0, len(w.offers)-1-rapid.IntRange(0, 2).Draw(t, "age"))]
	if rapid.IntRange(0, 9).Draw(t, "plain") == 0 {
		o.attempt, o.lease = 0, ""
	}
	return o
}

func (w *world) current(who tenure) bool {
	return who.agent == w.i.Agent && (who.attempt == 0 || who.attempt == w.i.Attempt) && (who.lease == "" || who.lease == w.i.Lease)
}

// step takes an input and checks what must hold of every step.
func (w *world) step(t *rapid.T, in Input) *api.Error {
	before := w.i
	next, effects, refusal := Step(before, in)
	if refusal != nil {
		if !cmp.Equal(before, next) || effects != nil {
			t.Fatalf("%T was refused and still changed something:\n%s", in, cmp.Diff(before, next))
		}
		return refusal
	}
	w.i = next
	for _, e := range effects {
		switch e.(type) {
		case Ended:
			w.ended++
		case Late:
			w.late++
		case Wake:
			if next.Status != api.Pending {
				t.Fatalf("%T wakes polls for an instruction that is %s", in, next.Status)
			}
		}
	}
	if next.Status.Terminal() != (w.ended == 1) || w.ended > 1 || w.late > 1 {
		t.Fatalf("%T: %s with %d × Ended, %d × Late", in, next.Status, w.ended, w.late)
	}
	if before.Status.Terminal() && !(before.Status == api.Interrupted && before.LostAgent && before.Result == nil) && !cmp.Equal(before, next) {
		t.Fatalf("%T changed what had ended:\n%s", in, cmp.Diff(before, next))
	}
	if next.Attempt != before.Attempt && (next.Attempt != before.Attempt+1 || !w.over[before.Attempt]) {
		t.Fatalf("%T: attempt %d follows %d, which is not over", in, next.Attempt, before.Attempt)
	}
	if next.Due().IsZero() != next.Status.Terminal() {
		t.Fatalf("%T: %s is due at %v", in, next.Status, next.Due())
	}
	return nil
}

func (w *world) offer(t *rapid.T) {
	in := Offer{Agent: rapid.SampledFrom([]api.AgentID{"a", "b"}).Draw(t, "agent"), Lease: fmt.Sprint("lease", len(w.offers)), Now: w.now, TTL: ttl}
	waiting := w.i.Status == api.Pending
	if refusal := w.step(t, in); refusal == nil {
		if !waiting {
			t.Fatalf("offered, though it was not waiting")
		}
		w.offers = append(w.offers, tenure{in.Agent, w.i.Attempt, in.Lease})
	}
}

func (w *world) claim(t *rapid.T) {
	who := w.somebody(t)
	claim := startClaim{who, rapid.SampledFrom([]string{"boot 1", "boot 2"}).Draw(t, "boot")}
	in := Claim{Agent: who.agent, Attempt: who.attempt, Lease: who.lease, BootID: claim.boot, Now: w.now, TTL: ttl}
	before, current := w.i, w.current(who)
	if refusal := w.step(t, in); refusal != nil {
		if refusal.Code != api.CodeConflict {
			t.Fatalf("a claim was refused with %v, want a conflict", refusal)
		}
		return
	}
	first, started := w.starts[w.i.Attempt]
	switch {
	case !current:
		t.Fatalf("%+v claimed attempt %d under lease %s", who, w.i.Attempt, w.i.Lease)
	case started && (first.agent != who.agent || first.boot != claim.boot):
		t.Fatalf("attempt %d was started by %+v and then by %+v", w.i.Attempt, first, claim)
	case started && !cmp.Equal(before, w.i):
		t.Fatalf("the repeated claim got another answer:\n%s", cmp.Diff(before, w.i))
	case !started && (!w.now.Before(w.i.ExpiresAt) || !w.now.Before(before.LeaseUntil)):
		t.Fatalf("started at %v, after the lease %v or expiry %v", w.now, before.LeaseUntil, w.i.ExpiresAt)
	}
	w.starts[w.i.Attempt] = claim
}

func (w *world) report(t *rapid.T) {
	who := w.somebody(t)
	current, running := w.current(who), w.i.Status == api.Executing
	refusal := w.step(t, Report{Agent: who.agent, Attempt: who.attempt, Lease: who.lease, Now: w.now, TTL: ttl})
	if ok := refusal == nil; ok != (current && running) {
		t.Fatalf("report of %+v on %s: %v", who, w.i.Status, refusal)
	}
	if refusal != nil && !current && refusal.Code != api.CodeConflict {
		t.Fatalf("a report under a stale lease got %v, want a conflict", refusal)
	}
}

func (w *world) finish(t *rapid.T) {
	who := w.somebody(t)
	result := api.Result{Status: rapid.SampledFrom([]api.InstructionStatus{api.Completed, api.Failed, api.Interrupted, api.Interrupted, api.Rejected, api.Cancelled}).Draw(t, "status")}
	started := rapid.SampledFrom([]string{"", `{"started":true}`, `{"started":false}`}).Draw(t, "started")
	if started != "" {
		result.ErrorDetails = json.RawMessage(started)
	}
	in := Finish{Agent: who.agent, Attempt: who.attempt, Lease: who.lease, Result: result, Now: w.now}
	before, current := w.i, w.current(who)
	next, _, _ := Step(before, in)
	if result.Status == api.Interrupted && next.Spent && !before.Spent { // the first word on the attempt counts
		w.over[before.Attempt] = true
		w.ran[before.Attempt] = w.ran[before.Attempt] || started != `{"started":false}`
	}
	if refusal := w.step(t, in); refusal != nil {
		if want := api.CodeConflict; !current && refusal.Code != want {
			t.Fatalf("a result under a stale lease got %v, want %s", refusal, want)
		}
		return
	}
	if !current {
		t.Fatalf("the result of %+v was taken for attempt %d under lease %s", who, before.Attempt, before.Lease)
	}
	after := w.i
	if refusal := w.step(t, in); refusal != nil || !cmp.Equal(after, w.i) {
		t.Fatalf("the same result again: %v\n%s", refusal, cmp.Diff(after, w.i))
	}
}

func (w *world) cancel(t *rapid.T) {
	was := w.i.Status
	if refusal := w.step(t, Cancel{Now: w.now}); refusal != nil {
		t.Fatal(refusal)
	}
	if (was == api.Pending || was == api.Offered) && w.i.Status != api.Cancelled || was == api.Executing && !w.i.CancelRequested {
		t.Fatalf("cancelled while %s, it is %s", was, w.i.Status)
	}
}

func (w *world) tick(t *rapid.T) {
	w.now = w.now.Add(time.Duration(rapid.IntRange(0, 15).Draw(t, "seconds")) * time.Second)
	if rapid.IntRange(0, 2).Draw(t, "reaped") == 0 {
		return // time passes, and nobody looks
	}
	before := w.i
	if next, _, _ := Step(before, Tick{Now: w.now}); before.Status == api.Executing && next.Spent {
		w.over[before.Attempt] = before.Idempotent
		w.ran[before.Attempt] = true
	}
	if refusal := w.step(t, Tick{Now: w.now}); refusal != nil {
		t.Fatal(refusal)
	}
	if due := w.i.Due(); !due.IsZero() && !w.now.Before(due) {
		t.Fatalf("after a tick at %v it is still %s, due at %v", w.now, w.i.Status, due)
	}
}

// check holds what must be true between any two inputs.
func (w *world) check(t *rapid.T) {
	if w.i.Status.Terminal() && w.i.Result != nil {
		if w.final == nil {
			w.final = w.i.Result
		}
		if w.i.Result != w.final {
			t.Fatalf("the first final result was %v and now it is %v", w.final.Status, w.i.Result.Status)
		}
	}
	if w.i.Status == api.Executing {
		if _, claimed := w.starts[w.i.Attempt]; !claimed {
			t.Fatalf("attempt %d executes and nobody claimed it", w.i.Attempt)
		}
	}
	if w.i.Status == api.Expired && len(w.starts) > 0 {
		t.Fatalf("expired, though attempts %v were started", w.starts)
	}
	if w.i.Attempt > 1 && !w.i.Idempotent && w.ran[w.i.Attempt-1] {
		t.Fatalf("attempt %d follows one that may have run, of a step that is not idempotent", w.i.Attempt)
	}
	if n := countTrue(w.ran); n >= w.i.MaxAttempts {
		t.Fatalf("%d attempts that may have run are followed by another, of at most %d", n, w.i.MaxAttempts)
	}
}

func countTrue(m map[int]bool) (n int) {
	for _, v := range m {
		if v {
			n++
		}
	}
	return n
}

func TestMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		t.Repeat(map[string]func(*rapid.T){
			"offer": w.offer, "claim": w.claim, "report": w.report, "finish": w.finish, "cancel or not": func(t *rapid.T) {
				if rapid.IntRange(0, 4).Draw(t, "cancel") == 0 {
					w.cancel(t)
				}
			},
			"tick": w.tick, "": w.check,
		})
	})
}

func TestTakes(t *testing.T) {
	for _, c := range []struct {
		within, version string
		want            bool
	}{
		{"", "1.0.0", true}, // as what was stored before there was a range
		{"^2", "2.1.0", true},
		{"^2", "1.0.0", false},
		{"^2", "3.0.0-rc.1", false},
		{">=1, <3", "2.9.9", true},
		{"^2", "", true},
		{"^2", "newest", false},
		{"two", "1.0.0", true}, // the agent says what is wrong with it
	} {
		if got := (Target{Version: c.within}).Takes(c.version); got != c.want {
			t.Errorf("a target in %q takes %q: %v, want %v", c.within, c.version, got, c.want)
		}
	}
}
