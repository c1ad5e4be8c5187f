package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

func posture(level api.SandboxLevel, achieved ...string) *api.Posture {
	return &api.Posture{Level: level, Achieved: achieved}
}

// confined is what an agent in a stock container reports.
var confined = &api.Posture{Level: api.SandboxConfined, Missing: map[string]string{"namespaces": "clone: operation not permitted"}}

func (w world) beats(a agent, p *api.Posture) {
	w.t.Helper()
	if _, err := w.Heartbeat(w.t.Context(), a.Identity, api.Heartbeat{Status: StatusOnline, Sandbox: p}); err != nil {
		w.t.Fatal(err)
	}
}

// instruction is the only one of the only run.
func (w world) instruction() (out instruction.Instruction) {
	w.t.Helper()
	w.read(func(r store.Reader) error {
		runs, err := r.Runs(store.RunQuery{})
		if err != nil {
			return err
		}
		all, err := r.RunInstructions(runs[0].ID)
		if len(runs) != 1 || len(all) != 1 {
			w.t.Fatalf("%d runs and %d instructions of the newest, want one", len(runs), len(all))
		}
		out = all[0]
		return err
	})
	return out
}

// whyNobody is why nobody can be offered an instruction now.
func (w world) whyNobody(i instruction.Instruction) (why string) {
	w.t.Helper()
	w.read(func(r store.Reader) (err error) {
		why, err = WhyNobody(r, i.Plugin, i.Target)
		return err
	})
	return why
}

func TestAStepWaitsForItsSandbox(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a, b := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h"), w.enrol(api.Action, "b", "elsewhere")
		w.apply(simple("", "    sandbox: full\n"))
		w.beats(a, confined)
		w.beats(b, posture(api.SandboxFull)) // good enough, on another host
		w.sends(s, event(1), api.EventAccepted)
		for _, x := range []agent{a, b} {
			if offers, err := w.Poll(t.Context(), x.Identity, time.Minute, 1); err != nil || len(offers) != 0 {
				t.Fatalf("agent %s is offered %+v, %v", x.Agent, offers, err)
			}
		}
		const why = "needs sandbox full; a reports confined: namespaces: clone: operation not permitted"
		if i := w.instruction(); i.Status != api.Pending || w.whyNobody(i) != why {
			t.Errorf("it is %s: %q, want pending: %q", i.Status, w.whyNobody(i), why)
		}
		got := make(chan []api.Instruction, 1)
		go func() {
			offers, err := w.Poll(t.Context(), a.Identity, time.Minute, 1)
			if err != nil {
				t.Error(err)
			}
			got <- offers
		}()
		time.Sleep(time.Second)
		w.beats(a, posture(api.SandboxFull, api.AchievedMemory)) // somebody mended the host
		changed := time.Now()
		offers := <-got
		if waited := time.Since(changed); len(offers) != 1 || offers[0].SandboxMinimum != api.SandboxFull || waited > time.Second {
			t.Errorf("offered %+v after %s, want the step with its minimum at once", offers, waited)
		}
	})
}

func TestAStepWithoutItsSandboxExpiresWithTheReason(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		for _, id := range []api.AgentID{"a", "b", "c", "d", "e"} {
			w.beats(w.enrol(api.Action, id, "h"), confined)
		}
		silent := w.enrol(api.Action, "silent", "h")
		w.apply(simple("", "    sandbox: full\n"))
		w.sends(s, event(1), api.EventAccepted)
		w.beats(silent, posture(api.SandboxLimited)) // the reason is of the end, not of the beginning
		time.Sleep(instruction.DefaultLifetime + time.Second)
		w.runsAre("failed")
		const begin, end = "No agent started it before it expired: needs sandbox full; a reports confined: namespaces: clone: operation not permitted; b reports confined", "; 3 more report less as well"
		if i := w.instruction(); i.Status != api.Expired || !strings.HasPrefix(i.Message, begin) || !strings.HasSuffix(i.Message, end) {
			t.Errorf("it is %s: %q", i.Status, i.Message)
		}
	})
}

// Only what keeps agents away is given as the reason.
func TestAMissingAgentIsNotAMissingSandbox(t *testing.T) {
	for name, c := range map[string]struct {
		step string
		of   *api.Posture
	}{
		"an agent that is good enough and silent": {"    sandbox: confined\n", posture(api.SandboxFull)},
		"a step that accepts anything":            {"    sandbox: none\n", nil},
		"a step that does not say":                {"", posture(api.SandboxNone)},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w world) {
				s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
				w.beats(a, c.of)
				w.apply(simple("", c.step))
				w.sends(s, event(1), api.EventAccepted)
				time.Sleep(instruction.DefaultLifetime + time.Second)
				if i := w.instruction(); i.Status != api.Expired || i.Message != "No agent started it before it expired." {
					t.Errorf("it is %s: %q", i.Status, i.Message)
				}
			})
		})
	}
}

// Every change of what an agent reports is on record, with both levels.
func TestChangesOfThePostureAreAudited(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		a := w.enrol(api.Action, "a", "h")
		w.beats(a, posture(api.SandboxFull, api.AchievedMemory)) // the first word is no change
		for _, step := range []struct {
			now            *api.Posture
			action, detail string
		}{
			{posture(api.SandboxFull, api.AchievedMemory), "", ""},
			{posture(api.SandboxFull), "sandbox.degraded", "full+memory → full"},
			{posture(api.SandboxFull, api.AchievedEgress), "sandbox.improved", "full → full+egress"},
			{posture(api.SandboxFull, api.AchievedMemory), "sandbox.degraded", "full+egress → full+memory"},
			{confined, "sandbox.degraded", "full+memory → confined: namespaces: clone: operation not permitted"},
			{posture(api.SandboxLimited, api.AchievedMemory), "sandbox.degraded", "confined → limited+memory"},
			{nil, "sandbox.degraded", "limited+memory → unknown"},
			{posture(api.SandboxNone), "", ""}, // after silence, the first word again
			{posture(api.SandboxConfined), "sandbox.improved", "none → confined"},
			{posture("vault"), "sandbox.degraded", "confined → vault"},
		} {
			before := len(w.audit("sandbox.degraded")) + len(w.audit("sandbox.improved"))
			w.beats(a, step.now)
			rows := w.audit("sandbox.degraded")
			if step.action == "sandbox.improved" {
				rows = w.audit(step.action)
			}
			switch added := len(w.audit("sandbox.degraded")) + len(w.audit("sandbox.improved")) - before; {
			case step.action == "" && added == 0:
			case step.action == "" || added != 1:
				t.Errorf("%s: %d rows", step.now, added)
			default:
				row := rows[len(rows)-1]
				if row.Actor != "agent a" || row.Object != "a" || row.Detail != step.detail {
					t.Errorf("%s: %+v, want %s", step.now, row, step.detail)
				}
			}
		}
		_, err := w.Heartbeat(t.Context(), a.Identity, api.Heartbeat{Status: StatusOnline, Sandbox: posture(api.SandboxLevel(strings.Repeat("x", 300)))})
		w.wantCode("a level without end", err, api.CodeInvalid)
		_, err = w.Heartbeat(t.Context(), a.Identity, api.Heartbeat{Status: StatusOnline, Sandbox: posture("full", make([]string, 100)...)})
		w.wantCode("words without end", err, api.CodeInvalid)
	})
}

// An agent may tell its posture as it enrols, so that it need not wait for a heartbeat.
func TestAnEnrolmentTellsThePosture(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h", confined)
		if rows := w.audit("agent.enroll"); !strings.HasSuffix(rows[0].Detail, ", sandbox unknown") || !strings.HasSuffix(rows[1].Detail, ", sandbox confined") {
			t.Errorf("the enrolments are on record as %+v", rows)
		}
		w.apply(simple("", "    sandbox: confined\n"))
		w.sends(s, event(1), api.EventAccepted)
		w.takes(a)
	})
}

// What an agent did with less than the step accepts cannot be undone, but is told.
func TestARunBelowItsMinimumIsAudited(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h", posture(api.SandboxFull))
		w.apply(simple("", "    sandbox: full\n"))
		for n, c := range []struct {
			ran  *api.Posture
			ends api.InstructionStatus
			rows int
		}{
			{posture(api.SandboxFull), api.Completed, 0},
			{confined, api.Rejected, 0}, // it did not run it
			{confined, api.Failed, 1},
			{nil, api.Completed, 2}, // of a client that does not know the field
		} {
			w.sends(s, event(uint64(n+1)), api.EventAccepted)
			i := w.takes(a)
			r := api.Result{Status: c.ends, Attempt: i.Attempt, Lease: i.Lease, Sandbox: c.ran}
			for range 2 { // the same result again is not told again
				if _, err := w.Result(t.Context(), a.Identity, i.ID, r); err != nil {
					t.Fatal(err)
				}
			}
			if rows := w.audit("sandbox.below_minimum"); len(rows) != c.rows {
				t.Errorf("%s with %s: %d rows, want %d", c.ends, c.ran, len(rows), c.rows)
			}
		}
		if row := w.audit("sandbox.below_minimum")[0]; !strings.Contains(row.Detail, "step act of run ") || !strings.HasSuffix(row.Detail, "needs full and ran with confined: namespaces: clone: operation not permitted") {
			t.Errorf("the record is %+v", row)
		}
	})
}
