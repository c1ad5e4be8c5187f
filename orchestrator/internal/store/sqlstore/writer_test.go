package sqlstore

import (
	"errors"
	"testing"
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
