package execution

import (
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

// Over a restart each result is inherited, ended by the restart, reported or waits.
func TestAccount(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	balances := func(what string, want Account) {
		t.Helper()
		if got := j.Account(); got != want || got.Unaccounted() != 0 {
			t.Errorf("%s: %+v, %d unaccounted for; want %+v", what, got, got.Unaccounted(), want)
		}
	}
	for _, id := range []string{"accepted", "started", "ended", "reported", "refused"} {
		must(t, j.Accept(instruction(id, 1)))
	}
	for _, id := range []api.InstructionID{"started", "ended", "reported"} {
		must(t, j.Starting(id, 1))
	}
	for _, id := range []api.InstructionID{"ended", "reported"} {
		must(t, j.Ended(id, 1, completed()))
	}
	must(t, j.Reported("reported", 1))
	must(t, j.Reported("refused", 1)) // the claim was refused: there is no result
	balances("at first", Account{Ended: 2, Reported: 1, Waiting: 1})
	must(t, j.Close())

	j = open(t, dir, Options{})
	balances("after a restart", Account{Inherited: 1, Ended: 2, Waiting: 3})
	for _, e := range j.Unreported() {
		must(t, j.Reported(e.ID, e.Attempt))
	}
	balances("all reported", Account{Inherited: 1, Ended: 2, Reported: 3})
	must(t, j.Close())

	j = open(t, dir, Options{})
	balances("nothing left", Account{})
	delete(j.entries, Key{"ended", 1})
	must(t, j.Accept(instruction("gone", 1)))
	must(t, j.Ended("gone", 1, completed()))
	j.put(Key{"gone", 1}, Entry{})
	if got := j.Account().Unaccounted(); got != 1 {
		t.Errorf("with a result that vanished %d are unaccounted for, want 1", got)
	}
}
