//go:build unix

package agent

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stavily/agents/shared/pkg/agent"
	"github.com/stavily/agents/shared/pkg/api"
)

// An action that prints more than one report takes goes on, and all its lines arrive.
func TestALoudActionGoesOn(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"loud": `
for n in range(300):
    print("x" * 4000, file=sys.stderr)
gate("go")
print(json.dumps({"done": True}))
`}, "").start()
	o.offer(order("one", "loud"))
	told := 0
	o.until("all lines", func() bool {
		told = 0
		for _, c := range o.of(progress, "one") {
			if len(c.Progress.ExecutionLog) > 0 && c.Progress.LogFrom != told+1 {
				t.Fatalf("%d lines from %d, want them from %d", len(c.Progress.ExecutionLog), c.Progress.LogFrom, told+1)
			}
			told += len(c.Progress.ExecutionLog)
		}
		return told == 300
	})
	r.open("go")
	o.outcome("one", api.Completed)
}

// What an action printed in its last second is more than goes with its result, as it is or as JSON.
func TestALoudActionThatIsQuick(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{
		"text":   `sys.stderr.write(("x" * 4000 + "\n") * 600); print(json.dumps({"done": True}))`,
		"binary": `sys.stderr.write(("\0" * 8000 + "\n") * 600); print(json.dumps({"done": True}))`,
	}, "")
	o.on(progress, "binary", always(errAway))
	r.start()
	for _, id := range []string{"text", "binary"} {
		o.offer(order(id, id))
		got := o.outcome(api.InstructionID(id), api.Completed)
		if n := len(got.ExecutionLog); n < 10 || !strings.HasSuffix(got.ExecutionLog[n-1], "lines are left out here; logs/plugins on the host has them") {
			t.Errorf("%s: %d lines, want the first of them and a remark", id, n)
		}
		same(t, "result", `{"done":true}`, string(got.Result))
	}
}

// A result that is full of what JSON for HTML escapes is sent as it is.
func TestAResultOfHTML(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	install(t, o, map[string]string{"html": `print(json.dumps({"page": "<p>&</p>" * 30000}))`}, "").start()
	o.offer(order("one", "html"))
	got := o.outcome("one", api.Completed)
	same(t, "result", `{"page":"`+strings.Repeat("<p>&</p>", 30000)+`"}`, string(got.Result))
}

// What is refused for what is in it is sent with less: that it ended, and how, is known at least.
func TestARefusedResultIsSentWithoutItsDataAndLog(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"quick": quick}, "").start()
	for id, code := range map[api.InstructionID]api.Code{"large": api.CodeTooLarge, "malformed": api.CodeMalformed, "invalid": api.CodeInvalid} {
		o.on(result, id, first(api.Errorf(code, "not like this")))
		o.offer(order(string(id), "quick"))
		calls := o.await(result, id, 2)
		whole, bare := calls[0].Result, calls[1].Result
		var marker struct {
			Truncated    bool
			Reason, File string
		}
		if err := json.Unmarshal(bare.Result, &marker); err != nil || !marker.Truncated || !strings.Contains(marker.Reason, "not like this") {
			t.Errorf("%s: its data are %s (%v)", id, bare.Result, err)
		}
		kept, err := os.ReadFile(marker.File)
		same(t, "kept data", string(whole.Result), strings.ReplaceAll(string(kept), `": `, `":`))
		if err != nil || len(bare.ExecutionLog) != 1 || !strings.HasPrefix(bare.ExecutionLog[0], "agent: 1 lines are left out here") {
			t.Errorf("%s: its log is %q (%v)", id, bare.ExecutionLog, err)
		}
		bare.Result, bare.ExecutionLog = whole.Result, whole.ExecutionLog
		same(t, "all else", whole, bare)
		await(t, "the end of it", func() bool { return r.journalled(id, "reported") })
	}

	o.on(result, "never", always(api.Errorf(api.CodeInvalid, "not at all")))
	o.offer(order("never", "quick"))
	await(t, "the end of it", func() bool { return r.journalled("never", "reported") })
	same(t, "calls", 2, len(o.of(result, "never")))
}

// A result that is too large for a proxy is sent with less too. What is too large for it even then is kept
// until its limit is raised, and holds up no other.
func TestAProxyThatTakesLittle(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"quick": quick, "talker": `
print("bad", file=sys.stderr)
gate("go")
print(json.dumps({"went": me}))
`}, "").start()
	o.on(result, "large", first(errProxy))
	o.offer(order("large", "quick"))
	var marker struct{ Truncated bool }
	if bare := o.await(result, "large", 2)[1].Result; json.Unmarshal(bare.Result, &marker) != nil || !marker.Truncated {
		t.Errorf("its data are %s", bare.Result)
	}

	o.on(result, "stuck", always(errProxy))
	o.offer(order("stuck", "quick"))
	o.await(result, "stuck", 4)
	o.offer(order("other", "quick"))
	o.outcome("other", api.Completed)
	if r.journalled("stuck", "reported") {
		t.Error("a result that nobody took is given up")
	}
	o.on(result, "stuck", first())
	await(t, "its end", func() bool { return r.journalled("stuck", "reported") })

	o.on(progress, "loud", first(errProxy))
	o.offer(order("loud", "talker"))
	if lines := o.await(progress, "loud", 2)[1].Progress.ExecutionLog; len(lines) != 1 || !strings.HasPrefix(lines[0], "agent: 1 lines are left out here") {
		t.Errorf("after a report that was too large it says %q", lines)
	}
	r.open("go")
	o.outcome("loud", api.Completed)
}

// A report that is refused for what is in it ends no run: only its lines are left out.
func TestARefusedReportEndsNoRun(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"talker": `
print("bad", file=sys.stderr)
gate("more")
print("good", file=sys.stderr)
gate("go")
print(json.dumps({"went": me}))
`}, "").start()
	o.on(progress, "one", first(api.Errorf(api.CodeTooLarge, "no"), api.Errorf(api.CodeMalformed, "no"), api.Errorf(api.CodeInvalid, "no")))
	o.offer(order("one", "talker"))
	o.await(progress, "one", 4)
	r.open("more")
	o.until("what comes later", func() bool {
		return slices.ContainsFunc(o.of(progress, "one"), func(c seen) bool { return slices.Contains(c.Progress.ExecutionLog, "info: good") })
	})
	r.open("go")
	o.outcome("one", api.Completed)
	lines := o.of(progress, "one")[3].Progress.ExecutionLog
	if len(lines) != 1 || !strings.HasPrefix(lines[0], "agent: 1 lines are left out here") {
		t.Errorf("after what was refused it says %q", lines)
	}
}

// asBoastful is an agent whose plugins have results over what a journal takes in a record.
const asBoastful = "boastful"

type boast struct{ Host }

func (b boast) Execute(ctx context.Context, t agent.Task) api.Result {
	r := b.Host.Execute(ctx, t)
	r.Result, _ = json.Marshal(strings.Repeat("x", 17<<20))
	return r
}

func boastful(rt *agent.Runtime) ([]agent.Component, error) { return Components(rt, boast{rt.Plugins}) }

// A result that no journal takes as a whole is journalled without what makes it so large, and its slot
// is free again.
func TestAResultThatNoJournalTakes(t *testing.T) {
	t.Parallel()
	o := newOrchestrator(t)
	r := install(t, o, map[string]string{"quick": quick}, "max_concurrent: 1")
	r.env = []string{asAgent + "=" + asBoastful}
	r.start()
	for _, id := range []string{"one", "two"} {
		o.offer(order(id, "quick"))
		got := o.outcome(api.InstructionID(id), api.Completed)
		if !strings.Contains(string(got.Result), `"truncated":true`) {
			t.Errorf("its data are %.80s", got.Result)
		}
		kept, err := os.Stat(filepath.Join(r.base, "data", "cache", "result-"+id+"-refused.json"))
		if err != nil || kept.Size() != 17<<20+2 {
			t.Errorf("its data are not kept: %v", err)
		}
	}
}
