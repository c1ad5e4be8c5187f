package sqlite

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stavily/agents/orchestrator/internal/store/sqlstore"
	"github.com/stavily/agents/orchestrator/internal/store/storetest"
)

// A schema is taken back to nothing, and up again.
func TestRevert(t *testing.T) {
	dir := t.TempDir()
	if err := openIn(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	all, err := sqlstore.Migrations()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "stavily.db")
	for version := len(all) - 1; version >= 0; version-- {
		if err := Revert(t.Context(), path, version); err != nil {
			t.Fatal(err)
		}
	}
	if err := Revert(t.Context(), path, 1); err == nil {
		t.Error("a schema was taken back to a later version")
	}
	s := openIn(t, dir)
	storetest.Fill(t, s, "again")
	storetest.CheckFilled(t, s, "again")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// came says by which migration the records came that certain queries find: a database of before
// cannot have them.
var came = map[int][]string{
	2:  {"package", "packages", "packages of plugin", "assignment", "assignments", "due assignments", "publishers"},
	3:  {"evaluations"},
	4:  {"due alarms"},
	5:  {"waits"},
	6:  {"window", "due windows"},
	8:  {"approvals"},
	9:  {"schedule", "schedules", "due schedules"},
	11: {"user", "users", "credential", "credentials", "credentials of user"},
	15: {"secret", "secrets"},
	16: {"evaluations in shadow"},
}

// A database of each older schema is brought to this one with everything that it kept, and takes
// what that does.
func TestOlderSchemas(t *testing.T) {
	all, err := sqlstore.Migrations()
	if err != nil {
		t.Fatal(err)
	}
	for version := 1; version < len(all); version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			dir := t.TempDir()
			s := openIn(t, dir)
			storetest.Fill(t, s, "old")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := Revert(t.Context(), filepath.Join(dir, "stavily.db"), version); err != nil {
				t.Fatal(err)
			}
			s = openIn(t, dir)
			defer s.Close()
			var lost []string
			for later := version + 1; later <= len(all); later++ {
				lost = append(lost, came[later]...)
			}
			storetest.CheckKept(t, s, "old", lost...)
			storetest.Fill(t, s, "new")
			storetest.CheckFilled(t, s, "new")
		})
	}
}
