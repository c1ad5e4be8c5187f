package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

var errOurs = errors.New("ours")

func testError(f *fixture) {
	err := f.store.Org(org).Update(f.Context(), func(tx store.Tx) error {
		return errors.Join(everything("x")(tx), errOurs)
	})
	if !errors.Is(err, errOurs) {
		f.Errorf("Update = %v, want the function's own error", err)
	}
	f.checkProbes("after the error", org, "")
	if orgs, err := f.store.Orgs(f.Context()); err != nil || len(orgs) != 0 {
		f.Errorf("Orgs = %v, %v; want none", orgs, err)
	}
}

func testPanic(f *fixture) {
	func() {
		defer func() {
			if v := recover(); !strings.Contains(fmt.Sprint(v), "ours") {
				f.Errorf("recovered %v, want the function's own panic in it", v)
			}
		}()
		err := f.store.Org(org).Update(f.Context(), func(tx store.Tx) error {
			if err := everything("x")(tx); err != nil {
				return err
			}
			panic("ours")
		})
		f.Errorf("Update returned %v after a panic", err)
	}()
	f.checkProbes("after the panic", org, "")
	f.update(everything("y"))
	f.checkProbes("the next update", org, "y")
}

func testCancelled(f *fixture) {
	ctx := cancelled(f.Context())
	for range 200 { // what is ready besides may be taken instead, at random
		ran := false
		update := f.store.Org(org).Update(ctx, func(store.Tx) error { ran = true; return nil })
		view := f.store.Org(org).View(ctx, func(store.Reader) error { ran = true; return nil })
		if ran || !errors.Is(update, context.Canceled) || !errors.Is(view, context.Canceled) {
			f.Fatalf("Update = %v, View = %v, ran %v; want both to be cancelled and none run", update, view, ran)
		}
	}
	// What has begun is completed.
	ctx, cancel := context.WithCancel(f.Context())
	f.check(f.store.Org(org).Update(ctx, func(tx store.Tx) error {
		cancel()
		return everything("x")(tx)
	}))
	f.reopen()
	f.checkProbes("cancelled when it had begun", org, "x")
}

func testCancelledInQueue(f *fixture) {
	began, awaited, finish := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var holder sync.WaitGroup
	holder.Go(func() {
		if err := f.store.Org(org).Update(f.Context(), func(tx store.Tx) error {
			if tx.Awaited() {
				f.Error("a transaction is awaited by nobody")
			}
			close(began)
			for end := time.Now().Add(time.Minute); !tx.Awaited(); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					f.Error("a transaction that another waits for does not hear of it")
					break
				}
			}
			close(awaited)
			<-finish
			if tx.Awaited() {
				f.Error("a transaction is awaited still by who gave up")
			}
			return nil
		}); err != nil {
			f.Error(err)
		}
	})
	<-began
	ctx, cancel := context.WithCancel(f.Context())
	result := make(chan error)
	go func() {
		result <- f.store.Org(org).Update(ctx, func(store.Tx) error {
			f.Error("the cancelled function ran")
			return nil
		})
	}()
	<-awaited
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) { // while the first still runs
		f.Errorf("Update = %v, want it to be cancelled", err)
	}
	close(finish)
	holder.Wait()
}

// testAwaitedByItsGroup: who has run waits for those that run after it, and share its commit.
func testAwaitedByItsGroup(f *fixture) {
	var calls sync.WaitGroup
	update := func(fn func(store.Tx) error) {
		calls.Go(func() {
			if err := f.store.Org(org).Update(f.Context(), fn); err != nil {
				f.Error(err)
			}
		})
	}
	update(func(tx store.Tx) error {
		update(func(tx store.Tx) error {
			if !tx.Awaited() {
				f.Error("who ran before in a transaction does not wait for its commit")
			}
			return nil
		})
		for end := time.Now().Add(time.Minute); !tx.Awaited() && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		return nil
	})
	calls.Wait()
}

func testConcurrent(f *fixture) {
	const callers, rounds = 16, 20
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range rounds {
				if err := f.store.Org(org).Update(f.Context(), increment); err != nil {
					f.Error(err)
				}
			}
		})
	}
	all.Wait()
	f.reopen()
	s := read(f, org, func(r store.Reader) (uint64, error) {
		s, err := r.Stream("a", "e")
		return s.Through, err
	})
	if s != callers*rounds {
		f.Errorf("%d of %d increments are there", s, callers*rounds)
	}
	n := len(read(f, org, func(r store.Reader) ([]store.Audit, error) { return r.Audit(0, 1000) }))
	f.equal("audit records", n, callers*rounds)
}

// increment reads, adds one and writes: two that overlap would lose one.
func increment(tx store.Tx) error {
	s, err := tx.Stream("a", "e")
	if err != nil {
		return err
	}
	s.Through++
	return errors.Join(tx.PutStream("a", s), tx.AddAudit(store.Audit{At: start}))
}

// Functions that run together, of which every third fails: before it has done anything, when it
// has written, or when it has read and written.
func testNeighbours(f *fixture) {
	const callers = 60
	var all sync.WaitGroup
	for n := range callers {
		all.Go(func() {
			err := f.store.Org(org).Update(f.Context(), func(tx store.Tx) error {
				switch n % 9 {
				case 0:
					return errOurs
				case 3:
					return errors.Join(tx.AddAudit(store.Audit{At: start}), errOurs)
				case 6:
					return errors.Join(increment(tx), errOurs)
				}
				return increment(tx)
			})
			if failed := errors.Is(err, errOurs); failed != (n%3 == 0) || err != nil && !failed {
				f.Errorf("caller %d got %v", n, err)
			}
		})
	}
	all.Wait()
	audit := read(f, org, func(r store.Reader) ([]store.Audit, error) { return r.Audit(0, 1000) })
	for n, a := range audit {
		if a.Seq != int64(n+1) {
			f.Fatalf("audit record %d has seq %d", n+1, a.Seq)
		}
	}
	f.equal("increments that stayed", len(audit), callers*2/3)
}

func testSnapshot(f *fixture) {
	f.update(increment)
	f.view(func(r store.Reader) error {
		before, err := r.Stream("a", "e")
		if err != nil {
			return err
		}
		f.update(increment) // a view holds up no update
		after, err := r.Stream("a", "e")
		if before.Through != 1 || after.Through != 1 {
			f.Errorf("within one view: %d, then %d", before.Through, after.Through)
		}
		return err
	})
	if s := read(f, org, func(r store.Reader) (any, error) {
		s, err := r.Stream("a", "e")
		return s.Through, err
	}); s != uint64(2) {
		f.Errorf("the next view has %v, want 2", s)
	}
}

func testClosed(f *fixture) {
	f.update(increment)
	f.check(f.store.Close())
	f.check(f.store.Close())
	update := f.store.Org(org).Update(f.Context(), func(store.Tx) error { return nil })
	view := f.store.Org(api.OrgID("other")).View(f.Context(), func(store.Reader) error { return nil })
	_, orgs := f.store.Orgs(f.Context())
	for what, err := range map[string]error{"Update": update, "View": view, "Orgs": orgs} {
		if !errors.Is(err, store.ErrClosed) {
			f.Errorf("%s = %v, want ErrClosed", what, err)
		}
	}
}
