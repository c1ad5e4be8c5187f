package fsck_test

import (
	"cmp"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stavily/agents/orchestrator/internal/fsck"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/store/sqlite"
)

// A record that is changed, taken out or put in is named, whoever did it with whatever.
func TestAuditShowsChanges(t *testing.T) {
	for change, want := range map[string]string{
		`SELECT 1`: "",
		`UPDATE audit SET doc = replace(doc, 'detail 3', 'nothing') WHERE n = 3`: "record 3 was changed",
		`DELETE FROM audit WHERE n = 3`:                                          "record 2 is followed by 4",
		`DELETE FROM audit WHERE n = 3; UPDATE audit SET n = n - 1, doc = replace(doc, '"Seq":' || n || ',', '"Seq":' || (n - 1) || ',') WHERE n > 3`: "record 2 was changed after it was written, or record 3 was",
		`UPDATE audit SET doc = json_remove(doc, '$.Prev') WHERE n = 4`:                                                                               "record 4 has no digest",
		`DELETE FROM audit WHERE n < 3`: "records 1 to 2 are missing",
	} {
		path := filepath.Join(t.TempDir(), "stavily.db")
		write(t, path, 3)
		write(t, path, 3)
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(t.Context(), change); err != nil {
			t.Fatalf("%s: %v", change, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		st, err := sqlite.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		trail, wrong, err := fsck.Audit(t.Context(), st, "o", 0)
		if err != nil || (len(wrong) > 0) != (want != "") || want != "" && !strings.Contains(wrong[0].String(), want) || trail.Digest == "" {
			t.Errorf("%s: %+v, %v, %v; want %q", change, trail, wrong, err, want)
		}
		early, _, err := fsck.Audit(t.Context(), st, "o", 5)
		if late, _, _ := fsck.Audit(t.Context(), st, "o", 0); err != nil || early.Seq == late.Seq && early.Digest != late.Digest {
			t.Errorf("%s: the digest of one record: %+v, %v", change, early, err)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}
}

// What is asked for and not there is no other record's digest.
func TestNoSuchAuditRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stavily.db")
	write(t, path, 3)
	st, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	last, _, err := fsck.Audit(t.Context(), st, "o", 0)
	if same, _, err2 := fsck.Audit(t.Context(), st, "o", last.Seq); same != last || err != nil || err2 != nil {
		t.Errorf("the last record: %+v, %v, by its number %+v, %v", last, err, same, err2)
	}
	want := fmt.Sprintf("there is no record 999: the last is %d", last.Seq)
	if trail, wrong, err := fsck.Audit(t.Context(), st, "o", 999); err == nil || err.Error() != want || len(wrong) > 0 {
		t.Errorf("record 999: %+v, %v, %v; want %q", trail, wrong, err, want)
	}
	if _, _, err := fsck.Audit(t.Context(), st, "empty", 1); err == nil || !strings.Contains(err.Error(), "nothing is on record") {
		t.Errorf("record 1 of none: %v", err)
	}
}

// write adds records, of which some functions fail.
func write(t *testing.T, path string, n int) {
	t.Helper()
	st, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	for k := range n {
		err := st.Org("o").Update(t.Context(), func(tx store.Tx) error {
			if err := tx.AddAudit(store.Audit{At: noon, Detail: fmt.Sprintf("detail %d \xff <&>", k+1)}); err != nil {
				return err
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		failed := st.Org("o").Update(t.Context(), func(tx store.Tx) error {
			if err := tx.AddAudit(store.Audit{At: noon, Detail: "undone"}); err != nil {
				return err
			}
			return store.ErrNotFound
		})
		if failed == nil {
			t.Fatal("what failed did not")
		}
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
}

// What is removed for its age is told by a record, which shows when something else is missing.
func TestAuditCuts(t *testing.T) {
	for what, c := range map[string]struct {
		digest string // that the cut through record 4 tells; "": the true one
		drop   int64
		want   string
	}{
		"cut":                        {drop: 4},
		"begun":                      {drop: 2},
		"not begun":                  {},
		"more than was told":         {drop: 5, want: "records 1 to 5 are missing"},
		"another end":                {digest: "sha256:0", drop: 4, want: "the records through 4 ended in sha256:0"},
		"another end, not yet there": {digest: "sha256:0", drop: 2, want: "the records through 4 ended in sha256:0"},
	} {
		path := filepath.Join(t.TempDir(), "stavily.db")
		write(t, path, 6)
		st, err := sqlite.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		err = st.Org("o").Update(t.Context(), func(tx store.Tx) error {
			old, err := tx.Audit(3, 1)
			if err != nil {
				return err
			}
			cut := store.Cut{Through: 4, Digest: cmp.Or(c.digest, old[0].Digest()), Archive: "audit.ndjson.gz"}
			return errors.Join(tx.AddAudit(cut.Audit(old[0].At, "retention")), tx.DropAudit(c.drop))
		})
		if err != nil {
			t.Fatal(err)
		}
		_, wrong, err := fsck.Audit(t.Context(), st, "o", 0)
		if err != nil || (len(wrong) > 0) != (c.want != "") || c.want != "" && !strings.Contains(wrong[0].String(), c.want) {
			t.Errorf("%s: %v, %v; want %q", what, wrong, err, c.want)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}
}
