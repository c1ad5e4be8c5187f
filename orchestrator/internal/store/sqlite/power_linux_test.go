package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stavily/agents/internal/lossyfs"
	"github.com/stavily/agents/orchestrator/internal/store"
	"github.com/stavily/agents/orchestrator/internal/store/storetest"
)

func init() {
	lossyfs.Children(map[string]lossyfs.Store{
		"database": {Write: commitAndSay, Read: readNotes},
		"NORMAL":   {Write: commitNormally, Read: readNormal},
	})
}

func commitAndSay(dir string, durable func(string)) error {
	s, err := Open(context.Background(), filepath.Join(dir, "stavily.db"))
	if err != nil {
		return err
	}
	failed := make(chan error)
	for caller := range 8 {
		go func() {
			for n := 0; ; n++ {
				id := fmt.Sprintf("%d-%d-%d", os.Getpid(), caller, n)
				if err := s.Org("o").Update(context.Background(), storetest.Note(id)); err != nil {
					failed <- err
					return
				}
				durable(id)
			}
		}()
	}
	return <-failed
}

func readNotes(dir string, there func(string)) error {
	s, err := Open(context.Background(), filepath.Join(dir, "stavily.db"))
	if err != nil {
		return err
	}
	var sound string
	if err := s.db.QueryRow("PRAGMA integrity_check").Scan(&sound); err != nil || sound != "ok" {
		return fmt.Errorf("integrity_check says %q, %w", sound, err)
	}
	return s.Org("o").View(context.Background(), func(r store.Reader) error {
		for after := int64(0); ; {
			page, err := r.Audit(after, 1000)
			if err != nil || len(page) == 0 {
				return err
			}
			for _, a := range page {
				there(a.Detail)
				after = a.Seq
			}
		}
	})
}

// commitNormally is SQLite as many run it: WAL, and no fsync at a commit.
func commitNormally(dir string, durable func(string)) error {
	db, err := sql.Open("sqlite", "file:"+dir+"/normal.db?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)")
	if err != nil {
		return err
	}
	if _, err := db.Exec("CREATE TABLE IF NOT EXISTS notes (id TEXT)"); err != nil {
		return err
	}
	for n := 0; ; n++ {
		id := fmt.Sprintf("%d-%d", os.Getpid(), n)
		if _, err := db.Exec("INSERT INTO notes VALUES (?)", id); err != nil {
			return err
		}
		durable(id)
	}
}

func readNormal(dir string, there func(string)) error {
	db, err := sql.Open("sqlite", "file:"+dir+"/normal.db")
	if err != nil {
		return err
	}
	rows, err := db.Query("SELECT id FROM notes")
	if err != nil {
		return nil // not even the table was kept
	}
	for rows.Next() {
		var id string
		err = errors.Join(err, rows.Scan(&id))
		there(id)
	}
	return errors.Join(err, rows.Err())
}

// R6: what was answered outlives a power cut. With synchronous=NORMAL it does not, so this
// test can tell.
func TestPowerCuts(t *testing.T) {
	if lost, cuts := lossyfs.Cuts(t, "database"); cuts > 0 {
		t.Errorf("%d commits that were answered were lost in %d cuts", lost, cuts)
	}
	if _, cuts := lossyfs.Cuts(t, "NORMAL"); cuts == 0 {
		t.Error("synchronous=NORMAL lost nothing: this disk forgets too little")
	}
}

// R12: nothing is acknowledged that a failed write or fsync has kept from the disk, and the next
// process goes on.
func TestIOErrors(t *testing.T) {
	if lost, _ := lossyfs.Errors(t, "database"); lost > 0 {
		t.Errorf("%d commits that were answered were lost", lost)
	}
}
