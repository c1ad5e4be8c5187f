package storetest

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// Opener opens the store that lives in a directory. The suite closes it.
type Opener func(t *testing.T, dir string) store.Store

// Run tests the engine behind open.
func Run(t *testing.T, open Opener) {
	for _, c := range []struct {
		name string
		test func(*fixture)
	}{
		{"records survive a reopening", testRecords},
		{"what is not there", testNotFound},
		{"putting replaces", testReplacing},
		{"adding refuses a key that is taken", testUniqueness},
		{"organisations are apart", testIsolation},
		{"organisations are listed", testOrgs},
		{"pages of events", testEventPages},
		{"events of the server's own", testOwnEvents},
		{"the newest gaps", testNewestGaps},
		{"pages of runs", testRunPages},
		{"pages of logs", testLogPages},
		{"pages of audit records", testAuditPages},
		{"versions of workflows", testWorkflowVersions},
		{"evaluations in shadow", testShadowed},
		{"active runs", testActiveRuns},
		{"cooldowns that are over", testCooldownsEnd},
		{"runs that go on", testLanes},
		{"order of what can be offered", testOfferOrder},
		{"who can be offered what", testOfferFit},
		{"what is due", testDue},
		{"alarms", testAlarms},
		{"windows", testWindows},
		{"approvals", testApprovals},
		{"schedules", testSchedules},
		{"waits", testWaits},
		{"accounts", testAccounts},
		{"what is dropped", testDropping},
		{"gaps that are old", testOldGaps},
		{"the newest stays", testNewestStays},
		{"runs that have finished", testOldestRuns},
		{"versions of packages", testPackages},
		{"assignments that are due", testDueAssignments},
		{"what transitions read of the ones before", testRecent},
		{"an error undoes all", testError},
		{"a panic undoes all", testPanic},
		{"a cancelled call does not begin", testCancelled},
		{"a call gives up while it waits", testCancelledInQueue},
		{"who runs behind another is awaited", testAwaitedByItsGroup},
		{"concurrent updates are serial and durable", testConcurrent},
		{"a failure is nobody else's", testNeighbours},
		{"a view does not move", testSnapshot},
		{"a closed store", testClosed},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fixture{T: t, open: open, dir: t.TempDir()}
			f.store = open(t, f.dir)
			defer func() { f.check(f.store.Close()) }()
			c.test(f)
		})
	}
}

// org is where tests write that need only one.
const org = api.OrgID("acme")

// fixture is a store in a directory of its own.
type fixture struct {
	*testing.T
	open  Opener
	dir   string
	store store.Store
}

func (f *fixture) reopen() {
	f.Helper()
	f.check(f.store.Close())
	f.store = f.open(f.T, f.dir)
}

func (f *fixture) check(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// update and view run in org and may not fail. Their functions return errors instead
// of calling Fatal, which would end a goroutine of the engine.
func (f *fixture) update(fn func(store.Tx) error) {
	f.Helper()
	f.check(f.store.Org(org).Update(f.Context(), fn))
}

func (f *fixture) view(fn func(store.Reader) error) {
	f.Helper()
	f.check(f.store.Org(org).View(f.Context(), fn))
}

// read is what a query answers in a view of an organisation.
func read[V any](f *fixture, org api.OrgID, query func(store.Reader) (V, error)) V {
	f.Helper()
	var value V
	f.check(f.store.Org(org).View(f.Context(), func(r store.Reader) (err error) {
		value, err = query(r)
		return err
	}))
	return value
}

func (f *fixture) equal(what string, got, want any) {
	f.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		f.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// write runs the writes in one transaction.
func write(writes ...func(store.Tx) error) func(store.Tx) error {
	return func(tx store.Tx) error {
		for _, w := range writes {
			if err := w(tx); err != nil {
				return err
			}
		}
		return nil
	}
}

// cancelled is a context that is over.
func cancelled(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}
