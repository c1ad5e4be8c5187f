package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/shared/pkg/api"
)

// deletePackages removes the samples.
func deletePackages(tx store.Tx) error {
	return errors.Join(
		tx.DeletePackage("disk-cleaner", "1.0.0"),
		tx.DeleteAssignment("disk-cleaner", "tag:role:web"),
		tx.DeletePublisher("SHA256:k"),
	)
}

func testPackages(f *fixture) {
	f.update(func(tx store.Tx) error {
		for n, v := range []string{"1.0.0", "1.10.0", "1.9.0"} {
			p := samplePackage("x")
			p.Version, p.PublishedAt, p.Digest = v, after(n), fmt.Sprint("sha256:", n)
			if err := tx.AddPackage(p); err != nil {
				return err
			}
		}
		p := samplePackage("x")
		p.ID = "another"
		return tx.AddPackage(p)
	})
	list := func(id api.PluginID) string {
		got := read(f, org, func(r store.Reader) ([]store.Package, error) { return r.Packages(id) })
		return fmt.Sprint(keys(got, func(p store.Package) string { return string(p.ID) + " " + p.Version }))
	}
	f.equal("of one plugin", list("disk-cleaner"), "[disk-cleaner 1.9.0 disk-cleaner 1.10.0 disk-cleaner 1.0.0]")
	f.equal("of all", list(""), "[another 1.0.0 disk-cleaner 1.9.0 disk-cleaner 1.10.0 disk-cleaner 1.0.0]")
	f.equal("of none", list("nothing"), "[]")
	has := func(org api.OrgID, digest string) bool {
		return read(f, org, func(r store.Reader) (bool, error) { return r.HasFile(digest) })
	}
	if !has(org, "sha256:1") || has("other", "sha256:1") || has(org, "sha256:9") {
		f.Error("HasFile does not tell organisations or digests apart")
	}
	f.update(func(tx store.Tx) error {
		if err := tx.DeletePackage("disk-cleaner", "2.0.0"); !errors.Is(err, store.ErrNotFound) {
			f.Errorf("removing an unknown version: %v", err)
		}
		if err := tx.DeleteAssignment("disk-cleaner", store.All); !errors.Is(err, store.ErrNotFound) {
			f.Errorf("removing an unknown assignment: %v", err)
		}
		if err := tx.DeletePublisher("SHA256:unknown"); !errors.Is(err, store.ErrNotFound) {
			f.Errorf("removing an unknown publisher: %v", err)
		}
		return tx.DeletePackage("disk-cleaner", "1.10.0")
	})
	f.equal("after one was removed", list("disk-cleaner"), "[disk-cleaner 1.9.0 disk-cleaner 1.0.0]")
	if has(org, "sha256:1") {
		f.Error("HasFile has one that was removed")
	}
}

func testDueAssignments(f *fixture) {
	put := func(plugin api.PluginID, due time.Time) func(store.Tx) error {
		return func(tx store.Tx) error {
			a := sampleAssignment("x")
			a.Plugin, a.State.Due = plugin, due
			return tx.PutAssignment(a)
		}
	}
	f.update(write(put("late", after(30)), put("soon", after(10)), put("never", time.Time{})))
	due := func(at time.Time) string {
		got := read(f, org, func(r store.Reader) ([]store.Assignment, error) { return r.DueAssignments(at) })
		return fmt.Sprint(keys(got, func(a store.Assignment) api.PluginID { return a.Plugin }))
	}
	next := func(want time.Time, some bool) {
		f.Helper()
		at, found, err := ask2(f, org, store.Reader.NextDueAssignment)
		if err != nil || found != some || !at.Equal(want) {
			f.Errorf("NextDueAssignment = %v, %v, %v; want %v, %v", at, found, err, want, some)
		}
	}
	f.equal("due before the first", due(after(9)), "[]")
	f.equal("due at the first", due(after(10)), "[soon]")
	f.equal("due after all", due(after(100)), "[soon late]")
	next(after(10), true)
	f.update(func(tx store.Tx) error {
		return errors.Join(tx.HastenAssignments("late", after(5)), tx.HastenAssignments("soon", after(20)), tx.HastenAssignments("never", after(1)))
	})
	f.equal("due after one was hastened", due(after(10)), "[late soon]")
	next(after(5), true)
	f.update(write(put("late", time.Time{}), put("soon", time.Time{})))
	next(time.Time{}, false)
}
