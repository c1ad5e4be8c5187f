//go:build unix

package agent

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stavily/agents/shared/pkg/api"
)

// Programs of plugins.
const (
	quick = `
print("a line", file=sys.stderr)
print(json.dumps({"input": json.load(open(os.environ["STAVILY_INPUT_FILE"]))["input_data"]}))
`
	gated = `
gate("go-" + me)
print(json.dumps({"went": me}))
`
	chatty = `
while True:
    print("still here", file=sys.stderr)
    time.sleep(0.02)
`
)

func order(id, plugin string) api.Instruction {
	return api.Instruction{
		ID: api.InstructionID(id), AgentID: agentID, PluginID: api.PluginID(plugin), InstructionType: "workflow",
		TimeoutSeconds: 60, ExpiresInSeconds: 60, Attempt: 1, Lease: "lease-of-" + id,
		InputData: map[string]json.RawMessage{"id": json.RawMessage(`"` + id + `"`)},
	}
}

// always gives every call the same answer.
func always(err error) reply { return func(int, seen) error { return err } }

// first gives the first calls these answers, and yes to those that follow.
func first(errs ...error) reply {
	return func(n int, _ seen) error {
		if n <= len(errs) {
			return errs[n-1]
		}
		return nil
	}
}

// journalled reports whether the journal on disk has an attempt in a phase.
func (r *run) journalled(id api.InstructionID, phase string) bool {
	r.t.Helper()
	segments, err := filepath.Glob(filepath.Join(r.base, "data", "journal", "*"))
	if err != nil {
		r.t.Error(err)
	}
	for _, s := range segments {
		text, err := os.ReadFile(s)
		if err != nil {
			r.t.Error(err)
		}
		if strings.Contains(string(text), `{"id":"`+string(id)+`","attempt":1,"phase":"`+phase) {
			return true
		}
	}
	return false
}

// The main job: every step is on disk before the one after it.
func TestAnOfferRuns(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"quick": quick}, "").start()
	o.on(claim, "a", func(int, seen) error {
		if !r.journalled("a", "accepted") || r.runs("a") > 0 {
			t.Error("claimed before it was journalled, or after it ran")
		}
		return nil
	})
	o.on(result, "a", func(int, seen) error {
		if !r.journalled("a", "started") || !r.journalled("a", "ended") {
			t.Error("reported before it was journalled")
		}
		return nil
	})
	o.offer(order("a", "quick"))
	got := o.outcome("a", api.Completed)
	same(t, "result", `{"input":{"id":"a"}}`, string(got.Result))
	same(t, "log", []string{"info: a line"}, got.ExecutionLog)
	same(t, "attempt and lease", []any{1, "lease-of-a"}, []any{got.Attempt, got.Lease})
	same(t, "exit code", 0, *got.ExitCode)
	c := o.of(claim, "a")[0].Progress
	same(t, "claim", api.Progress{Status: api.Executing, Attempt: 1, Lease: "lease-of-a", BootID: c.BootID}, c)
	same(t, "runs", 1, r.runs("a"))
	if got.Plugin == nil || got.Plugin.Version != "1.2.0" || got.Sandbox == nil || got.StartedAt.IsZero() || got.FinishedAt.Before(got.StartedAt.Time) {
		t.Errorf("what ran, how it was confined and when is missing: %+v", got)
	}
}

// While a claim is under way all that the process needs is prepared, and nothing is started.
func TestWhatAClaimIsForIsPreparedMeanwhile(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"quick": quick}, "").start()
	var claimed time.Time
	o.on(claim, "a", func(int, seen) error {
		await(t, "the directory with the input", func() bool {
			found, err := filepath.Glob(filepath.Join(r.base, "tmp", "run-quick-*", "input.json"))
			return err == nil && len(found) == 1
		})
		if r.journalled("a", "started") || r.runs("a") > 0 {
			t.Error("it is on record as started, or was, before there was the right to")
		}
		claimed = time.Now()
		return nil
	})
	o.offer(order("a", "quick"))
	if got := o.outcome("a", api.Completed); got.StartedAt.Before(claimed.Truncate(time.Millisecond)) {
		t.Errorf("it tells that it started at %v, before the claim's answer at %v", got.StartedAt, claimed)
	}
}

// What the wire asks for is held against what is installed before anything is claimed.
func TestWhatDoesNotFitIsRejected(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"quick": quick, "unbounded": quick}, "max_concurrent: 2")
	write(t, filepath.Join(r.base, "data", "plugins", "unbounded", "plugin.yaml"),
		"{id: unbounded, version: 1.2.0, type: action, runtime: {type: python, entry_point: main.py, contract: script}, permissions: {network: [443]}}")
	r.start()
	change := func(id string, f func(*api.Instruction)) api.Instruction {
		i := order(id, "quick")
		f(&i)
		return i
	}
	wrong := map[api.InstructionID]string{
		"unknown": "nowhere is not installed", "version": "1.2.0 and ^2 is asked for", "no-version": "is no constraint",
		"digest": "sha256:0 is asked for", "sandbox": `needs sandbox "vault"`, "network": "set security.sandbox.allow_port_level_egress", "type": `"uninstall" is not taken`, "name": "plugin id",
	}
	o.offer(
		change("unknown", func(i *api.Instruction) { i.PluginID = "nowhere" }),
		change("version", func(i *api.Instruction) { i.PluginConfiguration.Version = "^2" }),
		change("no-version", func(i *api.Instruction) { i.PluginConfiguration.Version = "latest?" }),
		change("digest", func(i *api.Instruction) { i.PluginConfiguration.Digest = "sha256:0" }),
		change("sandbox", func(i *api.Instruction) { i.SandboxMinimum = "vault" }),
		change("network", func(i *api.Instruction) { i.PluginID = "unbounded" }),
		change("type", func(i *api.Instruction) { i.InstructionType = "uninstall" }),
		change("name", func(i *api.Instruction) { i.PluginID = "../quick" }),
	)
	for id, why := range wrong {
		if got := o.outcome(id, api.Rejected); !strings.Contains(got.ErrorMessage, why) {
			t.Errorf("%s: the reason is %q, want %q", id, got.ErrorMessage, why)
		}
		same(t, "claims and runs of "+string(id), []int{0, 0}, []int{len(o.of(claim, id)), r.runs(id)})
	}
	// One at the start, one because the orchestrator was wrong about the sandbox.
	o.until("two heartbeats", func() bool { o.mu.Lock(); defer o.mu.Unlock(); return len(o.beats) > 1 })
	o.offer(change("fits", func(i *api.Instruction) {
		i.PluginConfiguration.Version, i.PluginConfiguration.Digest = "~1.2", o.beats[0].Plugins[0].Digest
		i.SandboxMinimum = o.beats[0].Sandbox.Level
	}))
	o.outcome("fits", api.Completed)
}

// What comes of a claim decides whether the plugin runs.
func TestClaims(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"quick": quick}, "").start()
	o.on(claim, "theirs", first(api.Errorf(api.CodeConflict, "stale lease")))
	o.on(claim, "unheard", first(errCut, errCut, api.Errorf(api.CodeUnavailable, "busy")))
	o.on(claim, "late", always(api.Errorf(api.CodeUnavailable, "busy")))
	late := order("late", "quick")
	late.ExpiresInSeconds = 1
	o.on(claim, "slow", func(int, seen) error { time.Sleep(1100 * time.Millisecond); return nil }) // a right that comes too late is none
	slow := order("slow", "quick")
	slow.ExpiresInSeconds = 1
	o.offer(order("theirs", "quick"), order("unheard", "quick"), late, slow)

	o.outcome("unheard", api.Completed)
	claims := o.of(claim, "unheard")
	same(t, "claims of unheard", 4, len(claims))
	for _, c := range claims {
		same(t, "a repeated claim", claims[0].Progress, c.Progress)
	}
	same(t, "runs of unheard", 1, r.runs("unheard"))

	o.outcome("slow", api.Expired)
	same(t, "runs of slow", 0, r.runs("slow"))
	got := o.outcome("late", api.Expired)
	same(t, "the expired one", []any{0, 1, "lease-of-late"}, []any{r.runs("late"), got.Attempt, got.Lease})

	same(t, "the refused one", []int{1, 0, 0}, []int{len(o.of(claim, "theirs")), r.runs("theirs"), len(o.of(result, "theirs"))})
	again := order("theirs", "quick") // it never ran, so the same attempt may be offered under a new lease
	again.Lease = "another"
	o.offer(again)
	same(t, "lease of the second offer", "another", o.outcome("theirs", api.Completed).Lease)
	same(t, "runs of theirs", 1, r.runs("theirs"))
}

// Who finds no memory waits unclaimed, can expire meanwhile, and runs when there is some.
func TestWhoFindsNoMemoryWaits(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"gated": gated, "quick": quick}, "\nplugins: {max_memory: 128MB, total_memory: 200MB}").start()
	o.offer(order("holds", "gated"))
	r.file("ran-holds")
	late := order("late", "quick")
	late.ExpiresInSeconds = 1
	o.offer(order("waits", "quick"), late)
	o.outcome("late", api.Expired)
	same(t, "claims while nobody had room", []int{0, 0}, []int{len(o.of(claim, "waits")), len(o.of(claim, "late"))})
	o.until("a heartbeat tells who waits", func() bool {
		return slices.ContainsFunc(o.lastBeat().Health.Conditions, func(c api.Condition) bool { return c.Name == "plugin_memory" })
	})
	r.open("go-holds")
	o.outcome("holds", api.Completed)
	o.outcome("waits", api.Completed)
}

// An attempt that ran here never runs again, whoever offers it and when.
func TestTheSameAttemptDoesNotRunTwice(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"quick": quick, "gated": gated}, "").start()
	o.offer(order("a", "gated"))
	r.file("ran-a")
	o.offer(order("a", "gated")) // while it runs
	r.open("go-a")
	o.outcome("a", api.Completed)
	o.offer(order("a", "gated")) // after it was reported
	o.offer(order("b", "quick"))
	o.outcome("b", api.Completed) // offers come in their order
	r.kill()
	r.start()
	o.offer(order("a", "gated"), order("c", "quick")) // to the next process
	o.outcome("c", api.Completed)
	same(t, "claims and runs", []int{1, 1}, []int{len(o.of(claim, "a")), r.runs("a")})

	next := order("a", "gated")
	next.Attempt, next.Lease = 2, "second"
	o.offer(next)
	o.until("the next attempt", func() bool {
		all := o.of(result, "a") // with what is said of those offered again
		last := all[len(all)-1].Result
		return last.Lease == "second" && last.Status == api.Completed
	})
}

// An orchestrator that offers it under another lease does not know of it: it was restored from a
// backup, or refused a result in doubt as one of an old lease. Who only kept silent would be
// offered it until it expires.
func TestWhatMayHaveRunIsSaidUnderTheNewLease(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"quick": quick}, "").start()
	o.offer(order("a", "quick"))
	o.outcome("a", api.Completed)
	again := order("a", "quick")
	again.Lease = "another"
	var told []seen
	for end := time.Now().Add(patience); len(told) < 2 && time.Now().Before(end); told = o.of(result, "a") {
		o.offer(again) // the record of the first answer may be on its way
		time.Sleep(100 * time.Millisecond)
	}
	if len(told) < 2 {
		t.Fatal("nothing was said of it")
	}
	last := told[1].Result
	same(t, "result", []string{"interrupted", "another", `{"started":true}`}, []string{string(last.Status), last.Lease, string(last.ErrorDetails)})
	same(t, "claims and runs", []int{1, 1}, []int{len(o.of(claim, "a")), r.runs("a")})
}

// A result is sent until the orchestrator has the last word about it.
func TestResultsAreSentUntilTheLastWord(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"quick": quick}, "").start()
	o.on(result, "lost", first(errCut, errAway, errCut))
	o.on(result, "unknown", always(api.Errorf(api.CodeNotFound, "no such instruction")))
	o.on(result, "theirs", always(api.Errorf(api.CodeConflict, "another attempt")))
	o.on(result, "over", always(api.Errorf(api.CodeGone, "has another outcome")))
	o.offer(order("lost", "quick"), order("unknown", "quick"), order("theirs", "quick"), order("over", "quick"))
	sent := o.await(result, "lost", 4)
	for _, s := range sent {
		same(t, "a repeated result", sent[0].Result, s.Result)
	}
	for _, id := range []api.InstructionID{"unknown", "theirs", "over"} {
		o.await(result, id, 1)
	}
	o.offer(order("after", "quick"))
	o.outcome("after", api.Completed)
	await(t, "the acknowledgement in the journal", func() bool { return r.journalled("after", "reported") })
	same(t, "exit code", 0, r.stop())
	r.start()
	o.offer(order("next", "quick"))
	o.outcome("next", api.Completed)
	for id, n := range map[api.InstructionID]int{"lost": 4, "unknown": 1, "theirs": 1, "over": 1, "after": 1} {
		same(t, "results sent for "+string(id), n, len(o.of(result, id)))
		same(t, "runs of "+string(id), 1, r.runs(id))
	}
}

// One result that the orchestrator stumbles over, or that a proxy does not let through, holds up no
// other that waits behind it.
func TestOneResultDoesNotHoldUpTheOthers(t *testing.T) {
	for name, refusal := range map[string]error{"a defect": api.Errorf(api.CodeInternal, "a defect"), "a proxy": errProxy} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOrchestrator(t)
			r := install(t, o, map[string]string{"quick": quick, "gated": gated}, "max_concurrent: 1").start() // so that results are told one by one
			for _, id := range []api.InstructionID{"poison", "venom"} {
				o.on(result, id, always(refusal))
				o.offer(order(string(id), "quick"))
				o.await(result, id, 1)
			}
			o.offer(order("good", "gated"))
			r.file("ran-good")
			o.setAway(true)
			r.open("go-good")
			await(t, "its end", func() bool { return r.journalled("good", "ended") })
			r.kill()
			o.setAway(false)
			r.start()
			o.outcome("good", api.Completed)
			o.await(result, "poison", len(o.of(result, "poison"))+1) // and it is still tried
		})
	}
}

// Results that wait are under way together: one after the other they would take a round trip each.
func TestResultsAreSentTogether(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"gated": gated}, "").start()
	ids := []api.InstructionID{"a", "b", "c"}
	for _, id := range ids {
		o.on(result, id, func(int, seen) error {
			for _, other := range ids {
				o.await(result, other, 1)
			}
			return nil
		})
		o.offer(order(string(id), "gated"))
		r.file("ran-" + string(id))
	}
	o.setAway(true)
	for _, id := range ids {
		r.open("go-" + string(id))
		await(t, "the end of "+string(id), func() bool { return r.journalled(id, "ended") })
	}
	o.setAway(false)
	for _, id := range ids {
		o.outcome(id, api.Completed)
	}
}

// Results of one instruction are told in their order, also where one could not be told at once.
func TestResultsOfOneInstructionGoInTheirOrder(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"gated": gated}, "").start()
	var bothWait, firstTold atomic.Bool
	o.on(result, "a", func(_ int, s seen) error {
		switch {
		case !bothWait.Load():
			bothWait.Store(s.Result.Attempt == 2)
			return api.Errorf(api.CodeInternal, "a defect")
		case s.Result.Attempt == 1:
			time.Sleep(200 * time.Millisecond)
			firstTold.Store(true)
		case !firstTold.Load():
			t.Error("the second result was told before the first")
		}
		return nil
	})
	o.offer(order("a", "gated"))
	r.file("ran-a")
	second := order("a", "gated")
	second.Attempt = 2
	o.offer(second)
	await(t, "the second attempt", func() bool { return r.runs("a") == 2 })
	r.open("go-a")
	o.until("both are told", func() bool {
		told := o.of(result, "a")
		return firstTold.Load() && told[len(told)-1].Result.Attempt == 2
	})
}

// At most max_concurrent run, and a free place is used as soon as there is one.
func TestConcurrency(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"gated": gated}, "max_concurrent: 2").start()
	ids := []api.InstructionID{"a", "b", "c", "d", "e"}
	open := func() (n int) {
		for _, id := range ids {
			if len(o.of(claim, id)) > 0 && !r.journalled(id, "ended") { // a place is free when its run has ended, told or not
				n++
			}
		}
		return n
	}
	for _, id := range ids {
		o.on(claim, id, func(int, seen) error {
			if open() > 2 {
				t.Errorf("%s was claimed while two ran", id)
			}
			return nil
		})
		o.offer(order(string(id), "gated"))
	}
	for range ids {
		o.until("two to run, or all the rest", func() bool {
			return open() == 2 || slices.IndexFunc(ids, func(id api.InstructionID) bool { return len(o.of(claim, id)) == 0 }) < 0
		})
		for _, id := range ids {
			if len(o.of(claim, id)) == 1 && len(o.of(result, id)) == 0 {
				r.open("go-" + string(id))
				o.outcome(id, api.Completed)
				break
			}
		}
	}
}

// What is too large for the wire stands in a file for a week, and no longer.
func TestLargeResultsAreNotKeptForEver(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"large": `print(json.dumps({"text": "x" * 400000}))`}, "").start()
	kept := func() (out []string) {
		files, err := filepath.Glob(filepath.Join(r.base, "data", "cache", "result-*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			out = append(out, filepath.Base(file))
		}
		return out
	}
	age := func(name string) {
		old := time.Now().Add(-8 * 24 * time.Hour)
		if err := os.Chtimes(filepath.Join(r.base, "data", "cache", name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	o.offer(order("one", "large"))
	o.await(result, "one", 1)
	same(t, "kept", []string{"result-one.json"}, kept())
	age("result-one.json")
	o.offer(order("two", "large"))
	o.await(result, "two", 1)
	same(t, "kept beside a new one", []string{"result-two.json"}, kept())
	age("result-two.json")
	same(t, "exit code", 0, r.stop())
	r.start()
	await(t, "the start to remove it", func() bool { return len(kept()) == 0 })
}
