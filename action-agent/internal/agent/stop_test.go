//go:build unix

package agent

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// A plugin that says nothing hears of a cancellation as well.
func TestCancel(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"gated": gated}, "").start()
	o.offer(order("a", "gated"))
	r.file("ran-a")
	o.change(func() { o.cancel["a"] = true })
	o.outcome("a", api.Cancelled)
	r.gone("a")
}

// Whoever has lost the lease stops: another agent may be at it.
func TestALostLeaseStopsThePlugin(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"chatty": chatty}, "").start()
	o.on(progress, "a", always(api.Errorf(api.CodeConflict, "stale lease")))
	o.offer(order("a", "chatty"))
	r.file("ran-a")
	got := o.outcome("a", api.Interrupted)
	r.gone("a")
	same(t, "details", `{"started":true}`, string(got.ErrorDetails))
	if !strings.Contains(got.ErrorMessage, "not this agent's any more") {
		t.Errorf("the reason is %q", got.ErrorMessage)
	}
}

// A short lease is renewed more often than others are.
func TestAShortLeaseIsKept(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"gated": gated}, "").start()
	short := order("a", "gated")
	short.LeaseSeconds = 3
	o.offer(short)
	r.file("ran-a")
	begin := time.Now()
	o.await(progress, "a", 2)
	if took := time.Since(begin); took > renewEvery-time.Second {
		t.Errorf("a lease of 3s was renewed twice within %s", took)
	}
	r.open("go-a")
	o.outcome("a", api.Completed)
}

// The lease counts from when it was asked for: an answer that was long on its way, or an agent that
// stood still, leaves less of it.
func TestALeaseThatCameLateIsRenewedAtOnce(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	install(t, o, map[string]string{"short": "time.sleep(0.8)"}, "").start()
	late := order("a", "short")
	late.LeaseSeconds = 3
	o.on(claim, "a", func(int, seen) error { time.Sleep(1500 * time.Millisecond); return nil })
	o.offer(late)
	o.outcome("a", api.Completed)
	if len(o.of(progress, "a")) == 0 {
		t.Error("half of the lease was over when it began, and it was not renewed within 0.8 s")
	}
}

// What is not leased any more when it is about to start may be another agent's by now.
func TestAfterItsLeaseNothingStarts(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"quick": quick}, "").start()
	late := order("a", "quick")
	late.LeaseSeconds = 1
	o.on(claim, "a", func(int, seen) error { time.Sleep(1100 * time.Millisecond); return nil })
	o.offer(late)
	got := o.outcome("a", api.Interrupted)
	same(t, "details and runs", []any{`{"started":false}`, 0}, []any{string(got.ErrorDetails), r.runs("a")})
}

// An agent that stood still may be offered the next attempt before it knows that the last one is
// over: it stops that, and waits until nothing is left of it. A plugin that cleans up first shows
// whether the two were there at once.
func TestAttemptsOfOneAgentNeverOverlap(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"slow": `
import signal
def stop(*_):
    time.sleep(0.5)
    mark("order", "end")
    sys.exit(1)
signal.signal(signal.SIGTERM, stop)
mark("order", "begin")
gate("go-" + me)
`}, "").start()
	begun := func(n int) {
		await(t, "the begin of an attempt", func() bool { return strings.Count(r.file("order"), "begin") == n })
	}
	o.offer(order("a", "slow"))
	begun(1)
	second, third := order("a", "slow"), order("a", "slow")
	second.Attempt, third.Attempt = 2, 3
	o.offer(second, second) // under another lease, as the first ran out while it waited
	begun(2)
	o.offer(third, second) // it is had already, and stops nothing
	begun(3)
	r.open("go-a")
	var ends []string
	o.until("the result of attempt 3", func() bool {
		ends = nil
		for _, call := range o.of(result, "a") {
			ends = append(ends, fmt.Sprintf("%d %s", call.Result.Attempt, call.Result.Status))
		}
		return slices.ContainsFunc(ends, func(end string) bool { return strings.HasPrefix(end, "3") })
	})
	slices.Sort(ends)
	ends = slices.Compact(ends) // the second is told again, as it was offered again after its end
	same(t, "ends", []string{"1 interrupted", "2 interrupted", "3 completed"}, ends)
	same(t, "order", []string{"begin", "end", "begin", "end", "begin"}, strings.Fields(r.file("order")))
	if strings.Contains(r.log.String(), "the journal takes nothing") {
		t.Error("what had been taken while an offer of it waited was taken for trouble with the journal")
	}
}

// What ends while nobody listens is told when somebody does.
func TestTheOrchestratorIsAwayDuringTheRun(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"gated": gated}, "").start()
	o.offer(order("a", "gated"))
	r.file("ran-a")
	o.setAway(true)
	r.open("go-a")
	await(t, "the end in the journal", func() bool { return r.journalled("a", "ended") })
	same(t, "results so far", 0, len(o.of(result, "a")))
	o.setAway(false)
	same(t, "result", `{"went":"a"}`, string(o.outcome("a", api.Completed).Result))
	same(t, "runs", 1, r.runs("a"))
}

// SIGTERM: plugins are stopped, that is journalled and told, and the exit is a success.
func TestTheEndOfTheAgent(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"gated": gated}, "").start()
	o.offer(order("a", "gated"), order("b", "gated"))
	r.file("ran-a")
	r.file("ran-b")
	same(t, "exit code", 0, r.stop())
	for _, id := range []api.InstructionID{"a", "b"} {
		r.gone(id)
		same(t, "results of "+string(id)+" before the end", 1, len(o.of(result, id)))
		same(t, "details", `{"started":true}`, string(o.outcome(id, api.Interrupted).ErrorDetails))
	}
	if last := o.lastBeat(); last.Status != "offline" {
		t.Errorf("the last heartbeat says %s", last.Status)
	}
}

// A process that ended without telling leaves its journal to the next one.
func TestTheNextProcessTells(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*run){
		"crash":   (*run).kill,
		"in vain": func(r *run) { r.o.setAway(true); same(r.t, "exit code", 0, r.stop()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOrchestrator(t)
			r := install(t, o, map[string]string{"gated": gated}, "").start()
			o.on(claim, "claiming", always(api.Errorf(api.CodeUnavailable, "busy")))
			o.offer(order("running", "gated"), order("claiming", "gated"))
			r.file("ran-running")
			o.await(claim, "claiming", 2)
			end(r)
			o.setAway(false)
			r.start()
			same(t, "details of what ran", `{"started":true}`, string(o.outcome("running", api.Interrupted).ErrorDetails))
			same(t, "details of what did not", `{"started":false}`, string(o.outcome("claiming", api.Interrupted).ErrorDetails))
			same(t, "runs", []int{1, 0}, []int{r.runs("running"), r.runs("claiming")})
			r.gone("running")
		})
	}
}

// An orchestrator that hangs does not keep the end of a plugin out of the journal.
func TestAHangingReportDelaysNoResult(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"gated": "print('begun', file=sys.stderr)\n" + gated}, "").start()
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	o.on(progress, "a", func(int, seen) error { <-hang; return errCut })
	o.offer(order("a", "gated"))
	o.await(progress, "a", 1)
	r.open("go-a")
	begin := time.Now()
	o.outcome("a", api.Completed)
	if took := time.Since(begin); took > 3*time.Second { // api.timeout is 5 s
		t.Errorf("the result came after %v", took)
	}
}

// Every line arrives once, in progress or with the result, though calls fail, and though one arrives
// whose answer is lost: their numbers tell.
func TestEveryLineArrivesOnce(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	install(t, o, map[string]string{"counting": `
for n in range(60):
    print("line", n, file=sys.stderr)
    time.sleep(0.05)
`}, "").start()
	o.on(progress, "a", first(errAway, errCut))
	o.offer(order("a", "counting"))
	last := o.outcome("a", api.Completed)
	calls := o.of(progress, "a")
	if len(calls) < 2 || len(calls[1].Progress.ExecutionLog) < len(calls[0].Progress.ExecutionLog) {
		t.Fatalf("%d reports of progress; the second has to bring what the first could not", len(calls))
	}
	var got, want []string
	take := func(from int, lines []string) {
		if from < 1 || from > len(got)+1 {
			t.Fatalf("lines from %d on, after %d lines", from, len(got))
		}
		got = append(got[:from-1], lines...)
	}
	for _, c := range calls[1:] {
		take(c.Progress.LogFrom, c.Progress.ExecutionLog)
	}
	take(last.LogFrom, last.ExecutionLog)
	for n := range 60 {
		want = append(want, fmt.Sprint("info: line ", n))
	}
	same(t, "lines", want, got)
}
