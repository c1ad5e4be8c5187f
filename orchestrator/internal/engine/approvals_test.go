package engine

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/orchestrator/internal/fsck"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/workflow"
	"github.com/stavily/agents/shared/pkg/api"
)

const asks = "name: simple\ntriggers: [{event: test}]\nactions:\n" +
	"  - {id: ok, approval: {count: 2, within: 10m}}\n" +
	"  - {id: do, plugin: actor, needs: [ok], with: {mount: '${{ event.data.mount }}'}}\n"

// needed is the only approval that is needed.
func (w world) needed() (a store.Approval, asked workflow.Asked) {
	w.t.Helper()
	w.read(func(r store.Reader) error {
		all, err := r.Approvals()
		if err != nil || len(all) != 1 {
			w.t.Fatalf("approvals %+v, %v", all, err)
		}
		a = all[0]
		return json.Unmarshal(a.Asked, &asked)
	})
	return a, asked
}

// Nothing is done before as many people as are needed have approved what is done, also over
// restarts; the same person, and another digest, count for nothing.
func TestApprovalOverARestart(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s, a := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h")
		w.apply(asks)
		w.sends(s, on(1, "/"), api.EventAccepted)
		ap, asked := w.needed()
		if ap.Workflow != "simple" || ap.EventID != "E1" || len(asked.Steps) != 1 || string(asked.Steps[0].Input["mount"]) != `"/"` {
			t.Fatalf("asked %+v: %+v", ap, asked)
		}
		judge := func(by, digest string, approve bool, want api.Code) {
			t.Helper()
			_, err := w.Judge(t.Context(), "default", ap.Run, workflow.Verdict{Step: "ok", Digest: digest, By: by, Approve: approve})
			w.wantCode(by, err, want)
		}
		judge("ann", "sha256:0", true, api.CodeConflict)
		judge("ann", asked.Digest, true, "")
		judge("ann", asked.Digest, true, api.CodeConflict)
		judge("; rm", asked.Digest, true, api.CodeInvalid)
		w = w.restart(time.Minute)
		if offers, err := w.Poll(t.Context(), a.Identity, 0, 16); err != nil || len(offers) != 0 {
			t.Fatalf("offered %+v, %v before it was approved", offers, err)
		}
		judge("bob", asked.Digest, true, "")
		if i := w.takes(a); string(i.InputData["mount"]) != `"/"` {
			t.Errorf("does %s", i.InputData)
		}
		judge("eve", asked.Digest, false, api.CodeConflict) // it is over
		w.read(func(r store.Reader) error {
			all, err := r.Approvals()
			if err != nil || len(all) != 0 {
				t.Errorf("still needed: %+v, %v", all, err)
			}
			rows, err := r.Audit(0, 0)
			said := 0
			for _, row := range rows {
				if row.Action == "approval.approve" && strings.Contains(row.Detail, asked.Digest) {
					said++
				}
			}
			if said != 2 {
				t.Errorf("%d approvals on record", said)
			}
			return err
		})
	})
}

// Where an approval names a group, only users in it decide, either way; one who was taken out
// of use, or whose name only somebody says, is none.
func TestApprovalOfAGroup(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		w.apply(strings.Replace(asks, "count: 2", "group: oncall", 1))
		w.sends(s, on(1, "/"), api.EventAccepted)
		ap, asked := w.needed()
		if ap.Group != "oncall" {
			t.Errorf("the approval is for %q", ap.Group)
		}
		err := w.Change(t.Context(), "default", func(tx store.Tx, _ func(action, object, detail string) error) error {
			return errors.Join(
				tx.PutUser(store.User{Name: "ann", Role: "admin", Groups: []string{"database"}}),
				tx.PutUser(store.User{Name: "eve", Role: "admin", Groups: []string{"oncall"}, Disabled: true}),
				tx.PutUser(store.User{Name: "bob", Role: "approver", Groups: []string{"oncall"}}))
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			by      string
			approve bool
			want    api.Code
		}{{"ann", true, api.CodeConflict}, {"ann", false, api.CodeConflict}, {"eve", true, api.CodeConflict}, {"oncall", true, api.CodeConflict}, {"bob", true, ""}} {
			// What the caller says of its groups counts for nothing.
			_, err := w.Judge(t.Context(), "default", ap.Run, workflow.Verdict{Step: "ok", Digest: asked.Digest, By: c.by, Groups: []string{"oncall"}, Approve: c.approve})
			w.wantCode(c.by, err, c.want)
		}
	})
}

// What one person denies, and what nobody decides in time, is not done.
func TestApprovalThatIsNotGiven(t *testing.T) {
	inWorld(t, func(t *testing.T, w world) {
		s := w.enrol(api.Sensor, "s", "h")
		w.apply(asks)
		w.sends(s, on(1, "/"), api.EventAccepted)
		ap, asked := w.needed()
		if _, err := w.Judge(t.Context(), "default", ap.Run, workflow.Verdict{Step: "ok", Digest: asked.Digest, By: "ann", Reason: "not now"}); err != nil {
			t.Fatal(err)
		}
		w.runsAre("failed")
		w.sends(s, on(2, "/"), api.EventAccepted)
		w = w.restart(9 * time.Minute)
		w.runsAre("running", "failed")
		w = w.restart(time.Hour)
		time.Sleep(time.Second)
		w.runsAre("failed", "failed")
		w.sends(s, on(3, "/"), api.EventAccepted)
		ap, _ = w.needed()
		if _, err := w.CancelRun(t.Context(), "default", ap.Run); err != nil {
			t.Fatal(err)
		}
		w.runsAre("cancelled", "failed", "failed")
		w.read(func(r store.Reader) error {
			if all, err := r.Approvals(); err != nil || len(all) != 0 {
				t.Errorf("still needed: %+v, %v", all, err)
			}
			return nil
		})
	})
}

// told is a workflow that tells of its approval, on the agent "office".
const told = "name: simple\ntriggers: [{event: test}]\nactions:\n  - {id: ok, approval: {within: 10m}}\n  - {id: do, plugin: actor, needs: [ok]}\n" +
	"outputs: [{id: ask, plugin: slack, agents: {ids: [office]}, on: [approval_needed]}]\n"

// judged decides on the only approval that is needed, or cancels its run.
func (w world) judged(how string) {
	w.t.Helper()
	ap, asked := w.needed()
	err := error(nil)
	switch how {
	case "cancelled":
		_, err = w.CancelRun(w.t.Context(), "default", ap.Run)
	default:
		_, err = w.Judge(w.t.Context(), "default", ap.Run, workflow.Verdict{Step: "ok", Digest: asked.Digest, By: "ann", Approve: how == "approved"})
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// sound holds that nothing is wrong with what is stored.
func (w world) sound(when string) {
	w.t.Helper()
	report, err := fsck.Check(w.t.Context(), w.store)
	if err != nil || len(report.Findings) > 0 {
		w.t.Errorf("%s: found %v, %v", when, report.Findings, err)
	}
}

// unfinished counts the runs of which something may follow.
func (w world) unfinished() (n int) {
	w.read(func(r store.Reader) error {
		runs, err := r.Runs(store.RunQuery{})
		for _, run := range runs {
			if run.FinishedAt.IsZero() {
				n++
			}
		}
		return err
	})
	return n
}

// When an approval is over, however it ended, nobody is told any more that it is needed: not by
// an agent that comes back, nor by one that was offered it.
func TestNobodyIsToldOfAnApprovalThatIsOver(t *testing.T) {
	for _, how := range []string{"approved", "denied", "cancelled", "undecided"} {
		for _, offered := range []bool{false, true} {
			inWorld(t, func(t *testing.T, w world) {
				s, a, office := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "a", "h"), w.enrol(api.Action, "office", "o")
				w.apply(told)
				w.sends(s, event(1), api.EventAccepted)
				var offer api.Instruction
				if offered {
					offer = w.takes(office)
				}
				w = w.restart(time.Second)
				if how == "undecided" {
					time.Sleep(time.Hour)
				} else {
					w.judged(how)
				}
				if how == "approved" {
					i := w.takes(a)
					w.claims(a, i)
					if err := w.reports(a, i, api.Completed); err != nil {
						t.Fatal(err)
					}
				}
				if n := w.unfinished(); n > 0 {
					t.Errorf("%s: the run has not finished", how)
				}
				w.sound(how)
				if offers, err := w.Poll(t.Context(), office.Identity, 0, 16); err != nil || len(offers) > 0 {
					t.Errorf("%s: agent office is offered %+v, %v", how, offers, err)
				}
				if offered {
					_, err := w.Progress(t.Context(), office.Identity, offer.ID, api.Progress{Status: api.Executing, Attempt: offer.Attempt, Lease: offer.Lease, BootID: "b"})
					w.wantCode(how, err, api.CodeConflict)
				}
			})
		}
	}
}

// A run has finished when what tells of its approval has ended, whether the agent says so or falls silent.
func TestARunWaitsForWhatTellsOfItsApproval(t *testing.T) {
	for _, comes := range []bool{true, false} {
		inWorld(t, func(t *testing.T, w world) {
			s, office := w.enrol(api.Sensor, "s", "h"), w.enrol(api.Action, "office", "o")
			w.apply(told)
			w.sends(s, event(1), api.EventAccepted)
			i := w.takes(office)
			w.claims(office, i)
			w.judged("denied")
			w.runsAre("failed")
			w.sound("while it is told")
			if n := w.unfinished(); n != 1 {
				t.Errorf("%d runs are unfinished while it is told", n)
			}
			w = w.restart(time.Second)
			if comes {
				if err := w.reports(office, i, api.Completed); err != nil {
					t.Fatal(err)
				}
			} else {
				time.Sleep(time.Hour)
			}
			if n := w.unfinished(); n != 0 {
				t.Errorf("%d runs are unfinished at the end", n)
			}
			w.runsAre("failed")
			w.sound("at the end")
		})
	}
}
