package storetest

import (
	"errors"

	"github.com/stavily/agents/orchestrator/internal/instruction"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// moving are records of what goes on, which a note tells apart.
func moving(note string) func(store.Tx) error {
	return func(tx store.Tx) error {
		i := instruction.New(instruction.Spec{ID: "01I", RunID: "01R", Plugin: "p", ExpiresAt: after(60)}, start)
		i.Message, i.Agent = note, api.AgentID(note)
		return errors.Join(
			tx.PutAgent(store.Agent{ID: "a", Name: note, State: store.Active}),
			tx.PutRun(store.Run{ID: "01R", Workflow: "w", Error: note, Status: "running"}),
			tx.PutInstruction(i))
	}
}

// told are the notes of those records.
func told(r store.Reader) ([]string, error) {
	a, e1 := r.Agent("a")
	run, e2 := r.Run("01R")
	i, e3 := r.Instruction("01I")
	return []string{a.Name, run.Error, i.Message}, errors.Join(e1, e2, e3)
}

// testRecent holds that a transition reads what the one before left, whatever a store
// remembers of it: what it put, never what was undone, also of one that it shares a commit
// with, and what has ended is there as long as it is stored.
func testRecent(f *fixture) {
	reads := func(when, want string) {
		f.update(func(tx store.Tx) error {
			notes, err := told(tx)
			f.equal(when+", by a transition", notes, []string{want, want, want})
			return err
		})
		f.equal(when+", by a view", read(f, org, told), []string{want, want, want})
	}
	f.update(moving("one"))
	reads("put", "one")
	f.update(moving("two"))
	reads("put again", "two")
	undone := func() error {
		return f.store.Org(org).Update(f.Context(), func(tx store.Tx) error { return errors.Join(moving("three")(tx), errOurs) })
	}
	if err := undone(); !errors.Is(err, errOurs) {
		f.Fatalf("Update = %v, want the function's own error", err)
	}
	reads("put and undone", "two")
	f.update(func(tx store.Tx) error {
		if err := moving("four")(tx); err != nil {
			return err
		}
		run, err := tx.Run("01R")
		run.Status, run.FinishedAt = "completed", after(5)
		i, err2 := tx.Instruction("01I")
		i.Status, i.FinishedAt = api.Completed, after(5)
		return errors.Join(err, err2, tx.PutRun(run), tx.PutInstruction(i))
	})
	reads("ended", "four")
	f.reopen()
	reads("opened anew", "four")
	other := f.store.Org("other")
	_ = other.Update(f.Context(), func(tx store.Tx) error { return errors.Join(moving("five")(tx), errOurs) })
	f.check(other.Update(f.Context(), moving("five")))
	orgs, err := f.store.Orgs(f.Context())
	f.check(err)
	f.equal("organisations, one of them with a first transition that was undone", orgs, []api.OrgID{org, "other"})
	f.equal("runs", len(read(f, org, func(r store.Reader) ([]store.Run, error) { return r.Runs(store.RunQuery{Status: "completed"}) })), 1)
	f.equal("due instructions", len(read(f, org, func(r store.Reader) ([]instruction.Instruction, error) { return r.Due(after(100), 10) })), 0)
}
