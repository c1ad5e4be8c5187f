package sqlite

import (
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
