package postgres

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stavily/agents/internal/pgtest"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/store/sqlite"
	"github.com/stavily/agents/orchestrator/internal/store/sqlstore"
	"github.com/stavily/agents/orchestrator/internal/store/storetest"
)

func take(ctx context.Context, path, url string) (err error) {
	in, err := Import(ctx, url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close(ctx)) }()
	err = sqlite.Export(ctx, path, func(name string, columns []string, rows sqlstore.Rows) error {
		_, err := in.Table(ctx, name, columns, rows)
		return err
	})
	if err != nil {
		return err
	}
	return in.Commit(ctx)
}

// Everything that can be read of the one is in the other.
func TestImport(t *testing.T) {
	url := pgtest.Start(t).NewSchema(t)
	path := filepath.Join(t.TempDir(), "stavily.db")
	from, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	storetest.Fill(t, from, "filled")
	if err := from.Org("odd").Update(t.Context(), func(tx store.Tx) error { return tx.SetCooldown("w", "a\x00b", time.Unix(5, 0)) }); err != nil {
		t.Fatal(err)
	}
	if err := from.Close(); err != nil {
		t.Fatal(err)
	}
	if err := take(t.Context(), path, url); err != nil {
		t.Fatal(err)
	}
	to := with(t, url)
	storetest.CheckFilled(t, to, "filled")
	err = to.Org("odd").View(t.Context(), func(r store.Reader) error {
		until, found, err := r.CooldownUntil("w", "a\x00b")
		if !found || until.Unix() != 5 {
			t.Errorf("the cooldown of an odd key: %v, %v", until, found)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if err := to.Org("filled").Update(t.Context(), storetest.Note("numbers go on")); err != nil {
		t.Error(err)
	}
	if err := take(t.Context(), path, url); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("a second time: %v", err)
	}
}

// A schema is taken back to nothing, and up again.
func TestRevert(t *testing.T) {
	url := pgtest.Start(t).NewSchema(t)
	if err := openURL(t, url).Close(); err != nil {
		t.Fatal(err)
	}
	all, err := sqlstore.Migrations()
	if err != nil {
		t.Fatal(err)
	}
	for version := len(all) - 1; version >= 0; version-- {
		if err := Revert(t.Context(), url, version); err != nil {
			t.Fatal(err)
		}
	}
	if err := Revert(t.Context(), url, 1); err == nil {
		t.Error("a schema was taken back to a later version")
	}
	s := with(t, url)
	storetest.Fill(t, s, "again")
	storetest.CheckFilled(t, s, "again")
}
