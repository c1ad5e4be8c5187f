package storetest

import (
	"errors"
	"fmt"

	"github.com/stavily/agents/orchestrator/internal/store"
)

func testSchedules(f *fixture) {
	schedule := func(workflow, spec string, due int) store.Schedule {
		return store.Schedule{Workflow: workflow, Spec: spec, Due: after(due)}
	}
	f.update(func(tx store.Tx) error {
		return errors.Join(tx.PutSchedule(schedule("w", "b", 20)), tx.PutSchedule(schedule("w", "a", 30)), tx.PutSchedule(schedule("v", "a", 10)), tx.PutSchedule(schedule("w", "a", 15)))
	})
	list := func(ask func(store.Reader) ([]store.Schedule, error)) string {
		f.Helper()
		return fmt.Sprint(keys(read(f, org, ask), func(s store.Schedule) string { return s.Workflow + s.Spec }))
	}
	due := func(at, limit int) string {
		f.Helper()
		return list(func(r store.Reader) ([]store.Schedule, error) { return r.DueSchedules(after(at), limit) })
	}
	f.equal("of a workflow", list(func(r store.Reader) ([]store.Schedule, error) { return r.Schedules("w") }), "[wa wb]")
	f.equal("due before anything is", due(9, 10), "[]")
	f.equal("due at its time", due(10, 10), "[va]")
	f.equal("due at the end", due(99, 10), "[va wa wb]")
	f.equal("the longest overdue", due(99, 1), "[va]")
	for range 2 { // dropping again changes nothing
		f.update(func(tx store.Tx) error { return tx.DropSchedule(schedule("v", "a", 0)) })
	}
	if next, some, err := ask2(f, org, store.Reader.NextSchedule); err != nil || !some || !next.Equal(after(15)) {
		f.Errorf("NextSchedule = %v, %v, %v; want %v", next, some, err, after(15))
	}
}
