package sqlstore

import (
	"errors"
	"testing"

	"github.com/stavily/agents/shared/pkg/api"
)

// frail is a connection that cannot go back to a savepoint.
type frail struct{ Connection }

var errFrail = errors.New("frail")

func (frail) Begin() error      { return nil }
func (frail) Savepoint() error  { return nil }
func (frail) Release() error    { return nil }
func (frail) RollbackTo() error { return errFrail }
func (frail) Rollback() error   { return nil }
func (frail) Failure() error    { return nil }
func (frail) Others() bool      { return false }

// Where what one function did cannot be undone alone all lose it: they hear why, and not what
// that function said of itself, which may be an answer to its caller.
func TestWhatAFunctionSaysIsNobodyElses(t *testing.T) {
	ours := errors.New("ours")
	w := Writer{jobs: make(chan *job, 1), recent: newRecent()}
	says := func(err error) *job {
		return &job{gaveUp: t.Context().Err, fn: func(Connection, bool) error { return err }}
	}
	w.jobs <- says(ours)
	members, err := w.transaction(frail{}, says(nil))
	if len(members) != 2 || !errors.Is(err, errFrail) || errors.Is(err, ours) {
		t.Errorf("%d functions hear %v, want 2 to hear %v", len(members), err, errFrail)
	}
}

// steady is a connection that does what it is told, but for a commit that fails.
type steady struct {
	frail
	commit error
}

func (*steady) RollbackTo() error { return nil }
func (c *steady) Commit() error   { return c.commit }

// What the functions of a group may have remembered is out of date where their commit failed, for
// each organisation that had one in it, whoever comes first after that.
func TestAFailedCommitIsToldToEachOrganisation(t *testing.T) {
	c := &steady{}
	w := StartWriter(func() (Connection, error) { return c, nil }, func(Connection) {}, Watch{})
	t.Cleanup(w.Close)
	told := func(org api.OrgID) (others bool) {
		if err := w.update(t.Context(), org, func(_ Connection, o bool) error { others = o; return nil }); err != nil {
			t.Error(err)
		}
		return others
	}
	c.commit = errFrail
	for _, org := range []api.OrgID{"a", "b"} {
		if err := w.update(t.Context(), org, func(Connection, bool) error { return nil }); !errors.Is(err, errFrail) {
			t.Fatal(err)
		}
	}
	c.commit = nil
	for i, want := range []struct {
		org    api.OrgID
		others bool
	}{{"c", false}, {"a", true}, {"b", true}, {"a", false}} {
		if got := told(want.org); got != want.others {
			t.Errorf("%d: organisation %s was told %v", i, want.org, got)
		}
	}
}
