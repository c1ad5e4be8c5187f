package engine

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/stavily/agents/orchestrator/internal/ca"
	"github.com/stavily/agents/orchestrator/internal/fsck"
	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/store/sqlite"
	"github.com/stavily/agents/shared/pkg/api"
	"github.com/stavily/agents/shared/pkg/pki"
)

const chain = `
name: chain
triggers:
  - event: test
actions:
  - {id: first, plugin: p, idempotent: true}
  - {id: second, plugin: p, needs: [first], sandbox: full}
  - {id: beside, plugin: p, sandbox: limited}
outputs:
  - {id: tell, plugin: p, "on": [completed, failed]}
`

// machine drives an engine with random inputs, restarts and pauses. It knows what a
// world of honest agents and lost answers may do, and holds the promises against it.
type machine struct {
	dir    string
	ca     *ca.Authority
	store  *sqlite.Store
	engine *Engine
	stop   func() error

	thorough bool // reads everything after every step

	seq     uint64
	offered []held                                      // every offer that was ever made
	claimed map[string]string                           // instruction and attempt → lease of the claim that was granted
	final   map[api.InstructionID]api.InstructionStatus // of results that were acknowledged first
	told    map[api.AgentID]api.SandboxLevel            // what each agent reported last
}

type held struct {
	agent pki.Identity
	api.Instruction
}

func identityOf(id api.AgentID, typ api.AgentType) pki.Identity {
	return pki.Identity{TrustDomain: ca.DefaultTrustDomain, Org: "default", Type: typ, Agent: id}
}

func (m *machine) open(t *rapid.T) {
	var err error
	if m.store, err = sqlite.Open(context.Background(), filepath.Join(m.dir, "stavily.db")); err != nil {
		t.Fatal(err)
	}
	m.engine = New(m.store, m.ca, Options{Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.engine.Run(ctx) }()
	m.stop = func() error {
		cancel()
		return errors.Join(<-ended, m.store.Close())
	}
}

func (m *machine) restart(t *rapid.T) {
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	m.open(t)
	m.sound(t)
}

// emit hands in an event, or one of the earlier ones again.
func (m *machine) emit(t *rapid.T) {
	seq := rapid.Uint64Range(1, m.seq+1).Draw(t, "seq")
	want := api.EventDuplicate
	if seq > m.seq {
		m.seq, want = seq, api.EventAccepted
	}
	answer, err := m.engine.Events(context.Background(), identityOf("s", api.Sensor), event(seq))
	if err != nil || answer.Events[0].Status != want || answer.AckedThrough != m.seq {
		t.Fatalf("event %d = %+v, %v, want %s and %d acknowledged", seq, answer, err, want, m.seq)
	}
}

func (m *machine) poll(t *rapid.T) {
	id := identityOf(rapid.SampledFrom([]api.AgentID{"a", "b"}).Draw(t, "agent"), api.Action)
	offers, err := m.engine.Poll(context.Background(), id, 0, rapid.IntRange(1, 3).Draw(t, "max"))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range offers {
		if time.Until(i.LeaseExpiresAt.Time) <= 0 {
			t.Fatalf("offered %s with a lease that is over", i.ID)
		}
		if i.SandboxMinimum != minimums[i.Context.Step] || !m.told[id.Agent].AtLeast(i.SandboxMinimum) {
			t.Fatalf("step %s, which needs %q, is offered with %q to agent %s, which reports %q", i.Context.Step, minimums[i.Context.Step], i.SandboxMinimum, id.Agent, m.told[id.Agent])
		}
		m.offered = append(m.offered, held{id, i})
	}
}

// minimums are those of the steps of chain.
var minimums = map[string]api.SandboxLevel{"second": api.SandboxFull, "beside": api.SandboxLimited}

// beat makes an agent report a level, often a good one, so that runs get on.
func (m *machine) beat(t *rapid.T) {
	id := identityOf(rapid.SampledFrom([]api.AgentID{"a", "b"}).Draw(t, "agent"), api.Action)
	h := api.Heartbeat{Status: StatusOnline}
	if level := rapid.SampledFrom([]api.SandboxLevel{api.SandboxFull, api.SandboxFull, api.SandboxLimited, api.SandboxNone, "", "vault"}).Draw(t, "level"); level != "" {
		h.Sandbox = &api.Posture{Level: level}
	}
	if _, err := m.engine.Heartbeat(context.Background(), id, h); err != nil {
		t.Fatal(err)
	}
	m.told[id.Agent] = ""
	if h.Sandbox != nil {
		m.told[id.Agent] = h.Sandbox.Level
	}
}

// pick chooses an offer, of any age.
func (m *machine) pick(t *rapid.T) held {
	if len(m.offered) == 0 {
		t.Skip("nothing was offered")
	}
	return m.offered[rapid.IntRange(0, len(m.offered)-1).Draw(t, "offer")]
}

func (m *machine) claim(t *rapid.T) {
	h := m.pick(t)
	_, err := m.engine.Progress(context.Background(), h.agent, h.ID, api.Progress{Status: api.Executing, Attempt: h.Attempt, Lease: h.Lease, BootID: string(h.agent.Agent)})
	if err != nil {
		if api.CodeOf(err) == "" {
			t.Fatal(err)
		}
		return
	}
	attempt := fmt.Sprint(h.ID, h.Attempt)
	if before, again := m.claimed[attempt]; again && before != h.Lease {
		t.Fatalf("attempt %d of %s was started twice", h.Attempt, h.ID)
	}
	m.claimed[attempt] = h.Lease
}

func (m *machine) result(t *rapid.T) {
	h := m.pick(t)
	if m.claimed[fmt.Sprint(h.ID, h.Attempt)] != h.Lease {
		t.Skip("an honest agent has a result only of what it started")
	}
	status := rapid.SampledFrom([]api.InstructionStatus{api.Completed, api.Failed, api.Interrupted}).Draw(t, "status")
	_, err := m.engine.Result(context.Background(), h.agent, h.ID, api.Result{Status: status, Attempt: h.Attempt, Lease: h.Lease})
	switch {
	case err != nil && api.CodeOf(err) == "":
		t.Fatal(err)
	case err != nil || status == api.Interrupted: // an interruption may be taken back by the next attempt
		return
	}
	if first, again := m.final[h.ID]; again && first != status {
		t.Fatalf("%s ended as %s and then as %s", h.ID, first, status)
	}
	m.final[h.ID] = status
}

func (m *machine) cancel(t *rapid.T) {
	runs := m.runs(t)
	if len(runs) == 0 {
		t.Skip("no runs")
	}
	run := runs[rapid.IntRange(0, len(runs)-1).Draw(t, "run")]
	if _, err := m.engine.CancelRun(context.Background(), "default", run.ID); err != nil && api.CodeOf(err) != api.CodeConflict {
		t.Fatal(err)
	}
}

func (m *machine) pass(t *rapid.T) {
	time.Sleep(time.Duration(rapid.IntRange(1, 90).Draw(t, "seconds")) * time.Second)
	synctest.Wait()
}

// sound holds after every restart and in the end, and after every step where many lives are
// asked for: to read everything takes more than all the rest.
func (m *machine) sound(t *rapid.T) {
	if report, err := fsck.Check(context.Background(), m.store); err != nil || len(report.Findings) > 0 {
		t.Fatalf("fsck: %v %v", report.Findings, err)
	}
}

// check holds after every step: nothing is half done.
func (m *machine) check(t *rapid.T) {
	if m.thorough {
		m.sound(t)
	}
	err := m.engine.View(context.Background(), "default", func(r store.Reader) error {
		runs, err := r.Runs(store.RunQuery{Limit: 1000})
		if err != nil {
			return err
		}
		if len(runs) != int(m.seq) {
			t.Fatalf("%d runs of %d events", len(runs), m.seq)
		}
		for _, run := range runs {
			if err := checkRun(t, r, run); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkRun(t *rapid.T, r store.Reader, run store.Run) error {
	history, err := r.History(run.ID)
	if err != nil {
		return err
	}
	kinds := map[string]int{}
	for n, h := range history {
		kinds[h.Kind]++
		if h.Seq != n+1 {
			t.Fatalf("run %s: row %d of the history has number %d", run.ID, n+1, h.Seq)
		}
	}
	instructions, err := r.RunInstructions(run.ID)
	if err != nil {
		return err
	}
	open := 0
	steps := map[string]bool{}
	for _, i := range instructions {
		if steps[i.Step] {
			t.Fatalf("run %s: two instructions for step %s", run.ID, i.Step)
		}
		steps[i.Step] = true
		if !i.Status.Terminal() {
			open++
		}
		checkLease(t, i)
	}
	if len(instructions) != kinds["step_dispatched"] {
		t.Fatalf("run %s: %d instructions for %d dispatched steps", run.ID, len(instructions), kinds["step_dispatched"])
	}
	finished := !run.FinishedAt.IsZero()
	if finished != (kinds["run_finished"] == 1) || finished && open > 0 || !finished && open == 0 {
		t.Fatalf("run %s: finished %v with %d open instructions and the history %v", run.ID, finished, open, kinds)
	}
	if kinds[kindAbandoned] > 0 {
		t.Fatalf("run %s was abandoned", run.ID)
	}
	return nil
}

// checkLease holds that the reaper is not behind: it runs as soon as a lease is over.
func checkLease(t *rapid.T, i instruction.Instruction) {
	const behind = 2 * time.Second
	if due := i.Due(); !due.IsZero() && time.Since(due) > behind {
		t.Fatalf("%s is %s, and was due %s ago", i.ID, i.Status, time.Since(due))
	}
}

// fewer lets this test run a part of the checks that others do: each is a whole server's life.
func fewer(t *testing.T, n *flag.Flag) {
	if err := n.Value.Set("40"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Value.Set(n.DefValue); err != nil {
			t.Error(err)
		}
	})
}

// TestAnySequence holds the promises under random inputs, lost answers, silent
// agents and restarts, and that in the end nothing is left open.
func TestAnySequence(t *testing.T) {
	n := flag.Lookup("rapid.checks")
	thorough := n.Value.String() != n.DefValue
	if !thorough {
		fewer(t, n) // `make sequences` runs many
	}
	rapid.Check(t, func(rt *rapid.T) {
		// rapid ends and shrinks a failed sequence by a panic, which must not leave the bubble.
		var failure any
		synctest.Test(t, func(t *testing.T) {
			defer func() { failure = recover() }()
			anySequence(t, rt, thorough)
		})
		if failure != nil {
			panic(failure)
		}
	})
}

func anySequence(t *testing.T, rt *rapid.T, thorough bool) {
	authority, err := ca.Open(t.TempDir(), ca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{dir: t.TempDir(), ca: authority, thorough: thorough, claimed: map[string]string{}, final: map[api.InstructionID]api.InstructionStatus{}, told: map[api.AgentID]api.SandboxLevel{}}
	m.open(rt)
	defer func() {
		if err := m.stop(); err != nil {
			t.Error(err)
		}
	}()
	w := world{Engine: m.engine, t: t}
	w.enrol(api.Sensor, "s", "h")
	w.enrol(api.Action, "a", "h")
	w.enrol(api.Action, "b", "h")
	w.apply(chain)
	rt.Repeat(map[string]func(*rapid.T){
		"emit": m.emit, "beat": m.beat, "poll": m.poll, "claim": m.claim, "result": m.result,
		"cancel": m.cancel, "pass": m.pass, "restart": m.restart, "": m.check,
	})
	time.Sleep(26 * time.Hour) // longer than anything may wait: outputs do for a day
	synctest.Wait()
	m.check(rt)
	m.sound(rt)
	for _, run := range m.runs(rt) {
		if run.FinishedAt.IsZero() {
			rt.Fatalf("run %s is %s a day later", run.ID, run.Status)
		}
	}
}

func (m *machine) runs(t *rapid.T) (runs []store.Run) {
	err := m.engine.View(context.Background(), "default", func(r store.Reader) (err error) {
		runs, err = r.Runs(store.RunQuery{Limit: 1000})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return runs
}
